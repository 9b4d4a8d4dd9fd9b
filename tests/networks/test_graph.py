import keras
import numpy as np
import pytest
import tensorflow as tf
from spots import SIDE

from ulna.networks.graph import freeze_below, make_predict_fn, predict_batches, split_model
from ulna.networks.models import build_densenet169


@pytest.fixture(scope="module")
def densenet169(params) -> keras.Model:
    return build_densenet169(SIDE, params.densenet169)


def pixels(count: int = 3) -> tf.Tensor:
    images = np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 1), np.uint8)
    return tf.constant(images)


def index(model: keras.Model, name: str) -> int:
    return [layer.name for layer in model.layers].index(name)


@pytest.mark.parametrize(
    ("name", "crossing"),
    # Inside a dense block the block's input crosses too: it is joined to the output at the end.
    [("conv5_block31_0_bn", 1), ("conv5_block31_2_conv", 2), ("conv1_conv", 1)],
)
def test_the_two_sides_of_a_split_are_the_network(densenet169, name, crossing):
    below, above = split_model(densenet169, index(densenet169, name))
    assert len(below.outputs) == len(above.inputs) == crossing
    whole = densenet169(pixels(), training=False)
    np.testing.assert_allclose(above(below(pixels()), training=False), whole, atol=1e-5)
    ours = {id(weight) for weight in [*below.weights, *above.weights]}
    assert ours == {id(weight) for weight in densenet169.weights}


def test_below_the_named_layer_nothing_is_trained_and_nothing_changes(densenet169):
    """The gradients above the layer are those of the whole network."""
    start = index(densenet169, "conv5_block32_0_bn")
    frozen = freeze_below(densenet169, start)

    def run(model: keras.Model, weights: list) -> tuple[tf.Tensor, list]:
        with tf.GradientTape() as tape:
            logits = model(pixels(), training=False)
        return logits, tape.gradient(logits, [weight.value for weight in weights])

    below, above = (
        [weight for layer in layers for weight in layer.trainable_weights]
        for layers in (densenet169.layers[:start], densenet169.layers[start:])
    )
    logits, gradients = run(frozen, below + above)
    whole_logits, whole_gradients = run(densenet169, above)
    np.testing.assert_allclose(logits, whole_logits, atol=1e-5)
    assert gradients[: len(below)] == [None] * len(below)
    for ours, whole in zip(gradients[len(below) :], whole_gradients, strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-3, atol=1e-5)


def test_nothing_lies_below_the_first_layer(densenet169):
    assert freeze_below(densenet169, 0) is densenet169


@pytest.fixture
def network() -> keras.Model:
    """Triples its input; while it trains it drops everything but one in a million."""
    inputs = keras.Input((4,))
    dropped = keras.layers.Dropout(0.999999)(inputs)
    return keras.Model(inputs, keras.layers.Rescaling(3.0)(dropped))


def test_outputs_come_in_order_for_batches_of_any_size(network):
    rows = np.arange(28, dtype=np.float32).reshape(7, 4)
    batches = tf.data.Dataset.from_tensor_slices((rows, np.zeros(7))).batch(3)
    outputs = predict_batches(make_predict_fn(network), batches, "test")
    np.testing.assert_allclose(outputs, 3 * rows)


def test_the_network_is_traced_once(network):
    function = make_predict_fn(network)
    for count in (3, 3, 1):
        function(tf.zeros((count, 4)))
    assert function.experimental_get_tracing_count() == 1


def test_half_precision_comes_out_as_single():
    inputs = keras.Input((4,))
    network = keras.Model(inputs, keras.layers.Rescaling(3.0, dtype="bfloat16")(inputs))
    batches = tf.data.Dataset.from_tensors((tf.ones((2, 4)),))
    assert predict_batches(make_predict_fn(network), batches, "test").dtype == np.float32

import keras
import numpy as np
import pytest
import tensorflow as tf

from ulna.networks.forward import forward, run_forward


@pytest.fixture
def network() -> keras.Model:
    """Triples its input; while it trains it drops everything but one in a million."""
    inputs = keras.Input((4,))
    dropped = keras.layers.Dropout(0.999999)(inputs)
    return keras.Model(inputs, keras.layers.Rescaling(3.0)(dropped))


def test_outputs_come_in_order_for_batches_of_any_size(network):
    rows = np.arange(28, dtype=np.float32).reshape(7, 4)
    batches = tf.data.Dataset.from_tensor_slices((rows, np.zeros(7))).batch(3)
    outputs = run_forward(forward(network), batches, "test")
    np.testing.assert_allclose(outputs, 3 * rows)


def test_the_network_is_traced_once(network):
    function = forward(network)
    for count in (3, 3, 1):
        function(tf.zeros((count, 4)))
    assert function.experimental_get_tracing_count() == 1


def test_half_precision_comes_out_as_single():
    inputs = keras.Input((4,))
    network = keras.Model(inputs, keras.layers.Rescaling(3.0, dtype="bfloat16")(inputs))
    batches = tf.data.Dataset.from_tensors((tf.ones((2, 4)),))
    assert run_forward(forward(network), batches, "test").dtype == np.float32

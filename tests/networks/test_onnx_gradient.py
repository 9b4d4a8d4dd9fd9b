import keras
import numpy as np
import onnx
import pytest
from all_layers import all_layers, draw_weights, pixels, run_onnx, spread_logits
from keras import layers

from ulna.core import InputError
from ulna.core.params import NETWORKS
from ulna.networks.models import build_network
from ulna.networks.onnx_gradient import export_maps
from ulna.networks.onnx_layers import export_network
from ulna.networks.saliency import make_cam_fn, target_layer


def assert_same_maps(model: keras.Model, layer: keras.Layer, share: float, count: int = 3) -> None:
    """Of images with and without black margins, to a share of the maps' range."""
    images = pixels(count, model.input.shape[1])
    expected = make_cam_fn(model, layer)(images)
    file, logits = export_maps(model, layer), run_onnx(export_network(model), images)["logit"]
    for number in (count, 1):
        found = run_onnx(file, images[:number])
        assert list(found) == ["logit", "map"]
        np.testing.assert_allclose(found["logit"], logits[:number], rtol=1e-5, atol=1e-5)
        assert found["map"].dtype == np.float32 and np.ptp(expected) > 0
        gap = np.abs(found["map"] - expected[:number]).max()
        assert gap <= share * np.ptp(expected)


@pytest.mark.parametrize("side", [32, 75, 96])
def test_the_maps_of_a_cnn_are_those_of_keras(side, params):
    keras.utils.set_random_seed(5)
    model = spread_logits(build_network("cnn", side, params.cnn))
    assert_same_maps(model, target_layer(model), 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("arch", sorted(set(NETWORKS) - {"cnn"}))
def test_the_maps_of_a_large_network_are_those_of_keras(arch, params):
    side = 75  # odd, and so are others on the way down
    keras.utils.set_random_seed(5)
    model = draw_weights(build_network(arch, side, getattr(params, arch)))
    assert_same_maps(model, target_layer(model), 0.01)


@pytest.mark.parametrize("side", [32, 45, 64])
def test_the_gradient_of_every_layer_is_that_of_keras(side):
    """Odd sides, strides, overlapping and dilated windows, groups, branches."""
    keras.utils.set_random_seed(6)
    model = spread_logits(all_layers(side))
    assert_same_maps(model, model.get_layer("explained"), 1e-5)


def linear(*above: keras.Layer) -> tuple[keras.Model, keras.Layer]:
    """A network whose explained layer passes grey levels / 255 on."""
    inputs = keras.Input((4, 4, 1), dtype="uint8", name="pixels")
    explained = layers.ReLU(name="explained")
    x = explained(layers.Rescaling(1 / 255)(inputs))
    for layer in above:
        x = layer(x)
    model = keras.Model(inputs, layers.Dense(1, kernel_initializer="ones")(x))
    return model, explained


def map_of(levels: list[list[int]], *above: keras.Layer) -> np.ndarray:
    image = np.array([levels], np.uint8)
    return run_onnx(export_maps(*linear(*above)), image)["map"][0] * 255


LEVELS = [[9, 9, 1, 2], [3, 9, 4, 4], [0, 0, 5, 6], [0, 0, 7, 8]]


def test_a_mean_has_the_same_gradient_in_all_cells():
    """By hand: the map is the feature over the number of cells."""
    found = map_of(LEVELS, layers.GlobalAveragePooling2D())
    np.testing.assert_allclose(found, np.array(LEVELS) / 16, rtol=1e-5)


def test_equal_maxima_share_the_gradient():
    """By hand: the three nines have a third each."""
    found = map_of(LEVELS, layers.GlobalMaxPooling2D())
    np.testing.assert_allclose(found, np.where(np.array(LEVELS) == 9, 3, 0), rtol=1e-5)


def test_of_equal_maxima_of_a_window_the_first_has_the_gradient():
    """By hand: the first nine, the first four, none of the zeros, the eight; a quarter each."""
    above = (layers.MaxPooling2D(), layers.GlobalAveragePooling2D())
    expected = np.zeros((4, 4))
    expected[0, 0], expected[1, 2], expected[3, 3] = 9 / 4, 4 / 4, 8 / 4
    np.testing.assert_allclose(map_of(LEVELS, *above), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        (layers.AveragePooling2D(3, padding="same"), "has padding, whose gradient is not mapped"),
        (layers.Rescaling(2.0), "has no gradient here"),
    ],
)
def test_a_layer_without_a_gradient_is_refused_by_name(layer, fault):
    layer.name = "strange"
    model, explained = linear(layer, layers.GlobalMaxPooling2D())
    assert export_network(model)
    with pytest.raises(InputError, match=rf"the layer strange \({type(layer).__name__}\) {fault}"):
        export_maps(model, explained)


def test_the_file_is_well_formed_and_the_same_each_time(params):
    model = build_network("cnn", 32, params.cnn)
    layer = target_layer(model)
    file = export_maps(model, layer)
    onnx.checker.check_model(onnx.load_from_string(file), full_check=True)
    make_cam_fn(model, layer)(pixels(1, 32))
    assert export_maps(model, layer) == file
    # The gradient uses the weights of the network: none is stored twice.
    assert len(file) < len(export_network(model)) + 10_000

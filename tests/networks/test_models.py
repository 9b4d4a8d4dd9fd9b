from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.applications import densenet, mobilenet_v2
from keras.src.legacy.saving import legacy_h5_format

from ulna.core import InputError
from ulna.core.params import NETWORKS, Params
from ulna.networks.models import (
    BUILDERS,
    build_cnn,
    build_densenet169,
    build_mobilenetv2,
    build_network,
    describe_layers,
    freeze_backbone,
    layer_index,
    load_backbone,
    unfreeze_from,
)
from ulna.networks.training import PHASES

SIDE = 32


@pytest.fixture(scope="module")
def cnn(params) -> keras.Model:
    return build_cnn(SIDE, params.cnn)


@pytest.fixture(scope="module")
def densenet169(params) -> keras.Model:
    return build_densenet169(SIDE, params.densenet169)


@pytest.fixture(scope="module")
def mobilenetv2(params) -> keras.Model:
    return build_mobilenetv2(SIDE, params.mobilenetv2)


def published(folder, application) -> tuple[Path, keras.Model]:
    """A file of the form of Keras' ImageNet weights: without the top, legacy .h5; its network."""
    backbone = application(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    path = folder / "notop.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, backbone)
    return path, backbone


def pixels(count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 1), np.uint8)


@pytest.mark.parametrize("arch", ["cnn", "densenet169", "mobilenetv2"])
def test_a_network_takes_raw_cached_pixels_and_gives_one_logit(arch, request):
    model = request.getfixturevalue(arch)
    assert model.name == arch
    assert model.input.dtype == "uint8"
    logits = model(pixels(), training=False).numpy()
    assert logits.shape == (2, 1)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


def test_the_table_of_networks_and_their_builders_name_the_same():
    assert list(BUILDERS) == list(NETWORKS)
    assert set(NETWORKS) <= set(Params.model_fields)
    assert {spec.phases for spec in NETWORKS.values()} <= set(PHASES)
    assert len({spec.title for spec in NETWORKS.values()}) == len(NETWORKS)


def test_the_section_of_the_parameters_names_the_network(params, cnn):
    assert build_network("cnn", SIDE, params.cnn).count_params() == cnn.count_params()


def test_a_cnn_deeper_than_the_image_is_refused(params):
    deep = params.cnn.model_copy(update={"filters": (4,) * 6})
    with pytest.raises(InputError, match="blocks"):
        build_cnn(SIDE, deep)


def test_the_backbone_sees_what_keras_gives_its_imagenet_networks(densenet169):
    seen = keras.Model(densenet169.input, densenet169.get_layer("imagenet").output)
    expected = densenet.preprocess_input(np.repeat(pixels(), 3, axis=-1).astype(np.float32))
    np.testing.assert_allclose(seen.predict_on_batch(pixels()), expected, atol=1e-5)


def test_the_backbone_is_densenet169_as_published(densenet169):
    """12,642,880 parameters without the top (Keras' documentation of DenseNet169)."""
    backbone = [layer for layer in densenet169.layers if not layer.name.startswith("head_")]
    assert sum(layer.count_params() for layer in backbone) == 12_642_880


@pytest.mark.parametrize(
    ("arch", "module", "name"),
    [("densenet169", densenet, "DenseNet169"), ("mobilenetv2", mobilenet_v2, "MobileNetV2")],
)
def test_pretrained_weights_give_the_features_of_the_network_they_come_from(
    arch, module, name, request, tmp_path
):
    """Seen through Keras' own preprocessing."""
    model = request.getfixturevalue(arch)
    path, backbone = published(tmp_path, getattr(module, name))
    load_backbone(model, path)
    features = keras.Model(model.input, model.get_layer("head_average_pooling").input)
    rgb = module.preprocess_input(np.repeat(pixels(), 3, axis=-1).astype(np.float32))
    # Called, not `predict_on_batch`: to trace 600 layers takes longer than to run them once.
    np.testing.assert_allclose(
        features(pixels(), training=False), backbone(rgb, training=False), atol=1e-5
    )


def test_mobilenetv2_is_fine_tuned_from_a_layer_of_its_own(mobilenetv2):
    """2,257,984 parameters without the top (Keras' documentation of MobileNetV2)."""
    backbone = [layer for layer in mobilenetv2.layers if not layer.name.startswith("head_")]
    assert sum(layer.count_params() for layer in backbone) == 2_257_984
    unfreeze_from(mobilenetv2, layer_index(mobilenetv2, "block_13"), "inference")
    trained = [layer.name for layer in mobilenetv2.layers if layer.trainable_weights]
    assert trained[0] == "block_13_expand"
    with pytest.raises(InputError, match="mobilenetv2.finetune_from .*block_16"):
        layer_index(mobilenetv2, "conv5")


def test_weights_of_another_network_are_refused(params, cnn, densenet169, tmp_path):
    cnn.save_weights(tmp_path / "cnn.weights.h5")
    (tmp_path / "page.h5").write_text("<html>404</html>")
    for name in ("cnn.weights.h5", "page.h5"):
        with pytest.raises(InputError, match="DenseNet169"):
            load_backbone(densenet169, tmp_path / name)


def test_in_the_first_phase_the_head_alone_is_trained(densenet169):
    freeze_backbone(densenet169)
    trained = {layer.name for layer in densenet169.layers if layer.trainable_weights}
    assert trained == {"head_batch_normalization", "head_dense", "head_logit"}


def test_fine_tuning_starts_at_the_named_layer(densenet169):
    unfreeze_from(densenet169, layer_index(densenet169, "conv5_block30"), "inference")
    trained = [layer.name for layer in densenet169.layers if layer.trainable_weights]
    assert trained[0] == "conv5_block30_1_conv"
    assert "conv5_block3_1_conv" not in trained
    assert trained[-1] == "head_logit"


def test_batch_normalisation_stays_in_inference_mode(densenet169):
    unfreeze_from(densenet169, layer_index(densenet169, "first"), "inference")
    kinds = {
        layer.trainable
        for layer in densenet169.layers
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.name.startswith("head_")
    }
    assert kinds == {False}
    layer = densenet169.get_layer("conv1_bn")
    before = layer.get_weights()
    densenet169(pixels(), training=True)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_batch_normalisation_can_be_trained_too(densenet169):
    unfreeze_from(densenet169, layer_index(densenet169, "first"), "training")
    layer = densenet169.get_layer("conv1_bn")
    before = layer.moving_mean.numpy()
    densenet169(pixels(), training=True)
    assert (before != layer.moving_mean.numpy()).any()


@pytest.mark.parametrize("name", ["conv9", "conv5_block", "head_dense"])
def test_a_layer_that_is_not_there_is_refused_with_examples(densenet169, name):
    with pytest.raises(InputError, match="conv5"):
        layer_index(densenet169, name)


@pytest.mark.parametrize("arch", ["cnn", "densenet169", "mobilenetv2"])
def test_the_table_of_layers_adds_up_to_the_network(arch, request):
    model = request.getfixturevalue(arch)
    table = describe_layers(model)
    assert table["parameters"].sum() == model.count_params()
    assert table["trainable_parameters"].sum() == sum(
        weight.size if hasattr(weight, "size") else int(np.prod(weight.shape))
        for weight in model.trainable_weights
    )
    assert table["layer"].is_unique
    assert len(table) < 35
    assert table.iloc[-1]["output_shape"] == "1"


def test_the_cnn_is_blocks_of_convolution_normalisation_and_pooling(cnn, params):
    table = describe_layers(cnn).set_index("layer")
    assert table.loc["block2", "type"] == "Conv2D, BatchNormalization, ReLU, MaxPooling2D"
    assert table.loc["block1", "output_shape"] == f"16 x 16 x {params.cnn.filters[0]}"

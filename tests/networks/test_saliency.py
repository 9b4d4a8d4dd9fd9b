import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import spearmanr
from spots import SIDE, SPOTS, table

from ulna.evaluation.localization import add_maxima, evaluate_localization, upsample
from ulna.networks.models import build_cnn, build_densenet169, build_mobilenetv2
from ulna.networks.saliency import (
    ALL_LIMIT,
    HEAD_LIMIT,
    Randomization,
    bottleneck_activations,
    from_the_top,
    make_cam_fn,
    randomization_test,
    rank_correlation,
    reinitialise,
    target_layer,
)

WIDE = 64


def pixels(count: int = 3, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side), np.uint8)


@pytest.fixture(scope="module")
def small(params):
    return params.cnn.model_copy(update={"filters": (12, 24)})


@pytest.fixture(scope="module")
def cnn(small) -> keras.Model:
    """A CNN of which each weight is drawn, statistics of normalisation too."""
    keras.utils.set_random_seed(5)
    model = build_cnn(SIDE, small)
    draw = np.random.default_rng(2)
    model.set_weights(
        [
            draw.uniform(0.1, 1, w.shape) * draw.choice([1, 1, -1], w.shape)
            if w.name != "moving_variance"
            else draw.uniform(0.5, 2, w.shape)
            for w in model.weights
        ]
    )
    return model


@pytest.fixture(scope="module")
def densenet169(params) -> keras.Model:
    keras.utils.set_random_seed(5)
    return build_densenet169(WIDE, params.densenet169)


@pytest.fixture(scope="module")
def trained(small) -> keras.Model:
    """Trained on bright squares."""
    keras.utils.set_random_seed(7)
    model = build_cnn(SIDE, small)
    cache, images = table(64, 1)
    model.compile(keras.optimizers.Adam(0.01), keras.losses.BinaryCrossentropy(from_logits=True))
    model.fit(
        cache.arrays["WRIST"][..., None], images["label"].to_numpy()[:, None], epochs=12, verbose=0
    )
    return model


def outputs(model, layer, batch):
    return keras.Model(model.input, model.get_layer(layer).output)(batch[..., None]).numpy()


def test_a_cam_of_average_and_maximum_is_weights_times_features(cnn):
    """The decomposition by hand, at the feature map that is pooled."""
    features = outputs(cnn, "block2_max_pooling", pixels())
    average, maximum = np.split(cnn.get_layer("logit").kernel.numpy()[:, 0], 2)
    count, rows, columns, channels = features.shape
    expected = (features * average).sum(-1) / (rows * columns)
    for image in range(count):
        for channel in range(channels):
            plane = features[image, :, :, channel]
            row, column = np.unravel_index(plane.argmax(), plane.shape)
            assert (plane == plane.max()).sum() == 1 or plane.max() == 0
            expected[image, row, column] += maximum[channel] * plane.max()
    maps = make_cam_fn(cnn, cnn.get_layer("block2_max_pooling"))(pixels())
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", ["block2_max_pooling", "block2_relu"])
def test_a_cam_sums_to_the_logit_minus_its_bias(cnn, layer):
    logits = cnn(pixels()[..., None]).numpy()[:, 0]
    bias = cnn.get_layer("logit").bias.numpy()[0]
    sums = make_cam_fn(cnn, cnn.get_layer(layer))(pixels()).sum(axis=(1, 2))
    assert np.abs(logits - bias).min() > 0.1
    np.testing.assert_allclose(sums, logits - bias, rtol=1e-4)


def test_grad_cam_weighs_channels_by_mean_gradients(densenet169):
    """Selvaraju et al., equations 1 and 2 without the ReLU; the head's chain rule by hand."""
    batch = pixels(2, WIDE)
    layers = [densenet169.get_layer(name).output for name in ("relu", "head_dense")]
    features, hidden = map(np.asarray, keras.Model(densenet169.input, layers)(batch[..., None]))
    normalise, dense, logit = (
        densenet169.get_layer(f"head_{name}") for name in ("batch_normalization", "dense", "logit")
    )
    scale = normalise.gamma.numpy() / np.sqrt(normalise.moving_variance.numpy() + normalise.epsilon)
    gradients = (logit.kernel.numpy()[:, 0] * (hidden > 0)) @ dense.kernel.numpy().T * scale
    cells = features.shape[1] * features.shape[2]
    assert cells == 4
    expected = np.einsum("nrcf,nf->nrc", features, gradients / cells)
    maps = make_cam_fn(densenet169, densenet169.get_layer("relu"))(batch)
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_the_target_layer_has_enough_cells(params, small, densenet169):
    cnn = params.cnn.model_copy(update={"filters": (4,) * 5})
    assert target_layer(build_cnn(96, cnn)).name == "block4_relu"
    assert target_layer(build_cnn(320, cnn)).name == "block5_relu"
    assert target_layer(densenet169).name == "pool3_relu"  # 8 x 8 cells
    assert target_layer(build_cnn(8, small)).name == "block1_relu"  # 4 x 4: no map has enough


def test_of_mobilenetv2_the_map_lies_where_no_shortcut_bypasses_it(params):
    model = build_mobilenetv2(96, params.mobilenetv2)
    # Blocks 1, 3, 6, 10, 13 and 16 change the shape of their input, and so add nothing to it.
    names = {layer.name.removesuffix("_relu") for layer in bottleneck_activations(model)}
    inside = {
        f"block_{k}_{part}" for k in (1, 3, 6, 10, 13, 16) for part in ("expand", "depthwise")
    }
    assert names == {"Conv1", "expanded_conv_depthwise", "out", *inside}
    assert target_layer(model).name == "block_6_expand_relu"  # 12 x 12 cells
    groups = from_the_top(model)
    assert list(groups) == ["head", *(f"block{k}" for k in range(16, 0, -1))]
    assert groups["block1"][-1].name == "Conv1"
    for layer in groups["block1"]:
        reinitialise(layer, np.random.default_rng(1))


def test_an_image_has_the_same_map_in_any_batch(cnn):
    cam = make_cam_fn(cnn, target_layer(cnn))
    many = pixels(40)
    np.testing.assert_allclose(cam(many)[35], cam(many[35:36])[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("side", [12, 30, 96])
def test_maps_are_upsampled_as_tensorflow_does(side):
    maps = np.random.default_rng(1).normal(size=(2, 12, 7)).astype(np.float32)
    expected = tf.image.resize(maps[..., None], (side, side), "bilinear")[..., 0]
    np.testing.assert_allclose(upsample(maps, side), expected, atol=1e-5)


def test_blocks_are_listed_from_the_top(cnn, densenet169):
    assert list(from_the_top(cnn)) == ["head", "block2", "block1"]
    groups = from_the_top(densenet169)
    assert list(groups) == ["head", "block5", "block4", "block3", "block2", "block1"]
    assert [layer.name for layer in groups["head"]][-1] == "head_batch_normalization"
    assert groups["block5"][0].name == "bn"
    assert groups["block4"][0].name == "pool4_conv"
    counted = sum(len(layer.weights) for layers in groups.values() for layer in layers)
    assert counted == len(densenet169.weights)


def test_new_weights_are_those_of_a_fresh_layer_and_not_the_first_ones(small):
    keras.utils.set_random_seed(3)
    layer = build_cnn(SIDE, small).get_layer("block2_convolution")
    first = layer.kernel.numpy()
    reinitialise(layer, np.random.default_rng(1))
    again = layer.kernel.numpy()
    assert abs(np.corrcoef(first.ravel(), again.ravel())[0, 1]) < 0.2
    # He et al. 2015: variance 2 / fan in, here 3 x 3 x 12.
    assert again.std() == pytest.approx(np.sqrt(2 / 108), rel=0.15)
    reinitialise(layer, np.random.default_rng(1))
    np.testing.assert_array_equal(layer.kernel.numpy(), again)


def test_new_normalisation_does_nothing(cnn, small):
    model = build_cnn(SIDE, small)
    model.set_weights(cnn.get_weights())
    layer = model.get_layer("block1_batch_normalization")
    reinitialise(layer, np.random.default_rng(1))
    assert [w.numpy().mean() for w in layer.weights] == [1, 0, 0, 1]


def test_rank_correlation_is_scipys_of_absolute_values():
    draw = np.random.default_rng(1)
    one, other = draw.integers(-4, 5, (2, 6, 6)).astype(np.float32)
    expected = spearmanr(np.abs(one).ravel(), np.abs(other).ravel()).statistic
    assert rank_correlation(one, other) == pytest.approx(expected)
    assert rank_correlation(one, -one) == pytest.approx(1)
    assert np.isnan(rank_correlation(one, np.zeros_like(one)))


@pytest.mark.promise("E32")
def test_maps_of_a_trained_network_pass(trained):
    cache, _ = table(32, 2)
    before = trained.get_weights()
    cam = make_cam_fn(trained, target_layer(trained))
    check = randomization_test(trained, cam, cache.arrays["WRIST"], seed=1)
    assert check.passed
    assert check.images == 32
    assert list(check.correlations) == ["head", "block2", "block1"]
    for old, new in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    again = randomization_test(trained, cam, cache.arrays["WRIST"], seed=1)
    assert again == check
    assert randomization_test(trained, cam, cache.arrays["WRIST"], seed=2) != check


def edges(batch):
    down, across = np.gradient(batch.astype(np.float32), axis=(1, 2))
    return np.hypot(down, across)


@pytest.mark.promise("E32")
def test_edges_of_the_image_do_not_pass(trained):
    """They look like an explanation, for any network."""
    cache, _ = table(32, 2)
    check = randomization_test(trained, edges, cache.arrays["WRIST"], seed=1)
    assert not check.passed
    assert list(check.correlations.values()) == pytest.approx([1, 1, 1])
    assert check.summary["passed"] is False


@pytest.mark.promise("E32")
def test_edges_with_a_little_of_the_network_do_not_pass(trained):
    cache, _ = table(32, 2)
    cam = make_cam_fn(trained, target_layer(trained))

    def scaled(maps):
        return np.abs(maps) / np.abs(maps).mean(axis=(1, 2), keepdims=True)

    def mixed(batch):
        return 0.8 * scaled(edges(batch)) + 0.2 * scaled(upsample(cam(batch), SIDE))

    check = randomization_test(trained, mixed, cache.arrays["WRIST"], seed=1)
    assert not check.passed
    assert max(check.correlations.values()) < 0.999


@pytest.mark.promise("E32")
def test_the_network_is_made_random_from_the_top_and_stays_so(trained):
    weights = trained.get_weights()
    random = []

    def watch(batch):
        changed = {
            weight.path.split("/")[0].split("_")[0]
            for weight, before in zip(trained.weights, weights, strict=True)
            if (weight.numpy() != before).any()
        }
        random.append(changed)
        return edges(batch)

    randomization_test(trained, watch, pixels(1), seed=1)
    assert random == [set(), {"logit"}, {"logit", "block2"}, {"logit", "block2", "block1"}]


@pytest.mark.parametrize(("constant", "defined"), [(4, True), (5, False)])
def test_a_correlation_counts_if_half_of_the_images_have_one(trained, constant, defined):
    def some(batch):
        maps = edges(batch)
        maps[:constant] = 1
        return maps

    check = randomization_test(trained, some, pixels(8), seed=1)
    expected = 1 if defined else np.nan
    assert list(check.correlations.values()) == pytest.approx([expected] * 3, nan_ok=True)


@pytest.mark.promise("E32")
@pytest.mark.parametrize(
    ("head", "last", "passed"),
    [
        (HEAD_LIMIT, ALL_LIMIT, True),
        (0.9, 0.1, False),  # the head does not matter to the map
        (0.2, 0.6, False),
        (np.nan, 0.1, False),
        (0.1, np.nan, False),
    ],
)
def test_the_head_and_the_whole_network_must_matter(head, last, passed):
    check = Randomization({"head": head, "block2": 0.8, "block1": last}, 32)
    assert check.passed is passed


def test_maps_without_ranks_are_undefined(trained):
    cache, _ = table(8, 2)
    check = randomization_test(
        trained, lambda batch: np.zeros((len(batch), 4, 4)), cache.arrays["WRIST"], 1
    )
    assert np.isnan(list(check.correlations.values())).all()
    assert not check.passed


def test_the_maps_of_a_trained_network_locate_the_squares(trained, params):
    cache, images = table(64, 3)
    abnormal = images["label"] == 1
    images["x0"] = images["y0"] = np.where(abnormal, SPOTS.start, np.nan)
    images["x1"] = images["y1"] = np.where(abnormal, SPOTS.stop, np.nan)
    images[["left", "top", "right", "bottom"]] = [0, 0, SIDE, SIDE]
    images["probability"] = np.where(images.index % 4 == 1, 0.9, 0.1)
    images["threshold"] = 0.5
    cam = make_cam_fn(trained, target_layer(trained))
    squares = cache.gather_samples(images[abnormal])
    coarse = cam(squares)
    rows = add_maxima(images[abnormal], coarse, SIDE)
    row, column = np.divmod(coarse.reshape(32, -1).argmax(axis=1), coarse.shape[2])
    cell = SIDE / coarse.shape[1]
    np.testing.assert_allclose(rows["map_x_px"], (column + 0.5) * cell)
    np.testing.assert_allclose(rows["map_y_px"], (row + 0.5) * cell)
    metrics = evaluate_localization(rows, squares, coarse, 200, 10, seed=1)
    assert metrics["abnormal"]["pointing_game"]["n"] == 32
    assert metrics["predicted_positive"]["pointing_game"]["n"] == 16
    scores = metrics["abnormal"]["energy_inside"]
    assert scores["low"] > 2 * scores["chance_even"]
    assert metrics["abnormal"]["pointing_game"]["low"] > 0.5

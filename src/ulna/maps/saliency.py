"""Class activation maps of the networks, and the test that decides whether they may be shown.

A map says which cells of a feature map raise (positive) or lower (negative) the logit of abnormal.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf
from scipy.stats import rankdata

from ulna.console import progress
from ulna.data.cache import Cache, gather_samples
from ulna.judging.bootstrap import resample
from ulna.maps.pointing import maxima, score_maps
from ulna.params import Evaluate

Pixels = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]
Explain = Callable[[Pixels], Maps]

# Activations that all paths of a network run through: block5_relu of the CNN; relu (the last) and
# pool4_relu, ..., conv1_relu of DenseNet169.
THROUGH = re.compile(r"(block\d+_|pool\d+_|conv1_)?relu")
# Cells a side. At 96 px the CNN's last two maps have 6 and 12 cells a side, DenseNet169's 3 and 12
# (pool3): on val of the phantom the CNN's hit 32% and 70% of the planted findings, DenseNet169's
# 24% and 68%. At 320 px the last maps have 20 and 10 cells.
MIN_CELLS = 8
BATCH_SIZE = 32
# Philox streams are told apart by these, see ulna.networks.dataset for 1 and 2.
RANDOMISE_STREAM = 3

# Rank correlations with the map of the trained network, stated before any was measured: at most
# half of the variance in ranks (0.7 squared) may be left once the head is random, at most a quarter
# (0.5 squared) once all is.
HEAD_LIMIT = 0.7
ALL_LIMIT = 0.5


@dataclass(frozen=True)
class Randomisation:
    """Result of the cascading randomisation test.

    Attributes:
        correlations: What is random, "head" first, then one block more each -> Spearman's rank
            correlation of absolute maps, mean over images; NaN where it is undefined for more than
            half of them (a constant map has no ranks).
        images: Number of images.
    """

    correlations: Mapping[str, float]
    images: int

    @property
    def summary(self) -> dict[str, object]:
        """The result for a JSON file."""
        return {
            "passed": self.passed,
            "sentence": self.sentence,
            "images": self.images,
            "head_limit": HEAD_LIMIT,
            "all_limit": ALL_LIMIT,
            "rank_correlation": dict(self.correlations),
        }

    @property
    def passed(self) -> bool:
        """Whether the maps follow the network closely enough to be shown; not where undefined."""
        head, *_, last = self.correlations.values()
        return head <= HEAD_LIMIT and last <= ALL_LIMIT

    @property
    def sentence(self) -> str:
        """The result in words."""
        head, *_, last = self.correlations.values()
        return (
            f"rank correlation with the trained network's maps: {head:.2f} once the head is random "
            f"(limit {HEAD_LIMIT}), {last:.2f} once all is (limit {ALL_LIMIT}); "
            f"{self.images} test images"
        )


def explained_layer(model: keras.Model) -> keras.Layer:
    """The layer whose feature map is explained: the last with `MIN_CELLS` cells a side.

    Args:
        model: Either network.

    Returns:
        An activation after which nothing bypasses it; the one with most cells where all have fewer.
    """
    through = [layer for layer in model.layers if THROUGH.fullmatch(layer.name)]
    fine = [layer for layer in through if layer.output.shape[1] >= MIN_CELLS]
    return fine[-1] if fine else through[0]


def explainer(model: keras.Model, layer: keras.Layer) -> Explain:
    """Class activation maps as a function of pixels: gradient times feature, summed over channels.

    m(cell) = sum over channels of f(cell) * d logit / d f(cell). Where the rest of the network is
    pooling and one linear layer this is CAM, and it sums to the logit minus its bias: average
    pooling gives w * f / cells, maximum pooling w_max * f where f is largest. Where the rest begins
    with average pooling, the gradient is the same in all cells, and it is Grad-CAM / cells, here
    without its ReLU. Else it is HiResCAM, which keeps the gradient of each cell.

    Args:
        model: Either network; the function follows later changes of its weights.
        layer: See `explained_layer`.

    Returns:
        A function of (n, size_px, size_px) uint8 to (n, rows, columns) float32, in units of the
        logit, traced once.

    Reference:
        Zhou et al. 2016, arXiv 1512.04150 (CAM); Selvaraju et al. 2017, arXiv 1610.02391
        (Grad-CAM); Draelos and Carin 2020, arXiv 2011.08891 (HiResCAM).
    """
    below = keras.Model(model.input, layer.output)
    above = keras.Model(layer.output, model.output)
    signature = [tf.TensorSpec(model.input.shape, model.input.dtype)]

    # Only what lies above the layer is followed by the tape.
    def gradient_times_feature(batch: tf.Tensor) -> tf.Tensor:
        features = below(batch, training=False)
        with tf.GradientTape() as tape:
            tape.watch(features)
            logits = above(features, training=False)
        gradients = tape.gradient(logits, features)
        return tf.reduce_sum(tf.cast(features, tf.float32) * tf.cast(gradients, tf.float32), -1)

    function = tf.function(gradient_times_feature, input_signature=signature, autograph=False)

    def explain(pixels: Pixels) -> Maps:
        batches = range(0, len(pixels), BATCH_SIZE)
        maps = [function(pixels[start : start + BATCH_SIZE, ..., None]) for start in batches]
        return np.concatenate([batch.numpy() for batch in maps])

    return explain


def explain_images(
    explain: Explain, cache: Cache, images: pd.DataFrame
) -> tuple[pd.DataFrame, Pixels, Maps]:
    """Explain cached images.

    Args:
        explain: See `explainer`.
        cache: The cached images.
        images: One row an image, at least one: body_part, row and more.

    Returns:
        `images` with map_x_px and map_y_px, the highest point of its map (see
        `ulna.maps.pointing.maxima`); pixels, (n, size_px, size_px) uint8; maps, upsampled to them.
    """
    pixels = gather_samples(cache, images)
    maps = explain(pixels)
    x, y = maxima(maps, cache.size_px).T
    return images.assign(map_x_px=x, map_y_px=y), pixels, upsample(maps, cache.size_px)


def localise(
    explain: Explain, cache: Cache, images: pd.DataFrame, evaluate: Evaluate, seed: int
) -> dict[str, object] | None:
    """Judge whether maps point at what was planted.

    Args:
        explain: See `explainer`.
        cache: The cached images.
        images: One row an image, see `ulna.maps.gallery.locate`; also patient, probability,
            threshold.
        evaluate: Draws of the intervals, and the fewest patients that get a number.
        seed: Of the draws.

    Returns:
        For all images with a finding in sight (abnormal) and those called abnormal: see
        `ulna.maps.pointing.score_maps`. None where nothing was planted.
    """
    planted = images[images["x0"].notna()]
    if planted.empty:
        return None
    planted, pixels, maps = explain_images(explain, cache, planted)
    cells = explain(pixels[:1]).shape[1]
    resamples = resample(planted["patient"], evaluate.bootstrap_draws, seed)
    called = (planted["probability"] > planted["threshold"]).to_numpy()
    return {
        name: score_maps(
            planted[rows], maps[rows], pixels[rows], cells, resamples, evaluate.min_patients
        )
        for name, rows in (("abnormal", called | True), ("called_abnormal", called))
    }


def upsample(maps: Maps, size_px: int) -> Maps:
    """Bring maps to the size of the pictures, bilinearly.

    Args:
        maps: (n, rows, columns).
        size_px: Side of the pictures.

    Returns:
        (n, size_px, size_px) float32.
    """
    large: Maps = tf.image.resize(maps[..., None], (size_px, size_px), "bilinear").numpy()
    return large[..., 0]


def randomise(model: keras.Model, explain: Explain, pixels: Pixels, seed: int) -> Randomisation:
    """Cascading randomisation: how much of a map is left when the network's weights are not.

    From the top down, the head and then block after block get new random weights, and stay random.
    A map that explains the network must change; one that finds edges whatever the network does not.

    Args:
        model: Either network; its weights are put back in the end.
        explain: What is tested; it follows the weights of `model`.
        pixels: (n, size_px, size_px) uint8.
        seed: Of the new weights. They are independent of the weights that training began with.

    Returns:
        The rank correlations.

    Reference:
        Adebayo et al. 2018, "Sanity checks for saliency maps", arXiv 1810.03292, section 3.
    """
    groups = from_the_top(model)
    trained = model.get_weights()
    original = explain(pixels)
    found = {}
    steps = progress(groups.items(), len(groups), f"randomise {model.name}", "blocks")
    try:
        for place, (name, layers) in enumerate(steps):
            stream = np.random.Philox(key=[seed, RANDOMISE_STREAM], counter=[0, 0, 0, place])
            generator = np.random.Generator(stream)
            for layer in layers:
                reinitialise(layer, generator)
            found[name] = _mean(list(map(rank_correlation, original, explain(pixels))))
    finally:
        model.set_weights(trained)
    return Randomisation(found, len(pixels))


def from_the_top(model: keras.Model) -> dict[str, list[keras.Layer]]:
    """Layers with weights by block: head, then the last block to the first.

    A transition of DenseNet169 (pool4) belongs to the block below it, its last normalisation to the
    last block.
    """
    groups: dict[str, list[keras.Layer]] = {"head": []}
    top = max(index for index, layer in enumerate(model.layers) if THROUGH.fullmatch(layer.name))
    block = max(filter(None, (_block(layer) for layer in model.layers)), key=lambda b: int(b[5:]))
    for index, layer in reversed(list(enumerate(model.layers))):
        name = "head" if index > top else _block(layer) or block
        if layer.weights:
            groups.setdefault(name, []).append(layer)
    return groups


def _block(layer: keras.Layer) -> str | None:
    numbered = re.match(r"(?:block|conv|pool)(\d+)_", layer.name)
    return f"block{numbered[1]}" if numbered else None


def reinitialise(layer: keras.Layer, generator: np.random.Generator) -> None:
    """Give a layer new weights as its own initialisers draw them, in place.

    Args:
        layer: Of Keras, such as a convolution or batch normalisation.
        generator: Where the initialisers' seeds come from.
    """
    for weight in layer.weights:
        initializer = getattr(layer, f"{weight.name}_initializer")
        recipe = initializer.get_config()
        # An initialiser that has drawn its own seed draws the same weights again.
        if "seed" in recipe:
            recipe["seed"] = int(generator.integers(2**31))
        weight.assign(type(initializer).from_config(recipe)(weight.shape, weight.dtype))


def rank_correlation(one: Maps, other: Maps) -> float:
    """Spearman's rank correlation of the absolute values of two maps; NaN where one is constant."""
    ranks = [rankdata(np.abs(part), axis=None) for part in (one, other)]
    first, second = (rank - rank.mean() for rank in ranks)
    scale = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / scale) if scale else np.nan


def _mean(values: list[float]) -> float:
    defined = np.array(values)[~np.isnan(values)]
    return float(defined.mean()) if 2 * len(defined) >= len(values) else np.nan

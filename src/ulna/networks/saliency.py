"""Class activation maps of the networks, and the test that decides whether they may be shown.

A map says which cells of a feature map raise (positive) or lower (negative) the logit of abnormal.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from scipy.stats import rankdata

from ulna.core.progress import progress
from ulna.networks.graph import crossing_tensors

Pixels = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]
CamFn = Callable[[Pixels], Maps]

# Per side. At 96 px the CNN's last two maps have 6 and 12 cells per side, DenseNet169's 3 and 12
# (pool3): on val of the phantom the CNN's hit 32% and 70% of the synthetic findings, DenseNet169's
# 24% and 68%. At 320 px the last maps have 20 and 10 cells.
MIN_CELLS = 8
BATCH_SIZE = 32
# Numbers that keep Philox streams apart, see ulna.networks.dataset for 1 and 2.
RANDOMIZATION_STREAM = 3

# Rank correlations with the map of the trained network, stated before any was measured: at most
# half of the variance in ranks (0.7 squared) may be left once the head is random, at most a quarter
# (0.5 squared) once all is.
HEAD_LIMIT = 0.7
ALL_LIMIT = 0.5


@dataclass(frozen=True)
class Randomization:
    """Result of the cascading randomization test, as a mean over images."""

    # Last part that is random, "head" first, then block after block -> Spearman's rank correlation
    # of absolute maps; NaN where over half of them have none (a constant map has no ranks).
    correlations: Mapping[str, float]
    images: int

    @property
    def summary(self) -> dict[str, object]:
        """Summarize the result for a JSON file."""
        return {
            "passed": self.passed,
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


def target_layer(model: keras.Model) -> keras.Layer:
    """Choose the layer of the maps: the last of `bottleneck_activations` with `MIN_CELLS` per side.

    Where all have fewer, the one with most.
    """
    activations = bottleneck_activations(model)
    fine = [layer for layer in activations if layer.output.shape[1] >= MIN_CELLS]
    return fine[-1] if fine else activations[0]


def bottleneck_activations(model: keras.Model) -> list[keras.Layer]:
    """List ReLUs of feature maps that nothing bypasses: all paths through the network meet them.

    block1_relu, ..., block5_relu of the CNN; conv1_relu, pool2_relu, ..., pool4_relu and relu of
    DenseNet169.
    """
    return [
        layer
        for index, layer in enumerate(model.layers)
        if _is_relu(layer)
        and len(layer.output.shape) == 4
        and [id(tensor) for tensor in crossing_tensors(model, index + 1)] == [id(layer.output)]
    ]


def _is_relu(layer: keras.Layer) -> bool:
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.relu
    return isinstance(layer, keras.layers.ReLU)


def make_cam_fn(model: keras.Model, layer: keras.Layer) -> CamFn:
    """Make a function of pixels to class activation maps: gradient times feature over channels.

    m(cell) = sum over channels of f(cell) * d logit / d f(cell). Where the rest of the network is
    pooling and one linear layer this is CAM, and it sums to the logit minus its bias: average
    pooling gives w * f / cells, maximum pooling w_max * f where f is largest. Where the rest begins
    with average pooling, the gradient is the same in all cells, and it is Grad-CAM / cells, here
    without its ReLU. Else it is HiResCAM, which keeps the gradient of each cell.

    Returns:
        A function of (n, size_px, size_px) uint8 to (n, rows, columns) float32, in units of the
        logit, traced once; it follows later changes of the network's weights.

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

    def cam(pixels: Pixels) -> Maps:
        batches = range(0, len(pixels), BATCH_SIZE)
        maps = [function(pixels[start : start + BATCH_SIZE, ..., None]) for start in batches]
        return np.concatenate([batch.numpy() for batch in maps])

    return cam


def randomization_test(model: keras.Model, cam: CamFn, pixels: Pixels, seed: int) -> Randomization:
    """Run the cascading randomization test of the maps `cam` of (n, size_px, size_px) uint8 pixels.

    From the top down, the head and then block after block get new random weights, and stay random.
    A map that explains the network must change; one that finds edges of any image does not. The
    seed's weights are independent of those that training began with; `model` gets its own back.

    Reference:
        Adebayo et al. 2018, "Sanity checks for saliency maps", arXiv 1810.03292, section 3.
    """
    groups = from_the_top(model)
    trained = model.get_weights()
    original = cam(pixels)
    correlations = {}
    steps = progress(groups.items(), len(groups), f"randomize {model.name}", "blocks")
    try:
        for number, (name, layers) in enumerate(steps):
            stream = np.random.Philox(key=[seed, RANDOMIZATION_STREAM], counter=[0, 0, 0, number])
            generator = np.random.Generator(stream)
            for layer in layers:
                reinitialise(layer, generator)
            correlations[name] = _mean(list(map(rank_correlation, original, cam(pixels))))
    finally:
        model.set_weights(trained)
    return Randomization(correlations, len(pixels))


def from_the_top(model: keras.Model) -> dict[str, list[keras.Layer]]:
    """Group layers with weights by block: head, then the last block to the first.

    A layer whose name has no number of a block belongs to the block above it, the last
    normalisation of DenseNet169 to the last block; a transition of it (pool4) to the block below.
    """
    groups: dict[str, list[keras.Layer]] = {"head": []}
    top = model.layers.index(bottleneck_activations(model)[-1])
    name = max(filter(None, map(_block, model.layers)), key=lambda block: int(block[5:]))
    for index, layer in reversed(list(enumerate(model.layers))):
        name = _block(layer) or name
        if layer.weights:
            groups.setdefault("head" if index > top else name, []).append(layer)
    return groups


def _block(layer: keras.Layer) -> str | None:
    numbered = re.match(r"(?:block_?|conv|pool)(\d+)_", layer.name)
    return f"block{numbered[1]}" if numbered else None


def reinitialise(layer: keras.Layer, generator: np.random.Generator) -> None:
    """Draw new weights of a layer from its own initialisers, seeded by a generator, in place."""
    for weight in layer.weights:
        # Keras calls the weight of a depthwise convolution kernel, but not its initialiser.
        initializer = getattr(layer, f"{weight.name}_initializer", None)
        initializer = initializer or layer.depthwise_initializer
        config = initializer.get_config()
        # An initialiser that has drawn its own seed draws the same weights again.
        if "seed" in config:
            config["seed"] = int(generator.integers(2**31))
        weight.assign(type(initializer).from_config(config)(weight.shape, weight.dtype))


def rank_correlation(one: Maps, other: Maps) -> float:
    """Compute Spearman's correlation of two maps' absolute values; NaN where one is constant."""
    ranks = [rankdata(np.abs(part), axis=None) for part in (one, other)]
    first, second = (rank - rank.mean() for rank in ranks)
    scale = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / scale) if scale else np.nan


def _mean(values: list[float]) -> float:
    defined = np.array(values)[~np.isnan(values)]
    return float(defined.mean()) if 2 * len(defined) >= len(values) else np.nan

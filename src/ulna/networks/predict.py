"""Use a trained network: cached images -> prediction table."""

from collections.abc import Callable
from typing import Any, cast

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf
from scipy.special import expit

from ulna.core.stage import progress
from ulna.data.cache import Cache
from ulna.data.images import Fit, Pixels, Region, content_boxes, mask_region
from ulna.networks.dataset import Transform, examples, plain_batches

# Larger batches are no faster on two cores, and cost memory: DenseNet169 at 320 px needs 0.1 GB an
# image.
BATCH_SIZE = 32

PredictFn = Callable[[tf.Tensor], Any]


def make_predict_fn(model: keras.Model) -> PredictFn:
    """A network in inference mode as one graph for batches of any size.

    `Model.predict_on_batch` traces again for a last batch that is smaller. For DenseNet169 at 96 px
    tracing takes as long as 10 batches of 32 on two cores.

    Args:
        model: Of one input.

    Returns:
        A function of a batch.
    """
    signature = [tf.TensorSpec(model.input.shape, model.input.dtype)]
    function = tf.function(
        lambda batch: model(batch, training=False), input_signature=signature, autograph=False
    )
    return cast(PredictFn, function)


def predict_batches(
    function: PredictFn, batches: tf.data.Dataset, label: str
) -> npt.NDArray[np.float32]:
    """The output of a network for every batch, in order.

    Args:
        function: See `make_predict_fn`; of one output.
        batches: Tuples that begin with the input; of known number.
        label: What the progress line says.

    Returns:
        (rows of all batches, ...) float32.
    """
    outputs = [
        tf.cast(function(batch), tf.float32).numpy()
        for batch, *_ in progress(batches, int(batches.cardinality()), label, "batches")
    ]
    return np.concatenate(outputs)


def predict_images(model: keras.Model, cache: Cache, rows: pd.DataFrame) -> pd.DataFrame:
    """Score cached images.

    Args:
        model: A trained network of `ulna.networks.models`.
        cache: The cached images.
        rows: See `ulna.data.samples.join_samples`.

    Returns:
        The prediction table, in the order of `rows`.
    """
    return score_images(make_predict_fn(model), cache, rows, f"predict {model.name}")


def score_images(
    function: PredictFn,
    cache: Cache,
    rows: pd.DataFrame,
    label: str,
    transform: Transform | None = None,
) -> pd.DataFrame:
    """Score cached images with a network that is traced already.

    Args:
        function: See `make_predict_fn`.
        cache: The cached images.
        rows: See `ulna.data.samples.join_samples`.
        label: What the progress line says.
        transform: What is done to the images before, see `ulna.networks.dataset.plain_batches`.

    Returns:
        The prediction table, in the order of `rows`.
    """
    source = examples(cache, rows, np.ones(len(rows), np.float32))
    logits = predict_batches(function, plain_batches(source, BATCH_SIZE, transform), label)
    table = rows.drop(columns="row")
    table["logit"] = logits[:, 0].astype(np.float64)
    table["probability"] = expit(table["logit"])
    return table


def score_hidden(
    function: PredictFn, cache: Cache, rows: pd.DataFrame, label: str, region: Region, fit: Fit
) -> pd.DataFrame:
    """Score cached images with a half of each blackened.

    Args:
        function: See `make_predict_fn`.
        cache: The cached images.
        rows: See `ulna.data.samples.join_samples`.
        label: What the progress line says.
        region: What is hidden, see `ulna.data.images.mask_region`.
        fit: How the images became squares: padding is part of neither half.

    Returns:
        The prediction table, in the order of `rows`.
    """
    sizes = cache.images[["image", "width_px", "height_px"]]
    known = rows[["image"]].merge(sizes, on="image", how="left", validate="one_to_one")
    boxes = content_boxes(known, cache.size_px, fit)

    def black_out(images: Pixels, chosen: npt.NDArray[np.int64]) -> Pixels:
        return mask_region(images, boxes[chosen], region)

    return score_images(function, cache, rows, label, black_out)

"""Use a trained network: cached images -> prediction table."""

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.data.cache import Cache
from ulna.data.images import Fit, Pixels, Region, content_boxes, mask_region
from ulna.networks.dataset import Alter, examples, plain_batches
from ulna.networks.forward import Forward, forward, run_forward
from ulna.predictions import sigmoid

# Larger batches are no faster on two cores, and cost memory: DenseNet169 at 320 px needs 0.1 GB an
# image.
BATCH_SIZE = 32


def predict_images(model: keras.Model, cache: Cache, rows: pd.DataFrame) -> pd.DataFrame:
    """Score cached images.

    Args:
        model: A trained network of `ulna.networks.models`.
        cache: The cached images.
        rows: See `ulna.data.samples.join_samples`.

    Returns:
        The prediction table, in the order of `rows`.
    """
    return score_images(forward(model), cache, rows, f"predict {model.name}")


def score_images(
    function: Forward, cache: Cache, rows: pd.DataFrame, label: str, alter: Alter | None = None
) -> pd.DataFrame:
    """Score cached images with a network that is traced already.

    Args:
        function: See `ulna.networks.forward.forward`.
        cache: The cached images.
        rows: See `ulna.data.samples.join_samples`.
        label: What the progress line says.
        alter: What is done to the images before, see `ulna.networks.dataset.plain_batches`.

    Returns:
        The prediction table, in the order of `rows`.
    """
    source = examples(cache, rows, np.ones(len(rows), np.float32))
    logits = run_forward(function, plain_batches(source, BATCH_SIZE, alter), label)
    table = rows.drop(columns="row")
    table["logit"] = logits[:, 0].astype(np.float64)
    table["probability"] = sigmoid(table["logit"])
    return table


def score_hidden(
    function: Forward, cache: Cache, rows: pd.DataFrame, label: str, region: Region, fit: Fit
) -> pd.DataFrame:
    """Score cached images with a half of each blackened.

    Args:
        function: See `ulna.networks.forward.forward`.
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

    def alter(images: Pixels, chosen: npt.NDArray[np.int64]) -> Pixels:
        return mask_region(images, boxes[chosen], region)

    return score_images(function, cache, rows, label, alter)

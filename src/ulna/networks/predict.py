"""Use a trained network: cached images -> prediction table."""

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from ulna.data.cache import Cache
from ulna.data.images import Fit, Pixels, Region, content_boxes, mask_region
from ulna.networks.dataset import Transform, examples, plain_batches
from ulna.networks.graph import PredictFn, make_predict_fn, predict_batches

# Larger batches are no faster on two cores, and cost memory: DenseNet169 at 320 px needs 0.1 GB per
# image.
BATCH_SIZE = 32


def predict_images(model: keras.Model, cache: Cache, rows: pd.DataFrame) -> pd.DataFrame:
    """Score cached images; see `score_images`."""
    return score_images(make_predict_fn(model), cache, rows, f"predict {model.name}")


def score_images(
    predict: PredictFn,
    cache: Cache,
    rows: pd.DataFrame,
    label: str,
    transform: Transform | None = None,
) -> pd.DataFrame:
    """Score cached images with a network that is traced already.

    Args:
        predict: See `ulna.networks.graph.make_predict_fn`.
        cache: The cached images.
        rows: See `ulna.data.samples.join_samples`.
        label: Of the progress line.
        transform: See `ulna.networks.dataset.plain_batches`.

    Returns:
        The prediction table, in the order of `rows`.
    """
    source = examples(cache, rows, np.ones(len(rows), np.float32))
    logits = predict_batches(predict, plain_batches(source, BATCH_SIZE, transform), label)
    table = rows.drop(columns="row")
    table["logit"] = logits[:, 0].astype(np.float64)
    table["probability"] = expit(table["logit"])
    return table


def score_hidden(
    predict: PredictFn, cache: Cache, rows: pd.DataFrame, label: str, region: Region, fit: Fit
) -> pd.DataFrame:
    """Score cached images with a region of each blackened; see `score_images`, `mask_region`."""
    sizes = cache.images[["image", "width_px", "height_px"]]
    known = rows[["image"]].merge(sizes, on="image", how="left", validate="one_to_one")
    boxes = content_boxes(known, cache.size_px, fit)  # padding is part of neither region

    def black_out(images: Pixels, chosen: npt.NDArray[np.int64]) -> Pixels:
        return mask_region(images, boxes[chosen], region)

    return score_images(predict, cache, rows, label, black_out)

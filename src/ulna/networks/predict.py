"""Use a trained network: cached images -> prediction table."""

import keras
import numpy as np
import pandas as pd
from scipy.special import expit

from ulna.data import Cache
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
    """Score cached images with a network that is traced already; `label` is the progress line's.

    Returns:
        The prediction table, in the order of `rows`, see `ulna.data.samples.join_samples`.
    """
    source = examples(cache, rows, np.ones(len(rows), np.float32))
    logits = predict_batches(predict, plain_batches(source, BATCH_SIZE, transform), label)
    table = rows.drop(columns="row")
    table["logit"] = logits[:, 0].astype(np.float64)
    table["probability"] = expit(table["logit"])
    return table

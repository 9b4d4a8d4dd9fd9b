"""Use a trained network: cached images -> prediction table."""

import keras
import numpy as np
import pandas as pd

from ulna.data.cache import Cache
from ulna.networks.dataset import examples, plain_batches
from ulna.networks.forward import forward, run_forward
from ulna.predictions import sigmoid

# Larger batches are no faster on two cores, and cost memory: DenseNet169 at 320 px needs 0.1 GB an
# image.
BATCH_SIZE = 32


def predict_images(model: keras.Model, cache: Cache, rows: pd.DataFrame) -> pd.DataFrame:
    """Score cached images.

    Args:
        model: A trained network of `ulna.networks.models`.
        cache: The cached images.
        rows: See `ulna.data.rows.join_rows`.

    Returns:
        The prediction table, in the order of `rows`.
    """
    batches = plain_batches(examples(cache, rows, np.ones(len(rows), np.float32)), BATCH_SIZE)
    logits = run_forward(forward(model), batches, f"predict {model.name}")
    table = rows.drop(columns="row")
    table["logit"] = logits[:, 0].astype(np.float64)
    table["probability"] = sigmoid(table["logit"])
    return table

"""The ensemble: the mean of the prediction tables of several networks."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy.special import expit, log_expit, logsumexp

from ulna.core.predictions import align

T = TypeVar("T")


def average(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Average the probabilities of several networks.

    Probabilities, not logits: they are bounded, so that an overconfident network cannot outvote the
    others by the size of its logits; and with the mean over views, the probability of a study is
    the mean of those of the networks. The logit of the mean is computed from the logits: a
    probability that was rounded to 0 or 1 has none.

    Returns:
        A prediction table of the same images, in the order of the first table; probability is the
        sigmoid of logit.

    Raises:
        InputError: See `ulna.core.predictions.align`.

    Reference:
        Lakshminarayanan et al. 2017, arXiv 1612.01474, section 2.4: a uniformly weighted mixture.
    """
    aligned = list(align(tables).values())
    logits = np.stack([table["logit"].to_numpy(np.float64) for table in aligned])
    # log_expit(logit) is log(p), log_expit(-logit) is log(1 - p).
    logit = logsumexp(log_expit(logits), axis=0) - logsumexp(log_expit(-logits), axis=0)
    return aligned[0].assign(logit=logit, probability=expit(logit))


def sha256_of_members(models: Sequence[str | None]) -> str | None:
    """Hash the hashes of the members' weights, in order; None where one of them has none."""
    known = [model for model in models if model is not None]
    if len(known) < len(models):
        return None
    return hashlib.sha256(" ".join(known).encode()).hexdigest()


def common(values: Sequence[T]) -> T | None:
    """The value that all members share; None where they differ."""
    return values[0] if all(value == values[0] for value in values) else None

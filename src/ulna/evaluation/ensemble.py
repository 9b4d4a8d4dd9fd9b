"""Several prediction tables of the same images: held against each other, and averaged into one."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy.special import expit, log_expit, logsumexp

from ulna.core import InputError

T = TypeVar("T")

SHARED = ("patient", "study", "body_part", "split", "label")


def align(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Put prediction tables of the same images into one order, that of the first.

    Args:
        tables: Name of the network -> its checked prediction table.

    Returns:
        The tables under the same names, row for row of the same image.

    Raises:
        InputError: Two tables differ in an image, or in what is the same for all networks
            (`SHARED`); the first difference is named.
    """
    names = list(tables)
    aligned = {names[0]: tables[names[0]]}
    for name in names[1:]:
        aligned[name] = _in_order_of(tables[names[0]], tables[name], (names[0], name))
    return aligned


def _in_order_of(first: pd.DataFrame, other: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """The rows of `other` in the order of `first`, once both hold the same."""
    fix = "run `dvc repro`, so that all networks judge the same images"
    for one, two, (holds, lacks) in ((first, other, names), (other, first, names[::-1])):
        absent = one.loc[~one["image"].isin(two["image"]), "image"]
        if len(absent):
            raise InputError(
                f"the predictions of {lacks} lack image {absent.iloc[0]!r}, which those of {holds} "
                f"hold ({len(absent)} in all): {fix}"
            )
    ordered = other.set_index("image").loc[first["image"]].reset_index()
    for column in SHARED:
        unequal = np.flatnonzero(first[column].to_numpy() != ordered[column].to_numpy())
        if len(unequal):
            row = unequal[0]
            raise InputError(
                f"image {first['image'].iloc[row]!r} has {column} {first[column].iloc[row]} in the "
                f"predictions of {names[0]} and {ordered[column].iloc[row]} in those of "
                f"{names[1]}: {fix}"
            )
    return ordered


def average(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Average the probabilities that several networks give each image.

    Probabilities, not logits: they are bounded, so that a network that is far too sure cannot
    outvote the others by the size of its logits; and with the mean over views, the probability of
    a study is the mean of what the networks give that study. The logit that belongs to the mean is
    computed from the logits: a probability that was rounded to 0 or 1 has none.

    Args:
        tables: Name of the network -> its checked prediction table.

    Returns:
        A prediction table of the same images, in the order of the first table; probability is the
        sigmoid of logit.

    Raises:
        InputError: See `align`.

    Reference:
        Lakshminarayanan et al. 2017, arXiv 1612.01474, section 2.4: a uniformly weighted mixture.
    """
    aligned = list(align(tables).values())
    logits = np.stack([table["logit"].to_numpy(np.float64) for table in aligned])
    # log_expit(logit) is log(p), log_expit(-logit) is log(1 - p).
    logit = logsumexp(log_expit(logits), axis=0) - logsumexp(log_expit(-logits), axis=0)
    return aligned[0].assign(logit=logit, probability=expit(logit))


def sha256_of_members(models: Sequence[str | None]) -> str | None:
    """One hash for the weights of all members, in order; None where one of them has none."""
    known = [model for model in models if model is not None]
    if len(known) < len(models):
        return None
    return hashlib.sha256(" ".join(known).encode()).hexdigest()


def common(values: Sequence[T]) -> T | None:
    """What all members say; None where they differ.

    Example:
        >>> common(["one class of machines", "one class of machines"])
        'one class of machines'
    """
    return values[0] if all(value == values[0] for value in values) else None

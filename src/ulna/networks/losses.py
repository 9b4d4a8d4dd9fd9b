"""Losses, and the weight of each image in them."""

from typing import Literal

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.core import InputError


def build_loss(
    loss: Literal["bce", "weighted_bce", "focal"], gamma: float, alpha: float
) -> keras.losses.Loss:
    """Build a loss of labels (batch, 1) in {0, 1} and logits (batch, 1).

    weighted_bce is bce, with the weights of `image_weights`. `gamma` and `alpha` are of the focal
    loss: an abnormal image weighs alpha, a normal one 1 - alpha.

    Reference:
        Lin et al., "Focal Loss for Dense Object Detection", arXiv 1708.02002, equation 5.
    """
    if loss == "focal":
        return keras.losses.BinaryFocalCrossentropy(
            apply_class_balancing=True, alpha=alpha, gamma=gamma, from_logits=True
        )
    return keras.losses.BinaryCrossentropy(from_logits=True)


def image_weights(
    images: pd.DataFrame,
    train: pd.DataFrame,
    loss: Literal["bce", "weighted_bce", "focal"],
    class_weights: Literal["none", "balanced"],
) -> npt.NDArray[np.float32]:
    """Weigh each image (body_part, label) in the loss, from counts of the training images.

    weighted_bce weighs by `paper_weights`; else class weights "balanced" by `balanced_weights`.

    Raises:
        InputError: Under weighted_bce, a body part has no training images of one of the labels.
    """
    if loss == "weighted_bce":
        table = paper_weights(train)
        for part in sorted(images["body_part"].unique()):
            if not table.get((part, 0)) or not table.get((part, 1)):
                raise InputError(
                    f"loss is weighted_bce, but the training images of {part} lack one of the "
                    "labels: train without it (train.body_parts; of stage transfer "
                    "transfer.train_on), or use loss bce"
                )
        keys = zip(images["body_part"], images["label"], strict=True)
        return np.array([table[key] for key in keys], np.float32)
    if class_weights == "balanced":
        return images["label"].map(balanced_weights(train)).to_numpy(np.float32)
    return np.ones(len(images), np.float32)


def describe_weights(images: pd.DataFrame, weights: npt.NDArray[np.float32]) -> str:
    """Say how much an image of each label counts in the loss, on average.

    Example:
        >>> describe_weights(pd.DataFrame({"label": [0, 0, 1]}), np.array([0.5, 0.5, 2.0]))
        'mean weight in the loss: normal 0.500, abnormal 2.000'
    """
    normal, abnormal = (weights[images["label"] == label].mean() for label in (0, 1))
    return f"mean weight in the loss: normal {normal:.3f}, abnormal {abnormal:.3f}"


def paper_weights(train: pd.DataFrame) -> dict[tuple[str, int], float]:
    """Compute the MURA paper's weights: of a body part, the fraction with the other label.

    An abnormal image of body part T weighs N_T / (A_T + N_T), a normal one A_T / (A_T + N_T), where
    A_T and N_T count T's abnormal and normal training images.

    Example:
        MURA v1.1's hands (1,484 abnormal, 4,059 normal):

        >>> hands = pd.DataFrame({"body_part": "HAND", "label": [1] * 1484 + [0] * 4059})
        >>> {key: round(weight, 3) for key, weight in paper_weights(hands).items()}
        {('HAND', 0): 0.268, ('HAND', 1): 0.732}

    Reference:
        Rajpurkar et al., arXiv 1712.06957, section 3.1.
    """
    abnormal = train.groupby("body_part")["label"].mean()
    return {
        (part, label): float(1 - share if label else share)
        for part, share in abnormal.items()
        for label in (0, 1)
    }


def balanced_weights(train: pd.DataFrame) -> dict[int, float]:
    """Compute weights with the same sum per label: n / (2 n_label), as scikit-learn's "balanced".

    Example:
        >>> balanced_weights(pd.DataFrame({"label": [0, 0, 0, 1]}))
        {0: 0.6666666666666666, 1: 2.0}
    """
    counts = train["label"].value_counts()
    return {label: float(len(train) / (2 * counts[label])) for label in (0, 1)}

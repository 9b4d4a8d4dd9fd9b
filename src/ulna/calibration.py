"""What is fitted on val and applied to test: the operating point."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from ulna.errors import InputError
from ulna.metrics import count, kappa, youden


def choose_threshold(
    rule: Literal["half", "youden", "kappa"],
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
) -> float:
    """Choose the threshold above which a probability is called abnormal.

    Several cuts can be equally good: then the one nearest to 0.5 is taken, and the lower of two
    equally near ones.

    Args:
        rule: half is 0.5 whatever the data; youden and kappa take the cut with the highest
            Youden's J (sensitivity + specificity - 1) or Cohen's kappa.
        labels: Of split val, 0 or 1, shape (n,).
        probabilities: Of split val, 0 to 1, shape (n,).

    Returns:
        A threshold, 0 to 1.

    Raises:
        InputError: The rule compares classes and val has only one of them, or none.

    Example:
        >>> choose_threshold("youden", [0, 0, 1, 1], [0.1, 0.2, 0.4, 0.9])
        0.30000000000000004
    """
    if rule == "half":
        return 0.5
    abnormal = int(np.sum(np.asarray(labels) == 1))
    normal = int(np.size(labels)) - abnormal
    if abnormal == 0 or normal == 0:
        raise InputError(
            f"evaluate.threshold {rule} needs normal and abnormal rows in split val, which has "
            f"{normal} normal and {abnormal} abnormal: set evaluate.threshold to half, or enlarge "
            "split.val_fraction"
        )
    candidates = cuts(probabilities)
    # Both objectives are quotients of integers, so equally good cuts are equal to the bit.
    objective = {"youden": youden, "kappa": kappa}[rule](count(labels, probabilities, candidates))
    best = candidates[objective == objective.max()]
    return float(best[np.argmin(np.abs(best - 0.5))])


def cuts(probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """List one threshold for every set of decisions that a threshold can make.

    Args:
        probabilities: 0 to 1, shape (n,).

    Returns:
        Rising, shape (cuts,): midway between neighbouring distinct values of the probabilities, 0
        and 1; and 1 itself, where a probability of 1 is not above the threshold either.

    Example:
        >>> cuts([0.5, 1.0]).tolist()
        [0.25, 0.75, 1.0]
    """
    values = np.unique(np.append(np.asarray(probabilities, dtype=np.float64), (0.0, 1.0)))
    lower, upper = values[:-1], values[1:]
    midway = (lower + upper) / 2
    # Between neighbouring floats the middle can round up to the upper one, which is not above it.
    return np.append(np.where(midway < upper, midway, lower), 1.0)

"""Probabilities to logits and back, how far they are from the truth, and one number to mend them.

The temperature is fitted on val and applied to test; undefined is NaN.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

Floats = npt.NDArray[np.float64]

# Where the temperature is looked for.
TEMPERATURES = (0.05, 20.0)


def logit(probabilities: npt.ArrayLike) -> Floats:
    """Turn probabilities into logits, the inverse of `scipy.special.expit`.

    Args:
        probabilities: 0 to 1, of any shape; taken as at least 2.2e-16 from both, as scikit-learn's
            log loss does.

    Returns:
        -36.04 to 36.04, of that shape.

    Example:
        >>> logit([0.0, 0.5, 1.0]).round(2).tolist()
        [-36.04, 0.0, 36.04]
    """
    epsilon = np.finfo(np.float64).eps
    inside = np.clip(np.asarray(probabilities, dtype=np.float64), epsilon, 1 - epsilon)
    logits: Floats = special.logit(inside)
    return logits


def fit_temperature(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Find the temperature whose scaled probabilities have the lowest log loss.

    Args:
        labels: Of split val, 0 or 1, shape (n,).
        probabilities: Of split val, 0 to 1, shape (n,).

    Returns:
        Between `TEMPERATURES`: above 1 where the probabilities are too extreme, below 1 where they
        keep too close to 0.5. NaN where there is no best one between them: without both classes;
        where 0.5 separates the classes (nearly) without an error, so that every lower temperature
        fits better; and where the probabilities tell nothing or the wrong way, so that every higher
        one does.

    Reference:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 4.2.
    """
    truth, logits = np.asarray(labels), logit(probabilities)
    if np.unique(truth).size < 2:
        return np.nan

    def slope(inverse: float) -> float:
        """Of the log loss over 1 / temperature: it rises, as the loss is convex there."""
        return float(np.mean((special.expit(inverse * logits) - truth) * logits))

    low, high = (1 / temperature for temperature in reversed(TEMPERATURES))
    if slope(low) >= 0 or slope(high) <= 0:
        return np.nan
    # To the last bits: the default, 2e-12 of 1 / T, would show in the tenth digit of a slope.
    return float(1 / optimize.brentq(slope, low, high, xtol=1e-15))


def apply_temperature(probabilities: npt.ArrayLike, temperature: float) -> Floats:
    """Scale probabilities: expit(logit(p) / T); their order stays.

    Args:
        probabilities: 0 to 1, shape (n,).
        temperature: Above 0.

    Returns:
        0 to 1, shape (n,).

    Example:
        >>> apply_temperature([0.2, 0.5, 0.8], 2.0).round(3).tolist()
        [0.333, 0.5, 0.667]
    """
    scaled: Floats = special.expit(logit(probabilities) / temperature)
    return scaled


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of -log of the probability that was given to the true label; NaN without rows."""
    return log_loss_of_logits(np.asarray(labels), logit(probabilities))


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean squared distance of probability and label, 0 to 1, lower is better; NaN without rows.

    Reference:
        Brier 1950, Monthly Weather Review 78(1), for two classes and one of them counted.
    """
    distances = np.asarray(probabilities, dtype=np.float64) - np.asarray(labels)
    return float(np.mean(distances**2)) if distances.size else np.nan


def log_loss_of_logits(truth: npt.NDArray[Any], logits: Floats) -> float:
    """`log_loss` without the limits of `logit`."""
    return float(np.mean(losses_of_logits(truth, logits))) if truth.size else np.nan


def losses_of_logits(truth: npt.NDArray[Any], logits: Floats) -> Floats:
    """-log of the probability of the true label, a number a row."""
    # log(1 + exp(z)) - y z: no difference of large numbers, no log of 0.
    losses: Floats = np.logaddexp(0.0, logits) - truth * logits
    return losses

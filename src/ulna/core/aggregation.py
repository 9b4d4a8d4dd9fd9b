"""From logits to probabilities, and from the views of a study to one: plain arithmetic.

Without pandas and scipy, so that a table and a single study on a radiologist's machine are
aggregated by the same code.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

Aggregation = Literal["mean_probability", "mean_logit", "max", "noisy_or"]


def sigmoid(logit: float) -> float:
    """The probability of a logit, without overflow.

    Example:
        >>> sigmoid(0.0), sigmoid(-800.0)
        (0.5, 0.0)
    """
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    odds = math.exp(logit)
    return odds / (1 + odds)


def aggregate(
    logits: Sequence[float], probabilities: Sequence[float], aggregation: Aggregation
) -> float:
    """Aggregate the views of one study, one logit and one probability each, to a probability.

    Every sum is exact before it is rounded, so the order of the views cannot change a bit of it.
    mean_logit is the sigmoid of the mean of the logits; max, the view that looks most abnormal;
    noisy_or, 1 - prod(1 - p): at least one view is abnormal, as if the views erred independently.
    With one view, each gives that view's probability up to rounding.

    Example:
        >>> aggregate([0.0, 0.0], [0.5, 0.5], "noisy_or")
        0.75

    Reference:
        Rajpurkar et al., "MURA", arXiv 1712.06957, section 3: the mean over a study's views.
    """
    return AGGREGATIONS[aggregation](logits, probabilities)


def _mean_logit(logits: Sequence[float]) -> float:
    # A power of two costs no bit, and keeps the sum of the largest floats from overflowing.
    scale = 4096.0
    return sigmoid(math.fsum(logit / scale for logit in logits) / len(logits) * scale)


def _noisy_or(probabilities: Sequence[float]) -> float:
    # Of small probabilities, 1 - p would keep no digit; and log1p(-1) is no number.
    if max(probabilities) == 1:
        return 1.0
    return -math.expm1(math.fsum(math.log1p(-probability) for probability in probabilities))


AGGREGATIONS: dict[Aggregation, Callable[[Sequence[float], Sequence[float]], float]] = {
    "mean_probability": lambda logits, probabilities: math.fsum(probabilities) / len(probabilities),
    "mean_logit": lambda logits, probabilities: _mean_logit(logits),
    "max": lambda logits, probabilities: max(probabilities),
    "noisy_or": lambda logits, probabilities: _noisy_or(probabilities),
}

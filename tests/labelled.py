"""Labels with probabilities: sampled from them, or any of hypothesis."""

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from scipy.special import expit

# A few round values give ties.
PROBABILITY = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)
LABELLED = st.lists(st.tuples(st.integers(0, 1), PROBABILITY), min_size=1, max_size=60)


def sample_labelled(n: int, seed: int, spread: float = 2.0) -> tuple[npt.NDArray, npt.NDArray]:
    """Labels, and the probabilities that they were sampled with."""
    rng = np.random.default_rng(seed)
    probabilities = expit(rng.normal(0, spread, n))
    return (rng.random(n) < probabilities).astype(np.int64), probabilities


def split(rows: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [label for label, _ in rows], [probability for _, probability in rows]

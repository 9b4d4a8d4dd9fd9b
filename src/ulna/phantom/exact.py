"""Arithmetic with the same bits on every processor.

To add, multiply, divide or take the root of NumPy arrays is exact to the last bit (IEEE 754),
whichever vector instructions NumPy picks. Exponentials, sines, sums and products of matrices are
not: here they are rounded, or made of whole numbers, for which the order and the fusing of
operations make no difference.
"""

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

Floats = NDArray[np.floating[Any]]  # float32, which a Python number leaves float32

GRID = 2**16  # steps of 1: what another processor's sine changes is some 2**-50
PER_UNIT = 4096
HIGHEST = 12


def rounded(value: float) -> float:
    """Round to a multiple of 1/65536."""
    return round(value * GRID) / GRID


@cache
def _falling() -> Floats:
    values = [rounded(math.exp(-k / PER_UNIT)) for k in range(HIGHEST * PER_UNIT + 1)]
    return np.array(values, np.float32)


def exp_minus(values: Floats) -> Floats:
    """exp(-values), at most 1, for values in steps of 1/4096, rounded to 1/65536."""
    steps = np.clip(values * PER_UNIT, 0, HIGHEST * PER_UNIT).astype(np.int32)
    return _falling()[steps]


def noise(rng: Generator, shape: tuple[int, int]) -> Floats:
    """White noise of mean 0 and sd 1: sums of four random bytes, nearly normal."""
    count = shape[0] * shape[1]
    words = rng.integers(0, 2**64, (2, (count + 3) // 4), dtype=np.uint64)
    every_other = np.uint64(0x00FF00FF00FF00FF)
    pairs = (words & every_other) + ((words >> np.uint64(8)) & every_other)
    sums = (pairs[0] + pairs[1]).astype("<u8").view("<u2")[:count].astype(np.float32)
    # Mean and sd of the sum of four whole numbers of 0 to 255.
    return np.asarray((sums - 510) / 147.8).reshape(shape)


@cache
def _kernel(sigma: float) -> list[int]:
    radius = math.ceil(3 * sigma)
    return [round(1024 * math.exp(-0.5 * (k / sigma) ** 2)) for k in range(-radius, radius + 1)]


def blurred(image: Floats, sigma: float | tuple[float, float], mode: str = "nearest") -> Floats:
    """Gaussian blur, sigma in pixels (down and across, if two); the image in steps of 1/65536."""
    result = np.rint(image * GRID)
    scale = 1 / GRID
    for axis, one in enumerate(sigma if isinstance(sigma, tuple) else (sigma, sigma)):
        if one > 0:
            weights = _kernel(one)
            result = correlate1d(result, weights, axis, mode=mode)
            scale /= sum(weights)
    return np.asarray(result * scale, np.float32)


def enlarged(small: Floats, shape: tuple[int, int]) -> Floats:
    """Resize to a larger shape, linearly, corner on corner."""
    rows, below = _between(small.shape[0], shape[0])
    columns, right = _between(small.shape[1], shape[1])
    # Across first: there are few rows yet.
    wide = small[:, columns] + (small[:, columns + 1] - small[:, columns]) * right
    step = wide[1:] - wide[:-1]
    large = step[rows]
    large *= below[:, None]
    large += wide[rows]
    return large


def _between(few: int, many: int) -> tuple[NDArray[np.int64], Floats]:
    places = np.arange(many) * ((few - 1) / (many - 1))
    whole = np.minimum(places.astype(np.int64), few - 2)
    return whole, (places - whole).astype(np.float32)


def smooth_noise(rng: Generator, shape: tuple[int, int], down: int, across: int) -> Floats:
    """Noise of sd about 0.6 whose grain is `down` pixels high and `across` pixels wide."""
    return enlarged(noise(rng, (shape[0] // down + 2, shape[1] // across + 2)), shape)

"""The distance of an image from the training images, and whether its inverse is nearer.

The reference holds aggregates over the training images alone: quantiles of each of 32 measures,
their covariance, and the means of groups of similar images, `GROUP_IMAGES` or more in each. No
image can be rebuilt from it.

A distance is Mahalanobis', of the normal scores of the measures, to the nearest group. Tried on
images that were not trained on: with the phantom's training images, 2.5% of its others are called
unlike them, and of real radiographs 98% of hands, 94% of shoulders, 90% of legs and of hips; with
FracAtlas' hands and shoulders, 0.4% of its others, 4% of legs, 44% of hips, 82% of the phantom's,
92% of photographs, and all pages of text, diagrams, noise and blank ones. Of inverted copies 98 and
99.6% are said to be maybe inverted, of the images as they are none of 325 and 229.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ulna.core import InputError
from ulna.inference.measures import MEASURES, Floats, Pixels, invert_measures, measure_square

# Fewer images give no covariance of 32 measures.
MIN_IMAGES = 100
GROUPS = 32
GROUP_IMAGES = 5
SHRINKAGE = 0.01  # of the correlations, towards none
ROUNDS = 15  # of k-means
# Groups fit their own images better than new ones, so each image's distance is to the groups of
# the other folds. Blocks of neighbours stay together, and with them most patients.
FOLDS, FOLD_BLOCK = 4, 25

FAR = 0.98  # an image is unlike the training images if it is farther than this share of them
# All but 0.5% of the training images are nearer, compared with their inverse, than the limit.
INVERTED = 0.995

QUANTILES = (0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975,
             0.99, 0.995, 1)  # fmt: skip
# Their normal scores, as constants, since the normal distribution would be scipy's. The ends, for
# which it has none, are given those of 0.2% and 99.8%.
SCORES = np.array(
    [-2.878, -2.576, -2.326, -1.960, -1.645, -1.282, -0.842, -0.524, -0.253, 0.0,
     0.253, 0.524, 0.842, 1.282, 1.645, 1.960, 2.326, 2.576, 2.878]
)  # fmt: skip
_STEPS = np.diff(SCORES)
_APART = np.arange(len(QUANTILES)) * 1e-9
_ROWS = np.arange(len(MEASURES))
# Outside of all training images, a score grows by this with every width of their range.
BEYOND = 10.0

SHAPES = {
    "quantiles": (len(MEASURES), len(QUANTILES)),
    "whitening": (len(MEASURES), len(MEASURES)),
    "groups": (None, len(MEASURES)),
}
LIMITS = ("far_distance", "inverted_ratio")
Codes = tuple[str, ...]


@dataclass(frozen=True)
class Reference:
    """Aggregates of the training images, as arrays; see `fit_reference`."""

    quantiles: Floats  # (measures, QUANTILES)
    whitening: Floats  # (measures, measures), triangular: makes the scores uncorrelated
    groups: Floats  # (groups, measures), means of whitened scores
    far_distance: float
    inverted_ratio: float


def fit_reference(squares: Iterable[Pixels], boxes: npt.ArrayLike) -> dict[str, Any] | None:
    """Summarise the training images; 1,000 take 0.2 s.

    Args:
        squares: As many (size_px, size_px) uint8 as there are boxes: an array, or any iterable, of
            which one at a time is held. The images of a patient stand together.
        boxes: Their `ulna.data.images.content_boxes`, (images, 4).

    Returns:
        For JSON: images, how many; measures, their names; and the fields of `Reference`. None where
        there are fewer than `MIN_IMAGES`.
    """
    boxes = np.asarray(boxes)
    if len(boxes) < MIN_IMAGES:
        return None
    measures = np.array(
        [measure_square(square, box) for square, box in zip(squares, boxes, strict=True)]
    )
    quantiles = _rounded(np.quantile(measures, QUANTILES, axis=0).T)
    whitening = _rounded(_whitening(_scores(quantiles, measures)))
    white = _scores(quantiles, measures) @ whitening
    white_inverses = _scores(quantiles, invert_measures(measures)) @ whitening
    folds = np.arange(len(boxes)) // FOLD_BLOCK % FOLDS
    distances, inverse_distances = np.empty((2, len(boxes)))
    for fold in range(FOLDS):
        held_out = folds == fold
        groups = _group_means(white[~held_out])
        distances[held_out] = _nearest(white[held_out], groups)
        inverse_distances[held_out] = _nearest(white_inverses[held_out], groups)
    ratios = distances / np.maximum(inverse_distances, 1e-9)
    far = np.quantile(distances, FAR)
    # An inverse that is not nearer is no reason for a warning.
    ratio = max(1.0, np.quantile(ratios, INVERTED))
    limits = _rounded(np.array([far, ratio])).tolist()
    return {
        "images": len(boxes),
        "measures": list(MEASURES),
        "quantiles": quantiles.tolist(),
        "whitening": whitening.tolist(),
        "groups": _rounded(_group_means(white)).tolist(),
        **dict(zip(LIMITS, limits, strict=True)),
    }


def parse_reference(record: Mapping[str, Any]) -> Reference:
    """Make arrays of what `fit_reference` returned and a bundle holds.

    Raises:
        InputError: It is of other measures, or of other shapes than they have.
    """
    try:
        if record["measures"] != list(MEASURES):
            raise ValueError("other measures")
        arrays = {name: np.array(record[name], np.float64) for name in SHAPES}
        for name, (rows, columns) in SHAPES.items():
            if arrays[name].shape != (rows or len(arrays[name]), columns):
                raise ValueError("another shape")
        far, ratio = (float(record[name]) for name in LIMITS)
        return Reference(arrays["quantiles"], arrays["whitening"], arrays["groups"], far, ratio)
    except (KeyError, TypeError, ValueError):
        raise InputError(
            "the bundle describes its training images otherwise than this version of ulna does: "
            "make it anew with `dvc repro`, or install the ulna_version of its bundle.json"
        ) from None


def distance(reference: Reference, measures: Floats) -> Floats:
    """Distances of images from the nearest group of training images.

    Args:
        reference: Of the training images.
        measures: Of the images, (images, 32).

    Returns:
        (images,)
    """
    white = _scores(reference.quantiles, measures) @ reference.whitening
    return _nearest(white, reference.groups)


def find_oddities(
    reference: Reference, measures: Floats, polarity_known: Sequence[bool]
) -> list[Codes]:
    """Find what is odd about images: `maybe_inverted`, `unlike_training_images`.

    Args:
        reference: Of the training images.
        measures: Of the images, (images, 32).
        polarity_known: Whether the file of each states which end of its scale is black.

    Returns:
        The codes of each image.
    """
    count = len(measures)
    distances = distance(reference, np.concatenate([measures, invert_measures(measures)]))
    pairs = zip(distances[:count].tolist(), distances[count:].tolist(), polarity_known, strict=True)
    return [_oddities(reference, *pair) for pair in pairs]


def _oddities(reference: Reference, far: float, inverse: float, polarity_known: bool) -> Codes:
    codes = []
    # That both are far says nothing: two thirds of real shoulders are nearer to the phantom's
    # radiographs inverted than as they are.
    near = inverse <= reference.far_distance
    if near and far > reference.inverted_ratio * inverse and not polarity_known:
        codes.append("maybe_inverted")
    if far > reference.far_distance:
        codes.append("unlike_training_images")
    return tuple(codes)


def _scores(quantiles: Floats, measures: Floats) -> Floats:
    """Normal scores of measures (images, 32), by the quantiles of the training images."""
    # Equal levels, such as of a share that is mostly 0, would leave a score undefined.
    levels = quantiles + _APART
    lowest, highest = levels[:, 0], levels[:, -1]
    inside = np.minimum(np.maximum(measures, lowest), highest)
    place = (levels[:, 1:-1] <= inside[..., np.newaxis]).sum(axis=-1)
    low = levels[_ROWS, place]
    part = (inside - low) / (levels[_ROWS, place + 1] - low)
    outside = (measures - inside) / (highest - lowest + 1e-3)
    scores: Floats = SCORES[place] + part * _STEPS[place] + BEYOND * outside
    return scores


def _whitening(scores: Floats) -> Floats:
    covariance = np.cov(scores.T)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))
    # A measure that never varies must not divide by zero.
    precision = np.linalg.inv(shrunk + 1e-3 * np.eye(len(shrunk)))
    factor: Floats = np.linalg.cholesky(precision)
    return factor


def _group_means(white: Floats) -> Floats:
    """Means of the groups of k-means that have enough images; it starts from images in order."""
    count = max(1, min(GROUPS, len(white) // (4 * GROUP_IMAGES)))
    means = white[np.linspace(0, len(white) - 1, count).astype(int)]
    for _ in range(ROUNDS):
        group = _squared(white, means).argmin(axis=1)
        sizes = np.bincount(group, minlength=count)
        sums = np.zeros_like(means)
        np.add.at(sums, group, white)
        filled = sizes > 0
        means[filled] = sums[filled] / sizes[filled, np.newaxis]
    kept: Floats = means[sizes >= GROUP_IMAGES]
    return kept


def _nearest(white: Floats, means: Floats) -> Floats:
    nearest: Floats = np.sqrt(_squared(white, means).min(axis=1))
    return nearest


def _squared(white: Floats, means: Floats) -> Floats:
    lengths = (white**2).sum(axis=1)[:, np.newaxis] + (means**2).sum(axis=1)
    squared: Floats = np.maximum(lengths - 2 * white @ means.T, 0.0)
    return squared


def _rounded(values: Floats) -> Floats:
    """Round to six digits, since the last bits differ between processors."""
    rounded: Floats = np.array([float(f"{value:.6g}") for value in values.flat])
    return rounded.reshape(values.shape)

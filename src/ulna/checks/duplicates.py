"""Copies among the images: byte for byte, or saved again, shifted or relit.

Exact copies have the same pixel hash. Near copies are found in three steps over all body parts at
once: a blocked matrix product of short descriptors names candidates; the correlation of the two
thumbnails, aligned, leaves the similar ones; that of larger ones leaves the copies, as two hands
in one position differ in their detail alone.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.fft import rfft2
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ulna.checks.quality import SMALL_PX

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Spectra = npt.NDArray[np.complex64]
Positions = npt.NDArray[np.int64]
# Positions of images -> (images, LARGE_PX, LARGE_PX) uint8.
Resize = Callable[[Positions], Pixels]

LARGE_PX = 96  # side of the images of the last step
REACH = 24  # a copy may be shifted by the side over this
CELLS = 12  # per side of a descriptor
BLOCK = 512  # rows of a matrix product, pairs of an alignment: bounds the memory

# Measured on 120 phantom images and 120 radiographs of FracAtlas, each with copies. Saved as JPEG
# of quality 50, halved in size, relit or with noise: above 0.97 in every step. Shifted by 1% each
# way: 100% above the first, 98% above the second, 100% above the third (the least 0.96); by 2%:
# 93%, 97%, 99%. Trimmed by 2% on every side: about half. Among 320,000 pairs of
# different phantom images 99 are above the first and none above the second; among 890,000 of
# FracAtlas, many of hands in one position on one bed, 1,559 and some 30, the highest of them 0.922
# in the third, where pairs that are copies to the eye begin at 0.952.
CANDIDATE_FROM = 0.88
SIMILAR_FROM = 0.92
COPY_FROM = 0.94


def detail(images: Pixels) -> Floats:
    """Keep the fine structure, evened out over regions of much and of little contrast.

    Of the same shape, float32, about -2 to 2, near 0 where the image is flat.
    """
    # A bright strip or a piece of metal would else decide the correlation of two whole images.
    coarse = 3 if images.shape[1] == SMALL_PX else 4
    smooth = gaussian_filter(images.astype(np.float32), (0, 1, 1))
    fine = smooth - gaussian_filter(smooth, (0, coarse, coarse))
    spread = np.sqrt(gaussian_filter(fine * fine, (0, coarse, coarse)))
    # 3 grey levels: the noise of a flat background stays small.
    return np.asarray(fine / (spread + np.float32(3)))


def describe(fine: Floats) -> Floats:
    """Reduce each thumbnail's `detail` to a vector of length 1 (0 where the image is flat).

    (images, CELLS squared) float32; copies have a dot product near 1.
    """
    # Blurred, so that a shift by a pixel changes little.
    blurred = gaussian_filter(fine, (0, 2.25, 2.25))
    cell = SMALL_PX // CELLS
    means = blurred.reshape(-1, CELLS, cell, CELLS, cell).mean((2, 4)).reshape(-1, CELLS**2)
    return _unit(means - means.mean(1, keepdims=True))


def correlate(first: Pixels, second: Pixels) -> npt.NDArray[np.float64]:
    """Correlate the detail of the images of each pair (pairs, side, side) at the best shift.

    Returns:
        (pairs,) -1 to 1; 0 where an image is flat. The shift is at most side / REACH each way;
        between whole pixels the peak is that of a parabola.
    """
    return _align(_spectra(detail(first)), _spectra(detail(second)))


def _spectra(fine: Floats) -> Spectra:
    """Half the Fourier transform of each image's detail, faded to the edges and of length 1."""
    images, side, _ = fine.shape
    from_edge = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    fade = np.minimum(1, from_edge / (side / 12)).astype(np.float32)
    faded = _unit((fine * np.outer(fade, fade)).reshape(images, -1)).reshape(fine.shape)
    return np.asarray(rfft2(faded, norm="ortho"))


def _align(one: Spectra, other: Spectra) -> npt.NDArray[np.float64]:
    """See `correlate`, of images whose `_spectra` are known."""
    pairs, side, half = one.shape
    reach = side // REACH
    # One more than the reach: a parabola needs both neighbours of the peak.
    near = np.arange(-reach - 1, reach + 2)
    # The inverse transform at these shifts alone. All but the first and the last column of the half
    # stand for two.
    waves = np.exp(2j * np.pi / side * np.outer(near, np.arange(side))).astype(np.complex64)
    twice = np.where(np.arange(half) % (half - 1) == 0, 1, 2).astype(np.float32)
    across = np.conj(one) * other @ (waves[:, :half] * twice).T
    surface = (waves @ across).real
    inner = surface[:, 1:-1, 1:-1].reshape(pairs, -1)
    down, right = np.divmod(inner.argmax(1), 2 * reach + 1)
    at, down, right = np.arange(pairs), down + 1, right + 1
    peak = surface[at, down, right].astype(np.float64)
    gain = np.zeros_like(peak)
    for before, after in (
        (surface[at, down - 1, right], surface[at, down + 1, right]),
        (surface[at, down, right - 1], surface[at, down, right + 1]),
    ):
        bend = 2 * peak - before - after
        # At the edge of the reach the largest value need not be a peak.
        is_peak = (peak >= before) & (peak >= after) & (bend > 0)
        gain += np.where(is_peak, (before - after) ** 2 / (8 * np.where(is_peak, bend, 1)), 0)
    return np.asarray(np.clip(peak + gain, -1, 1))


def find_copies(hashes: pd.Series, thumbnails: Pixels, resize: Resize) -> pd.DataFrame:
    """Find exact and near copies.

    hashes are (images,), thumbnails (images, SMALL_PX, SMALL_PX) in the same order; resize gives
    the few images that may be copies at LARGE_PX.

    Returns:
        One row per pair: finding (exact_duplicate or near_duplicate), at and other (positions,
        other the smaller), value (correlation). Of images with one hash, each is paired with the
        first of them, and only the first is compared with other images.
    """
    codes, _ = pd.factorize(hashes)
    again = hashes.duplicated().to_numpy()
    copies, firsts = np.flatnonzero(again), np.flatnonzero(~again)
    exact = pd.DataFrame(
        {"finding": "exact_duplicate", "at": copies, "other": firsts[codes[copies]], "value": 1.0}
    )
    pairs = firsts[_similar_pairs(thumbnails, firsts)]
    near = pd.DataFrame({"finding": "near_duplicate", "at": pairs[:, 1], "other": pairs[:, 0]})
    near = add_correlation(near, resize)
    return pd.concat([exact, near[near["value"] >= COPY_FROM]], ignore_index=True)


def find_conflicts(copies: pd.DataFrame, kinds: pd.Series) -> pd.DataFrame:
    """Find copies that are of different kinds, such as in different splits.

    copies are of `find_copies`, copies of copies in one group; kinds is (images,).

    Returns:
        at and other, one row for each image before which its group has one of another kind; other
        is the first of these.
    """
    size = len(kinds)
    links = coo_array((np.ones(len(copies)), (copies["at"], copies["other"])), shape=(size, size))
    _, groups = connected_components(links, directed=False)
    table = pd.DataFrame({"group": groups, "kind": kinds.to_numpy(), "at": range(size)})
    rows = []
    for _, members in table[table.duplicated("group", keep=False)].groupby("group"):
        firsts: dict[object, int] = {}
        for at, kind in zip(members["at"], members["kind"], strict=True):
            others = [first for other, first in firsts.items() if other != kind]
            if others:
                rows.append((at, others[0]))
            firsts.setdefault(kind, at)
    return pd.DataFrame(rows, columns=["at", "other"], dtype=np.int64)


def add_correlation(pairs: pd.DataFrame, resize: Resize) -> pd.DataFrame:
    """Add `value`, the correlation at LARGE_PX, to a table with at and other."""
    values = [np.zeros(0)]
    for start in range(0, len(pairs), BLOCK):
        block = pairs.iloc[start : start + BLOCK]
        values.append(correlate(*(resize(block[side].to_numpy()) for side in ("at", "other"))))
    return pairs.assign(value=np.concatenate(values))


def _similar_pairs(thumbnails: Pixels, firsts: Positions) -> Positions:
    """Pairs (pairs, 2) of positions in firsts with similar thumbnails, the smaller one first."""
    descriptors = np.empty((len(firsts), CELLS**2), np.float32)
    # Kept, as an image may be in hundreds of pairs; halved to 5 KB per image.
    spectra = np.empty((len(firsts), SMALL_PX, SMALL_PX // 2 + 1, 2), np.float16)
    for start in range(0, len(firsts), BLOCK):
        block = slice(start, start + BLOCK)
        fine = detail(thumbnails[firsts[block]])
        descriptors[block] = describe(fine)
        spectra[block] = _spectra(fine).view(np.float32).reshape(spectra[block].shape)
    similar = [np.zeros((0, 2), np.int64)]
    for pairs in _candidates(descriptors):
        one, other = (
            spectra[pairs[:, side]].astype(np.float32).view(np.complex64)[..., 0] for side in (0, 1)
        )
        similar.append(pairs[_align(one, other) >= SIMILAR_FROM])
    return np.concatenate(similar)


def _candidates(descriptors: Floats) -> Iterator[Positions]:
    """Yield pairs of similar descriptors, at most BLOCK at a time."""
    for start in range(0, len(descriptors), BLOCK):
        block = descriptors[start : start + BLOCK]
        similar = np.argwhere(block @ descriptors[start:].T >= CANDIDATE_FROM)
        pairs = similar[similar[:, 0] < similar[:, 1]] + start
        for first in range(0, len(pairs), BLOCK):
            yield pairs[first : first + BLOCK]


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 1e-6, lengths, np.inf), np.float32)

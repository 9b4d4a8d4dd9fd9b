import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

from ulna.checks import duplicates
from ulna.checks.duplicates import COPY_FROM, LARGE_PX, correlate, find_conflicts, find_copies
from ulna.checks.quality import SMALL_PX


def made_images(count, seed=0, side=LARGE_PX):
    """Random images with coarse and fine structure, no two similar."""
    noise = np.random.default_rng(seed).standard_normal((count, 192, 192))
    field = sum(gaussian_filter(noise, (0, s, s), mode="wrap") * s for s in (2, 6, 20))
    field = (
        110 + 28 * (field - field.mean((1, 2), keepdims=True)) / field.std((1, 2))[:, None, None]
    )
    return np.stack([resized(each, side) for each in np.clip(field, 0, 255).astype(np.uint8)])


def resized(image, side):
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))


def reencoded(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=50)
    return np.asarray(Image.open(stream))


def moved(image, down, right):
    return shift(image.astype(float), (down, right), order=1, mode="nearest").astype(np.uint8)


def relit(image):
    return (255 * (image / 255) ** 0.8 * 0.9).astype(np.uint8)


ALTERED = {
    "re-encoded": reencoded,
    "shifted": lambda image: moved(image, 1, -1),
    "shifted by half a pixel": lambda image: moved(image, 0.5, 0.5),
    "relit": relit,
    "halved": lambda image: resized(resized(image, len(image) // 2), len(image)),
}


def copies_among(large, hashes=None):
    small = np.stack([resized(each, SMALL_PX) for each in large])
    hashes = pd.Series(range(len(large)) if hashes is None else hashes).astype(str)
    return find_copies(hashes, small, lambda at: large[at])


@pytest.mark.parametrize("side", [SMALL_PX, LARGE_PX])
@pytest.mark.parametrize("kind", ALTERED)
def test_a_image_and_its_altered_copy_correlate(side, kind):
    image = made_images(1, side=side)[0]
    value = correlate(image[None], ALTERED[kind](image)[None])[0]
    assert COPY_FROM < value <= 1


@pytest.mark.parametrize("side", [SMALL_PX, LARGE_PX])
def test_a_shift_within_reach_is_undone_and_one_beyond_is_not(side):
    wide = made_images(1, side=2 * side)[0]
    reach = side // duplicates.REACH

    def window(by):
        return wide[20 : 20 + side, 20 + by : 20 + by + side][None]

    assert correlate(window(0), window(0))[0] == pytest.approx(1, abs=1e-4)
    # What leaves at one side and enters at the other costs a little.
    assert correlate(window(0), window(reach))[0] > 0.95
    assert correlate(window(0), window(-reach))[0] > 0.95
    assert correlate(window(0), window(3 * reach))[0] < 0.6


@pytest.mark.parametrize("axis", [1, 2])
def test_half_a_pixel_costs_hardly_more_than_a_whole_one(axis):
    fine = made_images(1, side=8 * SMALL_PX)[0].astype(float)

    def sampled(by):
        """The mean of 4 x 4 pixels, from a grid moved by quarters of one."""
        rows, columns = (slice(20 + by * (axis == a), 20 + by * (axis == a) + 192) for a in (1, 2))
        return fine[rows, columns].reshape(1, 48, 4, 48, 4).mean((2, 4)).astype(np.uint8)

    half, whole = (correlate(sampled(0), sampled(by))[0] for by in (2, 4))
    assert whole - half < 0.005  # without the parabola 0.02


def test_correlation_is_symmetric_and_low_for_different_images():
    one, other = made_images(6), made_images(6, seed=1)
    forth, back = correlate(one, other), correlate(other, one)
    np.testing.assert_allclose(forth, back, atol=1e-5)
    assert (forth < 0.5).all()


def test_a_flat_image_correlates_with_nothing():
    even = np.full((1, SMALL_PX, SMALL_PX), 90, np.uint8)
    assert correlate(even, even)[0] == 0
    assert correlate(even, made_images(1, side=SMALL_PX))[0] == 0


def test_every_kind_of_copy_is_found_and_nothing_else():
    originals = made_images(30)
    altered = np.stack([alter(originals[at]) for at, alter in enumerate(ALTERED.values())])
    found = copies_among(np.concatenate([originals, altered]))
    expected = {(30 + at, at) for at in range(len(ALTERED))}
    assert set(zip(found["at"], found["other"], strict=True)) == expected
    assert (found["finding"] == "near_duplicate").all() and (found["value"] >= COPY_FROM).all()


def test_exact_copies_are_paired_with_the_first_of_them_and_searched_once():
    one, other = made_images(2)
    large = np.stack([other, one, one, relit(one), one])
    found = copies_among(large, ["b", "a", "a", "c", "a"])
    assert found.drop(columns="value").to_numpy().tolist() == [
        ["exact_duplicate", 2, 1], ["exact_duplicate", 4, 1], ["near_duplicate", 3, 1],
    ]  # fmt: skip
    assert found["value"].tolist()[:2] == [1, 1]


def test_images_similar_at_a_glance_are_no_copies_if_their_detail_differs():
    coarse = gaussian_filter(made_images(1)[0].astype(float), 6)
    noise = np.random.default_rng(0).standard_normal((2, LARGE_PX, LARGE_PX))
    detail = gaussian_filter(noise, (0, 1.5, 1.5))
    one, other = np.clip(coarse + 30 * detail, 0, 255).astype(np.uint8)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.5
    assert copies_among(np.stack([one, other])).empty


def test_images_similar_as_thumbnails_are_no_copies_if_larger_ones_differ():
    """As two hands held alike on one bed: their grain differs."""
    noise = gaussian_filter(np.random.default_rng(0).standard_normal((2, 96, 96)), (0, 0.7, 0.7))
    large = np.clip(made_images(1)[0] + 9 * noise / noise.std(), 0, 255).astype(np.uint8)
    one, other = (resized(each, SMALL_PX)[None] for each in large)
    assert correlate(one, other)[0] > 0.95
    assert 0.85 < correlate(large[:1], large[1:])[0] < 0.9
    assert copies_among(large).empty


def test_the_size_of_a_block_changes_nothing(monkeypatch):
    originals = made_images(12)
    large = np.concatenate([originals, [relit(each) for each in originals[::-1]]])
    whole = copies_among(large)
    assert len(whole) == 12
    monkeypatch.setattr(duplicates, "BLOCK", 5)
    blocked = copies_among(large).sort_values(["other", "at"], ignore_index=True)
    pd.testing.assert_frame_equal(blocked, whole.sort_values(["other", "at"], ignore_index=True))


def test_without_images_nothing_is_found():
    assert copies_among(made_images(1)).empty
    none = find_copies(pd.Series([], dtype=str), np.zeros((0, SMALL_PX, SMALL_PX), np.uint8), None)
    assert none.empty


@given(
    st.lists(st.sampled_from(["train", "val", "test"]), min_size=1, max_size=9),
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=9),
)
@settings(deadline=None)
def test_every_image_after_one_of_another_kind_in_its_group_is_named(kinds, links):
    size = len(kinds)
    links = [(a, b) for a, b in links if b < a < size]
    copies = pd.DataFrame(links, columns=["at", "other"], dtype=np.int64)
    found = find_conflicts(copies, pd.Series(kinds))

    # Who reaches whom over any number of links, by brute force.
    reaches = np.eye(size, dtype=bool)
    for a, b in links:
        reaches[a, b] = reaches[b, a] = True
    for _ in range(size):
        reaches = reaches @ reaches
    expected = []
    for at in range(size):
        before = [b for b in range(at) if reaches[at, b] and kinds[b] != kinds[at]]
        expected += [(at, min(before))] if before else []
    assert sorted(zip(found["at"], found["other"], strict=True)) == expected

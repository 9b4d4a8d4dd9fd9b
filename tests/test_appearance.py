import numpy as np
import pandas as pd
import pytest

from ulna.checks import appearance
from ulna.checks.appearance import BORDER, PICTURE, measure
from ulna.data.cache import Cache
from ulna.data.images import letterbox


def one_image(pixels: np.ndarray, width_px: int, height_px: int) -> pd.Series:
    file = {"image": "a", "body_part": "HAND", "row": 0}
    images = pd.DataFrame(
        [file | {"mode": "L", "bit_depth": 8, "width_px": width_px, "height_px": height_px}]
    )
    rows = pd.DataFrame([file | {"patient": "p", "study": "s", "split": "train", "label": 0}])
    cache = Cache(images, pd.DataFrame(), {"HAND": pixels[np.newaxis]})
    return measure(rows, cache, "pad").iloc[0]


def test_padding_is_not_measured_and_regions_are_where_their_names_say():
    """A picture of 64 x 32 in a square of 64: rows 16 to 47; corners 4 x 8, frame 2 and 4."""
    square = np.zeros((64, 64), np.uint8)
    square[16:48] = 100
    square[16:20, 0:8] = 200
    square[44:48, 56:64] = 40
    row = one_image(square, 640, 320)
    assert (row["top_left_mean"], row["top_left_max"], row["top_left_sd"]) == (200, 200, 0)
    assert row["bottom_right_mean"] == 40
    assert row["top_right_mean"] == row["bottom_left_mean"] == row["frame_mean"] == 100
    assert row["mean"] == pytest.approx(100 + (32 * 100 - 32 * 60) / (32 * 64))
    assert row["aspect"] == 2 and row["views"] == 1


def test_the_middle_of_a_picture_does_not_reach_corners_and_border():
    rng = np.random.default_rng(2)
    one = rng.integers(0, 256, (64, 64), np.uint8)
    other = one.copy()
    other[8:56, 8:56] = rng.integers(0, 256, (48, 48), np.uint8)
    names = list(BORDER)
    pd.testing.assert_series_equal(one_image(one, 64, 64)[names], one_image(other, 64, 64)[names])
    assert one_image(one, 64, 64)["mean"] != one_image(other, 64, 64)["mean"]


@pytest.mark.parametrize(("width_px", "height_px"), [(500, 1), (1, 500), (3, 200)])
def test_a_sliver_has_numbers_too(width_px, height_px):
    square = np.full((32, 32), 7, np.uint8)
    assert np.isfinite(one_image(square, width_px, height_px)[list(BORDER)].astype(float)).all()


def many(count: int = 40, side: int = 48) -> tuple[pd.DataFrame, Cache, list[np.ndarray]]:
    """Pictures of a few shapes and two parts, whose rows of the cache are not in order."""
    draw = np.random.default_rng(4)
    shapes = [(400, 250), (250, 400), (48, 48), (512, 90)]
    pictures = [
        draw.integers(0, 256, shapes[k], np.uint8) for k in draw.integers(0, len(shapes), count)
    ]
    parts = np.where(np.arange(count) % 3, "HAND", "WRIST")
    squares = {part: np.zeros((count, side, side), np.uint8) for part in ("HAND", "WRIST")}
    places = draw.permutation(count)
    for part, place, picture in zip(parts, places, pictures, strict=True):
        squares[part][place] = letterbox(picture, side, "pad")
    images = pd.DataFrame(
        {"image": [f"{k:02}" for k in range(count)], "body_part": parts, "row": places}
    )
    files = images.assign(
        mode="L", bit_depth=8,
        width_px=[picture.shape[1] for picture in pictures],
        height_px=[picture.shape[0] for picture in pictures],
    )  # fmt: skip
    rows = images.assign(
        patient=images["image"], study=[str(k // 3) for k in range(count)], split="train", label=0
    )
    inside = []
    for row in files.itertuples():
        square = squares[row.body_part][row.row]
        filled = np.flatnonzero(square.any(axis=1)), np.flatnonzero(square.any(axis=0))
        inside.append(square[np.ix_(*filled)])
    return rows, Cache(files, files[:0], squares), inside


@pytest.mark.parametrize("block", [1, 3, 64])
def test_every_image_has_the_numbers_of_its_own_picture_whatever_the_block(monkeypatch, block):
    monkeypatch.setattr(appearance, "BLOCK", block)
    rows, cache, inside = many()
    measured = measure(rows, cache, "pad")
    assert measured["image"].tolist() == rows["image"].tolist()
    for row, picture in zip(measured.itertuples(), inside, strict=True):
        assert row.mean == pytest.approx(picture.mean())
        assert row.sd == pytest.approx(picture.std())
        height, width = picture.shape
        corner = picture[: round(height / 8), width - round(width / 8) :]
        assert (row.top_right_max, row.top_right_sd) == pytest.approx((corner.max(), corner.std()))


def test_the_order_of_the_rows_changes_no_bit():
    rows, cache, _ = many()
    names = ["mean", "sd", *BORDER]
    first = measure(rows, cache, "pad").set_index("image")[names]
    again = measure(rows.sample(frac=1, random_state=1), cache, "pad").set_index("image")[names]
    pd.testing.assert_frame_equal(again.loc[first.index], first, check_exact=True)


def test_views_are_those_of_the_study_and_files_tell_of_their_device():
    rows, cache, _ = many(7)
    measured = measure(rows, cache, "pad")
    assert measured["views"].tolist() == [3] * 6 + [1]
    pd.testing.assert_frame_equal(measured[list(PICTURE[:4])], cache.images[list(PICTURE[:4])])
    assert (measured["aspect"] * measured["height_px"]).tolist() == pytest.approx(
        measured["width_px"].tolist()
    )


def test_the_frame_is_a_sixteenth_of_each_side_without_the_corners():
    """A picture of 64 x 32: 4 columns at left and right, 2 rows above and below."""
    square = np.zeros((64, 64), np.uint8)
    square[16:48] = 10
    square[20:44, 0:4] = square[20:44, 60:64] = 90
    square[16:18, 8:56] = square[46:48, 8:56] = 90
    square[20:44, 2:4] = square[20:44, 60:62] = 30
    row = one_image(square, 640, 320)
    assert row["frame_mean"] == pytest.approx((288 * 90 + 96 * 30) / 384)

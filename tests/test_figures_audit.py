import numpy as np
import pandas as pd
from figure_reading import assert_legible, texts

from ulna.checks.audit import COLUMNS, FINDINGS, SEEN, count_findings
from ulna.figures.audit import edge_cases

SQUARE = np.arange(64, dtype=np.uint8).reshape(8, 8)


def name(number):
    return f"train/XR_SHOULDER/patient{number:05d}/study1_negative/image{number % 9 + 1}.png"


def findings(pairs=3, singles=6):
    """As many rows of each finding as have room."""
    rows, number = [], 0
    for kind in SEEN:
        pair = "duplicate" in kind
        for _ in range(pairs if pair else singles):
            number += 2
            other = [name(number + 1), "test", 1] if pair else ["", "", None]
            rows.append([kind, name(number), "SHOULDER", "train", 0, 0.125 * number, *other])
    return pd.DataFrame(rows, columns=COLUMNS)


def drawn(table, extra=0):
    images = [*table["image"], *table["other_image"]]
    squares = {image: SQUARE + at for at, image in enumerate(images)}
    counts = {kind: n + extra for kind, n in count_findings(table).items()}
    return edge_cases(table, squares, counts, FINDINGS, 1234), squares


def test_a_full_sheet_is_legible():
    figure, _ = drawn(findings())
    assert_legible(figure)


def test_every_example_is_shown_with_its_pixels_and_copies_side_by_side():
    table = findings(pairs=1, singles=1)
    figure, squares = drawn(table)
    shown = [image for row in table.itertuples() for image in (row.image, row.other_image) if image]
    assert len(figure.axes) == len(shown)
    for axis, image in zip(figure.axes, shown, strict=True):
        assert (axis.images[0].get_array() == squares[image]).all()
    first, second = (axis.get_position() for axis in figure.axes[-2:])
    assert first.y0 == second.y0 and 0 < second.x0 - first.x1 < 0.01


def test_the_sheet_says_how_many_of_how_many_and_names_image_value_and_split():
    table = findings(pairs=1, singles=2)
    figure, _ = drawn(table, extra=1200)
    written = texts(figure)
    assert "inverted: 2 of 1,202 shown" in written
    assert "near_duplicate: 1 of 1,201 shown" in written
    assert FINDINGS["inverted"] in written
    assert "SHOULDER patient00002\nstudy1_negative image3\ntrain, normal, 0.25" in written
    assert "test, abnormal" in written
    assert "Odd images among 1,234" in written


def test_what_is_not_shown_is_counted():
    figure, _ = drawn(findings()[:0])
    assert_legible(figure)
    assert not figure.axes
    assert "extreme_aspect 0" in texts(figure).replace("\n", " ")

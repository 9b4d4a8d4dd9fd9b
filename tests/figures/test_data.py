import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts

from ulna.checks.audit import COLUMNS, FINDINGS, VISIBLE, count_findings
from ulna.figures.data import draw, edge_cases, example_images, split_sizes

PARTS = ("ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST")


def sizes(*rows):
    return pd.DataFrame(rows, columns=["body_part", "split", "label", "studies", "images"])


def test_bars_have_the_sizes_of_the_splits():
    figure = split_sizes(
        sizes(
            ("HAND", "train", 0, 50, 70),
            ("HAND", "train", 1, 1040, 1060),
            ("HAND", "val", 0, 5, 8),
            ("HAND", "test", 1, 2, 3),
        )
    )
    # train, val, test of normal, then of abnormal; what does not occur is 0.
    for axis, widths in zip(
        figure.axes, ([50, 5, 0, 1040, 0, 2], [70, 8, 0, 1060, 0, 3]), strict=True
    ):
        assert [bar.get_width() for bar in axis.patches] == widths
        assert axis.patches[3].get_x() == widths[0]
    assert "50 + 1,040" in texts(figure)
    assert "train 1,090, val 5, test 2" in texts(figure)


def test_splits_of_many_body_parts_are_drawn_in_order():
    splits = [
        (part, split, k) for part in PARTS[::-1] for split in ("train", "val") for k in (0, 1)
    ]
    figure = split_sizes(sizes(*((*split, 2134, 5765) for split in splits)))
    assert_legible(figure)
    shown = [text.get_text() for text in figure.axes[0].texts if text.get_text().isupper()]
    assert shown == list(PARTS)


@pytest.mark.parametrize(("parts", "share"), [(1, 12), (2, 6), (7, 2), (1, 1)])
def test_every_example_is_in_its_row_and_column(parts, share):
    table = pd.DataFrame(
        [(f"P{p}", label, k) for p in range(parts) for label in (0, 1) for k in range(share)],
        columns=["body_part", "label", "place"],
    )
    pixels = np.arange(len(table), dtype=np.uint8)[:, None, None] + np.zeros((1, 8, 8), np.uint8)
    figure = example_images(table, pixels)
    assert_legible(figure)
    for axis, image in zip(figure.axes, pixels, strict=True):
        assert (axis.images[0].get_array() == image).all()
        assert axis.images[0].get_clim() == (0, 255)
    boxes = [axis.get_position() for axis in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    for k, box in enumerate(boxes):
        assert not any(box.count_overlaps([other]) for other in boxes[:k])
    normal, abnormal = (
        [box.y0 for box, label in zip(boxes, table["label"], strict=True) if label == which]
        for which in (0, 1)
    )
    assert min(normal) > max(abnormal)
    assert "8 x 8 px" in texts(figure)


def name(number):
    return f"train/XR_SHOULDER/patient{number:05d}/study1_negative/image{number % 9 + 1}.png"


def findings(pairs=1, singles=2):
    """As many rows of each finding as have room."""
    rows, number = [], 0
    for kind in VISIBLE:
        pair = "duplicate" in kind
        for _ in range(pairs if pair else singles):
            number += 2
            other = [name(number + 1), "test", 1] if pair else ["", "", None]
            rows.append([kind, name(number), "SHOULDER", "train", 0, 0.125 * number, *other])
    return pd.DataFrame(rows, columns=COLUMNS)


def sheet(table, extra=0):
    images = [*table["image"], *table["other_image"]]
    squares = {image: np.full((8, 8), at % 256, np.uint8) for at, image in enumerate(images)}
    counts = {kind: n + extra for kind, n in count_findings(table).items()}
    return edge_cases(table, squares, counts, 1234), squares


def test_every_finding_is_shown_with_its_pixels_and_duplicates_side_by_side():
    assert_legible(sheet(findings())[0])
    table = findings(singles=1)
    figure, squares = sheet(table)
    shown = [image for row in table.itertuples() for image in (row.image, row.other_image) if image]
    for axis, image in zip(figure.axes, shown, strict=True):
        assert (axis.images[0].get_array() == squares[image]).all()
    first, second = (axis.get_position() for axis in figure.axes[-2:])
    assert first.y0 == second.y0 and 0 < second.x0 - first.x1 < 0.01


def test_the_sheet_has_counts_image_value_and_split():
    written = texts(sheet(findings(), extra=1200)[0])
    assert "inverted: 1,202" in written and "near duplicate: 1,201" in written
    assert FINDINGS["inverted"] in written.replace("\n", " ")
    assert "SHOULDER patient00002\nstudy1_negative image3\ntrain, normal, 0.25" in written
    figure, _ = sheet(findings()[:0])
    assert_legible(figure)
    assert not figure.axes
    assert "extreme aspect 0" in texts(figure).replace("\n", " ")


def test_images_are_shown_without_their_padding():
    rows = pd.DataFrame(
        {"image": ["a", "b"], "width_px": [4, 8], "height_px": [8, 8], "body_part": "HAND"}
    )
    found = pd.DataFrame(
        [["inverted", "a", "HAND", "train", 0, 1.0, "", "", None]], columns=COLUMNS
    )
    found["image"] = name(1)
    rows["image"] = [name(1), name(2)]
    counts = sizes(("HAND", "train", 0, 1, 1))
    audit = {"findings": count_findings(found), "images": 2}
    examples = pd.DataFrame({"body_part": ["HAND"], "label": [0], "place": [0]})
    figures = draw(
        {"splits": counts}, audit, rows, "pad", examples, found,
        lambda chosen: np.ones((len(chosen), 8, 8), np.uint8),
    )  # fmt: skip
    [axis] = figures["audit"].axes
    assert axis.images[0].get_array().shape == (8, 4)

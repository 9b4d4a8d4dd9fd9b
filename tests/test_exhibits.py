import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts

from ulna.figures.exhibits import architecture, example_images, split_sizes, training_curves
from ulna.figures.names import NETWORK_COLOURS

NAMES = ("loss", "auroc", "accuracy")


def history(epochs, head=0, best=1, phase="scratch"):
    table = pd.DataFrame({"epoch": range(1, epochs + 1), "learning_rate": 1e-3})
    table["phase"] = np.where(table["epoch"] <= head, "head", "finetune") if head else phase
    table["best"] = (table["epoch"] == best).astype(int)
    for number, name in enumerate(NAMES):
        table[name] = 0.5 + number / table["epoch"]
        table[f"val_{name}"] = 0.6 + number / table["epoch"]
    return table


def line(axis, label):
    [found] = [one for one in axis.lines if one.get_label() == label]
    return found


def test_training_curves_show_the_numbers_of_the_table():
    tables = {"cnn": history(30, best=17), "densenet169": history(10, head=5, best=8)}
    axes = np.reshape(training_curves(tables).axes, (5, 2))
    for column, (arch, table) in enumerate(tables.items()):
        for row, name in enumerate(NAMES):
            axis = axes[row, column]
            assert line(axis, "train").get_ydata().tolist() == table[name].tolist()
            assert line(axis, "val").get_ydata().tolist() == table[f"val_{name}"].tolist()
            assert line(axis, "val").get_color() == NETWORK_COLOURS[arch]
        np.testing.assert_allclose(line(axes[3, column], "gap").get_ydata(), 0.1)
        rates = axes[4, column].lines[0]
        assert rates.get_ydata().tolist() == table["learning_rate"].tolist()


def test_the_epoch_that_is_kept_is_marked():
    table = history(30, best=17)
    figure = training_curves({"cnn": table})
    for axis, name in zip(figure.axes, NAMES, strict=False):
        marker = line(axis, "best")
        assert marker.get_xdata().tolist() == [17]
        assert marker.get_ydata().tolist() == [table[f"val_{name}"][16]]
    assert "kept: epoch 17" in texts(figure)


def test_phases_are_named_and_the_first_is_shaded():
    figure = training_curves({"densenet169": history(10, head=4)})
    assert "head only: epochs 1–4; fine-tuning: epochs 5–10" in texts(figure)
    spans = [
        patch.get_extents().transformed(figure.axes[0].transData.inverted())
        for patch in figure.axes[0].patches
    ]
    assert [(span.x0, span.x1) for span in spans] == [pytest.approx((0.5, 4.5))]


@pytest.mark.parametrize("epochs", [1, 60])
def test_any_number_of_epochs_can_be_drawn(epochs):
    tables = {"cnn": history(epochs), "densenet169": history(epochs + 1, head=1)}
    assert_legible(training_curves(tables))


def test_an_undefined_validation_auroc_is_called_so():
    figure = training_curves({"cnn": history(3).assign(val_auroc=np.nan)})
    assert_legible(figure)
    assert texts(figure).count("val: undefined") == 1


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
    figure = split_sizes(sizes(*((part, "train", 0, 3, 4) for part in ("WRIST", "ELBOW", "HAND"))))
    assert_legible(figure)
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text().isupper()] == [
        "ELBOW",
        "HAND",
        "WRIST",
    ]


@pytest.mark.parametrize(("parts", "share"), [(1, 12), (2, 6), (7, 2), (1, 1)])
def test_every_example_stands_in_its_row_and_column(parts, share):
    table = pd.DataFrame(
        [
            (f"PART{part}", label, place)
            for part in range(parts)
            for label in (0, 1)
            for place in range(share)
        ],
        columns=["body_part", "label", "place"],
    )
    pixels = np.arange(len(table), dtype=np.uint8)[:, None, None] + np.zeros((1, 8, 8), np.uint8)
    figure = example_images(table, pixels)
    assert_legible(figure)
    for axis, picture in zip(figure.axes, pixels, strict=True):
        assert (axis.images[0].get_array() == picture).all()
        assert axis.images[0].get_clim() == (0, 255)
    boxes = [axis.get_position() for axis in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    for box, example in zip(boxes, table.itertuples(), strict=True):
        others = [
            other for other, one in zip(boxes, table.itertuples(), strict=True) if one != example
        ]
        assert not any(box.count_overlaps([other]) for other in others)
        below = [
            other.y0
            for other, one in zip(boxes, table.itertuples(), strict=True)
            if one.label > example.label
        ]
        assert all(box.y0 > y0 for y0 in below)
    assert "8 x 8 px" in texts(figure)


def layers(rows):
    return pd.DataFrame(
        [
            (f"block{row}", "Conv2D, ReLU", "64 x 64 x 32", 1000 * row, 1000 * (row > 1))
            for row in range(rows)
        ],
        columns=["layer", "type", "output_shape", "parameters", "trainable_parameters"],
    )


def test_the_architecture_names_every_block_and_the_totals():
    figure = architecture({"cnn": layers(3), "densenet169": layers(20)})
    assert_legible(figure)
    words = texts(figure)
    assert "3,000 parameters, 1,000 trainable" in words  # 0 + 1,000 + 2,000; block2 alone learns
    assert all(f"block{row}" in words for row in range(20))
    left, right = figure.axes
    assert sum(text.get_text() == "64 x 64 x 32" for text in left.texts) == 3
    assert sum(text.get_text() == "64 x 64 x 32" for text in right.texts) == 20


def test_blocks_that_learn_have_the_colour_of_the_network():
    [axis] = architecture({"cnn": layers(3)}).axes
    stripes = [patch.get_facecolor() for patch in axis.patches if patch.get_width() < 0.1]
    assert len(set(stripes)) == 3  # without parameters, frozen, trainable
    assert stripes[2] == pytest.approx((0xD5 / 255, 0x5E / 255, 0, 1))


def test_no_text_is_cut_or_lies_on_another():
    assert_legible(training_curves({"cnn": history(60), "densenet169": history(40, 20, best=40)}))
    parts = ("ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST")
    splits = [
        (part, split, label) for part in parts for split in ("train", "val") for label in (0, 1)
    ]
    assert_legible(split_sizes(sizes(*((*split, 2134, 5765) for split in splits))))
    long = "BatchNormalization, Activation, Conv2D, AveragePooling2D"
    table = layers(21).assign(
        layer="head_batch_normalization", type=long, output_shape="128 x 128 x 1664"
    )
    assert_legible(architecture({"cnn": layers(2), "densenet169": table}))

import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts

from ulna.evaluation import overfitting
from ulna.figures.style import SPLITS, colour
from ulna.figures.training import architecture, overfitting_panels, training_curves

CURVES = ("loss", "auroc", "accuracy")
NETWORKS = ("cnn", "densenet169")


def history(epochs, head=0, best=1):
    table = pd.DataFrame({"epoch": range(1, epochs + 1), "learning_rate": 1e-3})
    table["phase"] = np.where(table["epoch"] <= head, "head", "finetune") if head else "scratch"
    table["best"] = (table["epoch"] == best).astype(int)
    for number, name in enumerate(CURVES):
        table[name] = 0.5 + number / table["epoch"]
        table[f"val_{name}"] = 0.6 + number / table["epoch"]
    return table


def line(axis, label):
    [labelled] = [one for one in axis.lines if one.get_label() == label]
    return labelled


def test_training_curves_show_the_numbers_of_the_table_and_mark_the_epoch_kept():
    tables = {"cnn": history(30, best=17), "densenet169": history(10, head=5, best=8)}
    figure = training_curves(tables)
    axes = np.reshape(figure.axes, (5, 2))
    for column, (arch, table) in enumerate(tables.items()):
        kept = int(table["best"].to_numpy().argmax())
        for row, name in enumerate(CURVES):
            axis = axes[row, column]
            assert line(axis, "train").get_ydata().tolist() == table[name].tolist()
            assert line(axis, "val").get_ydata().tolist() == table[f"val_{name}"].tolist()
            assert line(axis, "val").get_color() == colour(arch)
            assert line(axis, "best").get_xydata().tolist() == [
                [kept + 1, table[f"val_{name}"][kept]]
            ]
        np.testing.assert_allclose(line(axes[3, column], "gap").get_ydata(), 0.1)
        rates = axes[4, column].lines[0]
        assert rates.get_ydata().tolist() == table["learning_rate"].tolist()
    assert "kept: epoch 17" in texts(figure)


def test_phases_are_named_and_the_first_is_shaded():
    figure = training_curves({"densenet169": history(10, head=4)})
    assert "head only: epochs 1–4; fine-tuning: epochs 5–10" in texts(figure)
    [patch] = figure.axes[0].patches
    span = patch.get_extents().transformed(figure.axes[0].transData.inverted())
    assert (span.x0, span.x1) == pytest.approx((0.5, 4.5))


@pytest.mark.parametrize("epochs", [1, 60])
def test_any_number_of_epochs_can_be_drawn(epochs):
    assert_legible(training_curves({"cnn": history(epochs), "densenet169": history(epochs + 1, 1)}))
    assert_legible(training_curves({"cnn": history(3).assign(val_auroc=np.nan)}))
    three = dict.fromkeys(("cnn", "densenet169", "mobilenetv2"), history(epochs, 1))
    assert_legible(training_curves(three))


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
    for axis, rows in ((left, 3), (right, 20)):
        assert sum(text.get_text() == "64 x 64 x 32" for text in axis.texts) == rows
    stripes = [patch.get_facecolor() for patch in left.patches if patch.get_width() < 0.1]
    assert len(set(stripes)) == 3  # without parameters, frozen, trainable
    assert stripes[2] == pytest.approx((0xD5 / 255, 0x5E / 255, 0, 1))
    long = "BatchNormalization, Activation, Conv2D, AveragePooling2D"
    wide = layers(21).assign(
        layer="head_batch_normalization", type=long, output_shape="128 x 128 x 1664"
    )
    assert_legible(
        architecture({"cnn": layers(2), **dict.fromkeys(("densenet169", "mobilenetv2"), wide)})
    )


def splits(large=False, few=()):
    """Numbers that differ from row to row."""
    rows = []
    for place, (network, split) in enumerate((n, s) for n in NETWORKS for s in SPLITS):
        row = dict.fromkeys(overfitting.SPLIT_COLUMNS, 0.0)
        row |= {"network": network, "split": split}
        row |= {"n": 13457 if large else 39, "patients": 11184 if large else 34, "abnormal": 9}
        for name in ("auroc", "kappa"):
            value = 0.9 - place / 10 if split not in few else np.nan
            row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.03}
        rows.append(row)
    return pd.DataFrame(rows)


def gaps(count=18, kept=12):
    numbers = np.arange(1, count + 1)
    tables = [
        pd.DataFrame(
            {
                "network": network,
                "epoch": numbers,
                "phase": "scratch",
                "loss_gap": np.linspace(-0.2, 0.1, count) + shift,
                "auroc_gap": np.linspace(-0.1, 0.05, count) + shift,
                "best": (numbers == kept).astype(int),
            }
        )
        for network, shift in zip(NETWORKS, (0, 0.01), strict=True)
    ]
    return pd.concat(tables, ignore_index=True)[list(overfitting.EPOCH_COLUMNS)]


def curve(fractions=(0.25, 0.5, 1.0), **changed):
    rows = [
        dict.fromkeys(overfitting.LEARNING_CURVE_COLUMNS, 0.5)
        | {"fraction": fraction, "patients": int(fraction * 9506), "test_studies": 1199}
        | {"auroc": 0.5 + fraction / 5, "kappa": fraction / 5}
        | changed
        for fraction in fractions
    ]
    return pd.DataFrame(rows, columns=list(overfitting.LEARNING_CURVE_COLUMNS))


def test_every_split_has_its_number_and_its_interval():
    table = splits()
    axes = overfitting_panels(table, gaps(), curve(), "cnn").axes[:2]
    for axis, measure in zip(axes, ("auroc", "kappa"), strict=True):
        assert [tick.get_text().split("\n")[0] for tick in axis.get_xticklabels()] == list(SPLITS)
        for number, network in enumerate(NETWORKS):
            rows = table[table["network"] == network]
            shown = line(axis, network)
            assert shown.get_ydata().tolist() == rows[measure].tolist()
            assert shown.get_color() == colour(network)
            ends = [path.vertices[:, 1].tolist() for path in axis.collections[number].get_paths()]
            assert ends == rows[[f"{measure}_low", f"{measure}_high"]].to_numpy().tolist()


def test_the_gap_is_drawn_by_epoch_and_the_kept_epoch_is_marked():
    table = gaps(kept=12)
    axes = overfitting_panels(splits(), table, curve(), "cnn").axes[2:4]
    for axis, gap in zip(axes, ("loss_gap", "auroc_gap"), strict=True):
        marks = [one for one in axis.lines if one.get_label() == "kept"]
        for network, mark in zip(NETWORKS, marks, strict=True):
            rows = table[table["network"] == network]
            assert line(axis, network).get_ydata().tolist() == rows[gap].tolist()
            assert mark.get_xydata().tolist() == [[12, rows[gap].iloc[11]]]
            assert mark.get_color() == colour(network)


def test_the_learning_curve_has_a_point_per_fraction_in_the_colour_of_its_network():
    table = curve()
    axes = overfitting_panels(splits(), gaps(), table, "densenet169").axes[4:]
    for axis, measure in zip(axes, ("auroc", "kappa"), strict=True):
        shown = line(axis, "curve")
        assert shown.get_xdata().tolist() == table["patients"].tolist()
        assert shown.get_ydata().tolist() == table[measure].tolist()
        assert shown.get_color() == colour("densenet169")
    figure = overfitting_panels(splits(), gaps(), curve(()), "cnn")
    assert "learning_curve.fractions" in texts(figure)
    assert len(figure.axes) == 5


def test_too_few_patients_are_written_in_place_of_a_number():
    names = (f"{name}{end}" for name in ("auroc", "kappa") for end in ("", "_low", "_high"))
    undefined = dict.fromkeys(names, np.nan)
    figure = overfitting_panels(splits(few=("val",)), gaps(), curve(**undefined), "cnn")
    for axis in figure.axes[:2]:
        assert [text.get_text() for text in axis.texts].count("too few") == 2
    assert "nan" not in texts(figure) and "undefined" not in texts(figure)
    assert_legible(figure)


@pytest.mark.parametrize(
    ("sizes", "count", "kept"),
    [((), 1, 1), ((0.05, 0.1, 0.25, 0.5, 1.0), 18, 18), ((0.5, 0.6, 0.7, 0.8, 0.9, 1.0), 60, 40)],
)
def test_overfitting_panels_are_legible(sizes, count, kept):
    assert_legible(overfitting_panels(splits(True), gaps(count, kept), curve(sizes), "cnn"))

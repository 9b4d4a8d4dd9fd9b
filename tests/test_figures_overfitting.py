import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts

from ulna.figures.names import NETWORK_COLOURS
from ulna.figures.overfitting import overfitting_panels
from ulna.figures.style import write_png
from ulna.judging import epochs, overfitting, size_curve

NETWORKS = ["cnn", "densenet169"]
SPLITS = ["train", "val", "test"]


def splits(large=False, few=()):
    """Numbers that differ from row to row."""
    rows = []
    for place, (network, split) in enumerate((n, s) for n in NETWORKS for s in SPLITS):
        row = dict.fromkeys(overfitting.COLUMNS, 0.0)
        row |= {"network": network, "split": split}
        row |= {"n": 13457 if large else 39, "patients": 11184 if large else 34, "abnormal": 9}
        for name in ("auroc", "kappa"):
            value = 0.9 - place / 10 if split not in few else np.nan
            row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.03}
        rows.append(row)
    return pd.DataFrame(rows)


def gaps(count=18, kept=12):
    tables = [
        pd.DataFrame(
            {
                "network": network,
                "epoch": range(1, count + 1),
                "phase": "scratch",
                "loss_gap": np.linspace(-0.2, 0.1, count) + shift,
                "auroc_gap": np.linspace(-0.1, 0.05, count) + shift,
                "best": [int(epoch == kept) for epoch in range(1, count + 1)],
            }
        )
        for network, shift in zip(NETWORKS, (0, 0.01), strict=True)
    ]
    return pd.concat(tables, ignore_index=True)[list(epochs.COLUMNS)]


def curve(fractions=(0.25, 0.5, 1.0), patients=9506, **changed):
    rows = [
        {
            "fraction": fraction,
            "patients": int(fraction * patients),
            "studies": 9,
            "images": 99,
            "test_studies": 1199,
            "test_abnormal": 533,
            "test_patients": 783,
            "threshold": 0.5,
            **{
                f"{name}{end}": 0.5 + fraction / 5 + shift
                for name in ("auroc", "kappa")
                for end, shift in (("", 0), ("_low", -0.1), ("_high", 0.04))
            },
        }
        | changed
        for fraction in fractions
    ]
    return pd.DataFrame(rows, columns=list(size_curve.COLUMNS))


def line(axis, label):
    [found] = [one for one in axis.lines if one.get_label() == label]
    return found


def test_every_split_stands_with_its_number_and_its_interval():
    table = splits()
    axes = overfitting_panels(table, gaps(), curve(), "cnn").axes[:2]
    for axis, measure in zip(axes, ("auroc", "kappa"), strict=True):
        assert [tick.get_text().split("\n")[0] for tick in axis.get_xticklabels()] == SPLITS
        for number, network in enumerate(NETWORKS):
            rows = table[table["network"] == network]
            shown = line(axis, network)
            assert shown.get_ydata().tolist() == rows[measure].tolist()
            assert shown.get_color() == NETWORK_COLOURS[network]
            ends = [path.vertices[:, 1].tolist() for path in axis.collections[number].get_paths()]
            assert ends == rows[[f"{measure}_low", f"{measure}_high"]].to_numpy().tolist()


def test_the_gap_is_drawn_by_epoch_and_the_kept_epoch_is_marked():
    table = gaps(kept=12)
    axes = overfitting_panels(splits(), table, curve(), "cnn").axes[2:4]
    for axis, gap in zip(axes, ("loss_gap", "auroc_gap"), strict=True):
        marks = [one for one in axis.lines if one.get_label() == "kept"]
        assert len(marks) == 2
        for network, mark in zip(NETWORKS, marks, strict=True):
            rows = table[table["network"] == network]
            assert line(axis, network).get_ydata().tolist() == rows[gap].tolist()
            assert mark.get_xdata().tolist() == [12]
            assert mark.get_ydata().tolist() == rows[gap].iloc[11:12].tolist()
            assert mark.get_color() == NETWORK_COLOURS[network]


def test_the_size_curve_has_a_point_a_size_in_the_colour_of_its_network():
    table = curve()
    axes = overfitting_panels(splits(), gaps(), table, "densenet169").axes[4:]
    assert len(axes) == 2
    for axis, measure in zip(axes, ("auroc", "kappa"), strict=True):
        shown = line(axis, "curve")
        assert shown.get_xdata().tolist() == table["patients"].tolist()
        assert shown.get_ydata().tolist() == table[measure].tolist()
        assert shown.get_color() == NETWORK_COLOURS["densenet169"]


def test_without_fractions_the_figure_says_how_to_switch_the_curve_on():
    figure = overfitting_panels(splits(), gaps(), curve(()), "cnn")
    assert "is off:\nset learning_curve.fractions" in texts(figure)
    assert len(figure.axes) == 5


def test_what_has_too_few_patients_says_so_and_shows_no_number():
    undefined = {f"{name}{end}": np.nan for name in ("auroc", "kappa")
                 for end in ("", "_low", "_high")}  # fmt: skip
    figure = overfitting_panels(splits(few=("val",)), gaps(), curve(**undefined), "cnn")
    for axis in figure.axes[:2]:
        assert [text.get_text() for text in axis.texts].count("too few") == 2
    for axis in figure.axes[4:]:
        assert "too few test patients" in [text.get_text() for text in axis.texts]
    assert "nan" not in texts(figure) and "undefined" not in texts(figure)
    assert_legible(figure)


@pytest.mark.parametrize(
    ("sizes", "count", "kept"),
    [
        ((), 1, 1),
        ((0.05, 0.1, 0.25, 0.5, 1.0), 18, 18),
        ((0.5, 0.6, 0.7, 0.8, 0.9, 1.0), 60, 40),
    ],
)
def test_everything_can_be_read(sizes, count, kept):
    assert_legible(overfitting_panels(splits(True), gaps(count, kept), curve(sizes), "cnn"))


@pytest.mark.promise("B12")
def test_the_same_numbers_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, overfitting_panels(splits(), gaps(), curve(), "cnn"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

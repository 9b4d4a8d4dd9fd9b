import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts

from ulna.checks.occlusion import COLUMNS, SHOWN
from ulna.figures.names import NETWORK_COLOURS
from ulna.figures.occlusion import halves
from ulna.figures.style import write_png

WORDS = "No alarm: cnn needs the centre, and is not above chance by the frame alone. " * 3
PICTURES = {name: np.full((48, 48), 80 * k, np.uint8) for k, name in enumerate(SHOWN)}


def scores(**values) -> pd.DataFrame:
    """Made-up numbers, another for each row; `values` replace columns."""
    rows = [(network, shown) for network in NETWORK_COLOURS for shown in SHOWN]
    table = pd.DataFrame(rows, columns=["network", "shown"])
    table = table.assign(n=1199, abnormal=480, patients=783)
    for metric, start in (("auroc", 0.5), ("kappa", 0.1)):
        value = start + 0.05 * np.arange(len(rows))
        table[metric], table[f"{metric}_low"] = value, value - 0.1
        table[f"{metric}_high"] = value + 0.15
        for end in ("", "_low", "_high"):
            table[f"{metric}_drop{end}"] = 0.1
    return table.assign(**values)[list(COLUMNS)]


def draw(**values):
    return halves(scores(**values), PICTURES, WORDS)


def test_each_dot_and_interval_stands_at_its_numbers_in_its_row():
    table = scores()
    *_, auroc, kappa = draw().axes
    for metric, axis in (("auroc", auroc), ("kappa", kappa)):
        marks = [line for line in axis.lines if line.get_color() in NETWORK_COLOURS.values()]
        for row in table.to_dict("records"):
            line, dot = marks[:2]
            marks = marks[2:]
            ends = [row[f"{metric}_low"], row[f"{metric}_high"]]
            assert list(line.get_xdata()) == ends and list(dot.get_xdata()) == [row[metric]]
            assert line.get_color() == dot.get_color() == NETWORK_COLOURS[row["network"]]
            places = {round(place) for place in (*line.get_ydata(), *dot.get_ydata())}
            assert places == {list(SHOWN).index(row["shown"])}
        assert not marks


def test_chance_is_marked_and_n_is_said():
    figure = draw()
    *_, auroc, kappa = figure.axes
    assert list(auroc.lines[0].get_xdata()) == [0.5, 0.5]
    assert list(kappa.lines[0].get_xdata()) == [0, 0]
    assert "n = 1,199 test studies, 480 abnormal" in texts(figure)
    assert "0.500 (0.400 to 0.650)" in texts(figure)


def test_each_picture_stands_under_what_it_shows():
    axes = draw().axes[:3]
    for axis, (name, words) in zip(axes, SHOWN.items(), strict=True):
        assert axis.get_title() == words
        np.testing.assert_array_equal(axis.images[0].get_array(), PICTURES[name])


def test_too_few_is_a_word_and_not_a_number():
    nothing = {f"{m}{end}": np.nan for m in ("auroc", "kappa") for end in ("", "_low", "_high")}
    figure = draw(**nothing)
    assert texts(figure).count("too few") == 12
    assert_legible(figure)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_no_text_is_cut_or_lies_on_another_and_no_number_outside(value):
    assert_legible(draw())
    figure = draw(
        **{f"{m}{end}": value for m in ("auroc", "kappa") for end in ("", "_low", "_high")}
    )
    assert_legible(figure)
    for axis in figure.axes[3:]:
        low, high = axis.get_xlim()
        assert low < value < high


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, draw())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

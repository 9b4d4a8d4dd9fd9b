"""The reliability diagrams show the numbers of the table and say what they come to."""

import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts
from matplotlib.colors import to_rgba

from ulna.figures.calibration import reliability_diagrams
from ulna.figures.names import NETWORK_COLOURS
from ulna.figures.style import write_png
from ulna.judging import conclusions
from ulna.judging.calibration import summarize
from ulna.judging.reliability import reliability_curves

ARCHS = ("cnn", "densenet169")
BALANCED = np.arange(200) % 2


def judged(n=1199, seed=0, val=BALANCED):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    probabilities = 1 / (1 + np.exp(-rng.normal(2 * labels - 1, 2)))
    val_probabilities = 1 / (1 + np.exp(-rng.normal(2 * val - 1, 2)))
    summary = summarize(val, val_probabilities, labels, probabilities)
    return reliability_curves(labels, probabilities, summary["temperature"]), summary


def drawn(curve, summary):
    return reliability_diagrams(dict.fromkeys(ARCHS, curve), dict.fromkeys(ARCHS, summary))


def test_each_network_has_its_points_before_and_after_in_its_colour():
    curve, summary = judged()
    figure = drawn(curve, summary)
    for axis, arch in zip(figure.axes[:2], ARCHS, strict=True):
        diagonal, before, after = axis.lines
        assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
        for line, scaling in ((before, "before"), (after, "after")):
            points = curve.loc[curve["scaling"] == scaling, ["probability", "share_abnormal"]]
            assert line.get_xydata().tolist() == points.to_numpy().tolist()
            assert line.get_color() == NETWORK_COLOURS[arch]
        assert before.get_markerfacecolor() == "white"
        assert before.get_linestyle() != after.get_linestyle()


def test_intervals_and_numbers_of_studies_stand_at_the_points_after_scaling():
    curve, summary = judged()
    after = curve[curve["scaling"] == "after"]
    figure = drawn(curve, summary)
    diagram, counts = figure.axes[0], figure.axes[2]
    bars = diagram.collections[0].get_segments()
    assert [bar[:, 1].tolist() for bar in bars] == after[["low", "high"]].to_numpy().tolist()
    assert [bar[0, 0] for bar in bars] == after["probability"].tolist()
    sizes = counts.collections[0].get_segments()
    assert [size[:, 1].tolist() for size in sizes] == [[0, n] for n in after["n"]]
    assert to_rgba(NETWORK_COLOURS["cnn"]) == pytest.approx(counts.collections[0].get_color()[0])


@pytest.mark.promise("E30")
def test_the_verdict_stands_under_the_figure():
    curve, summary = judged()
    words = texts(drawn(curve, summary)).replace("\n", " ")
    for arch in ARCHS:
        assert conclusions.calibration(summary, arch) in words


def test_the_figure_says_temperature_error_and_sizes():
    curve, summary = judged()
    words = texts(drawn(curve, summary))
    assert f"n = 1,199 test studies, {summary['abnormal']} abnormal" in words
    ece = " → ".join(f"{summary[name]['ece']:.3f}" for name in ("before", "after"))
    assert f"T {summary['temperature']:.2f}, ECE {ece}, 10 bins of 119 to 120 studies" in words


def test_without_a_temperature_the_curve_before_it_has_the_intervals():
    curve, summary = judged(n=29, val=np.ones(20, int))
    # As JSON gives them back.
    summary |= {"temperature": None, "after": dict.fromkeys(summary["after"])}
    figure = drawn(curve, summary)
    assert_legible(figure)
    words = texts(figure)
    assert "T undefined, ECE 0." in words and "→ undefined, 1 bin of 29 studies" in words
    [bar] = figure.axes[0].collections[0].get_segments()
    assert bar[:, 1].tolist() == curve[["low", "high"]].iloc[0].tolist()


@pytest.mark.parametrize("n", [20, 73, 1199, 20_000])
def test_no_text_is_cut_or_lies_on_another(n):
    assert_legible(drawn(*judged(n)))


def test_points_that_lie_close_together_leave_the_text_legible():
    curve, summary = judged()
    assert_legible(drawn(curve.assign(probability=curve["probability"] / 1000), summary))


def test_one_network_is_drawn():
    curve, summary = judged()
    figure = reliability_diagrams({"cnn": curve}, {"cnn": summary})
    assert_legible(figure)
    assert len(figure.axes) == 2


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    curve, summary = judged()
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, drawn(curve, summary))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_table_reads_back_from_csv_and_is_drawn(tmp_path):
    curve, summary = judged()
    curve.to_csv(tmp_path / "reliability.csv", index=False)
    assert_legible(drawn(pd.read_csv(tmp_path / "reliability.csv"), summary))

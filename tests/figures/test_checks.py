import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts
from matplotlib.colors import to_rgba

from ulna.checks import shortcuts
from ulna.checks.shortcuts import SCORE_COLUMNS, SHOWN
from ulna.evaluation.conclusions import BASELINES
from ulna.evaluation.localization import OUTCOMES
from ulna.figures.checks import BOX_COLOUR, STRONGEST, dots_and_intervals, halves, saliency_gallery
from ulna.figures.style import INK, colour

REPOSITORY = Path(__file__).resolve().parents[2]
WORDS = "Alarm. " + "Labels can be predicted without a look at bone, from corners and border. " * 4
STUDY = {
    "cnn": {"auroc": 0.855, "auroc_low": 0.754, "auroc_high": 0.948},
    "densenet169": {"auroc": 0.583, "auroc_low": 0.441, "auroc_high": 0.708},
}
ENDS = ("", "_low", "_high")


def scores(**values) -> pd.DataFrame:
    """Made-up numbers, another for each baseline; `values` replace columns."""
    auroc = np.linspace(0.4, 0.7, len(BASELINES))
    table = pd.DataFrame(
        {
            "baseline": list(BASELINES), "auroc": auroc, "auroc_low": auroc - 0.1,
            "auroc_high": auroc + 0.15, "kappa": 0.1, "kappa_low": 0.0, "kappa_high": 0.2,
            "n": 1199, "abnormal": 480, "patients": 783, "train_auroc": auroc - 0.02,
            "train_auroc_low": auroc - 0.05, "train_auroc_high": auroc + 0.04,
            "informative": False, "flag": False, "note": "",
        }
    ).assign(**values)  # fmt: skip
    return table[list(SCORE_COLUMNS)]


def test_each_baseline_and_network_stands_at_its_numbers():
    table = scores()
    figure = dots_and_intervals(table, STUDY, WORDS)
    [axis] = figure.axes
    chance, *drawn = axis.lines
    assert list(chance.get_xdata()) == [0.5, 0.5]
    drawn = iter(drawn)
    for place, row in enumerate(table.to_dict("records")):
        for prefix in ("", "train_"):
            line, dot = next(drawn), next(drawn)
            ends = [row[f"{prefix}auroc{end}"] for end in ENDS[1:]]
            assert list(line.get_xdata()) == ends
            assert list(dot.get_xdata()) == [row[f"{prefix}auroc"]]
            assert {round(y) for y in (*line.get_ydata(), *dot.get_ydata())} == {place}
    for arch, found in STUDY.items():
        line, dot = next(drawn), next(drawn)
        assert list(dot.get_xdata()) == [found["auroc"]]
        assert dot.get_color() == line.get_color() == colour(arch)
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == [*BASELINES.values(), "CNN", "DenseNet169"]
    assert "n = 1,199 test studies, 480 abnormal" in texts(figure)
    assert "0.400 (0.300 to 0.550)" in texts(figure)


def test_only_what_is_flagged_is_called_an_alarm():
    flags = [name == "corners_and_border" for name in BASELINES]
    [axis] = dots_and_intervals(scores(flag=flags), STUDY, WORDS).axes
    [alarm] = [text for text in axis.texts if text.get_text().endswith("alarm")]
    assert alarm.xy[1] == flags.index(True)
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    assert [dot.get_color() == INK for dot in dots] == flags


def test_too_few_baselines_are_a_word_and_a_table_that_is_read_back_has_no_note():
    nothing = dict.fromkeys(("auroc", "auroc_low", "auroc_high"))
    few = scores(**dict.fromkeys(nothing, np.nan), note="too_few")
    figure = dots_and_intervals(few, dict.fromkeys(STUDY, nothing), WORDS)
    assert texts(figure).count("too few") == len(BASELINES)
    assert texts(figure).count("undefined") == len(STUDY)
    assert_legible(figure)
    assert_legible(dots_and_intervals(scores(note=np.nan, flag=1), STUDY, WORDS))


PICTURES = {name: np.full((48, 48), 80 * k, np.uint8) for k, name in enumerate(SHOWN)}


def half_scores(**values) -> pd.DataFrame:
    """Made-up numbers, another for each row; `values` replace columns."""
    rows = [(network, shown) for network in STUDY for shown in SHOWN]
    table = pd.DataFrame(rows, columns=["network", "shown"])
    table = table.assign(n=1199, abnormal=480, patients=783)
    for metric, start in (("auroc", 0.5), ("kappa", 0.1)):
        value = start + 0.05 * np.arange(len(rows))
        for end, shift in zip(ENDS, (0, -0.1, 0.15), strict=True):
            table[f"{metric}{end}"], table[f"{metric}_drop{end}"] = value + shift, 0.1
    return table.assign(**values)[list(shortcuts.OCCLUSION_COLUMNS)]


def test_each_half_stands_at_its_numbers_beside_its_image():
    table = half_scores()
    figure = halves(table, PICTURES, WORDS)
    *pictures, auroc, kappa = figure.axes
    for axis, name in zip(pictures, SHOWN, strict=True):
        assert (axis.images[0].get_array() == PICTURES[name]).all()
    for metric, axis, chance in (("auroc", auroc, 0.5), ("kappa", kappa, 0)):
        assert list(axis.lines[0].get_xdata()) == [chance, chance]
        ours = {colour(network) for network in STUDY}
        marks = [line for line in axis.lines if line.get_color() in ours]
        for row, line, dot in zip(table.to_dict("records"), marks[::2], marks[1::2], strict=True):
            value, *ends = (row[f"{metric}{end}"] for end in ENDS)
            assert list(line.get_xdata()) == ends and list(dot.get_xdata()) == [value]
            assert line.get_color() == dot.get_color() == colour(row["network"])
            places = {round(place) for place in (*line.get_ydata(), *dot.get_ydata())}
            assert places == {list(SHOWN).index(row["shown"])}
    assert "n = 1,199 test studies, 480 abnormal" in texts(figure)
    assert "0.500 (0.400 to 0.650)" in texts(figure)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0, np.nan])
def test_halves_can_be_read_whatever_their_numbers(value):
    numbers = {f"{metric}{end}": value for metric in ("auroc", "kappa") for end in ENDS}
    figure = halves(half_scores(**numbers), PICTURES, WORDS)
    assert_legible(figure)
    assert texts(figure).count("too few") == (12 if np.isnan(value) else 0)
    for axis in figure.axes[3:]:
        low, high = axis.get_xlim()
        assert np.isnan(value) or low < value < high


ALL = [
    (part, label, outcome)
    for part in ("ELBOW", "SHOULDER")
    for label, outcome in zip((1, 0, 1, 0), OUTCOMES, strict=True)
]


def gallery(*cells, box=(np.nan,) * 4):
    rows = [(part, label, outcome, 0.25, 4.0, 6.0, *box) for part, label, outcome in cells]
    columns = ["body_part", "label", "outcome", "probability", "map_x_px", "map_y_px"]
    return pd.DataFrame(rows, columns=[*columns, "x0", "y0", "x1", "y1"])


def shown(table, maps=True, arch="cnn"):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (len(table), 8, 8), np.uint8)
    values = rng.normal(size=pixels.shape) if maps else None
    return saliency_gallery(arch, table, pixels, values, "Result."), pixels, values


@pytest.mark.parametrize("maps", [True, False])
def test_a_gallery_can_be_read(maps):
    assert_legible(shown(gallery(*ALL, box=(1, 1, 3, 3)), maps)[0])
    many = gallery(*((f"PART{k}", 0, OUTCOMES[k % 4]) for k in range(7)))
    assert_legible(shown(many, maps, "densenet169")[0])


def test_every_image_lies_under_its_map_with_its_highest_point_and_box():
    figure, pixels, maps = shown(gallery(*ALL, box=(1, 2, 4, 6)))
    for axis, image, one in zip(figure.axes, pixels, maps, strict=True):
        below, above = (np.asarray(layer.get_array()) for layer in axis.images)
        assert (below == image).all()
        orange = above[..., 0] > 0.5
        assert (orange == (one > 0)).all()
        [point] = axis.lines
        assert (point.get_xdata()[0], point.get_ydata()[0]) == (3.5, 5.5)
        [box] = axis.patches
        assert box.get_bbox().extents.tolist() == [0.5, 1.5, 3.5, 5.5]
        assert box.get_edgecolor() == to_rgba(BOX_COLOUR)
    assert "ground-truth box" in texts(figure)
    assert "ground-truth box" not in texts(shown(gallery(*ALL))[0])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["abnormal, p 0.250", "normal, p 0.250"] * 4


def test_opacity_means_the_same_in_all_images():
    black = np.zeros((8, 8, 8), np.uint8)
    maps = np.ones((8, 8, 8)) * np.arange(1, 9)[:, None, None]
    for values, expected in ((maps, STRONGEST * np.arange(1, 9) / 8), (0 * maps, 0)):
        figure = saliency_gallery("cnn", gallery(*ALL), black, values, "Result.")
        opacity = [np.asarray(axis.images[1].get_array())[0, 0, 3] for axis in figure.axes]
        np.testing.assert_allclose(opacity, expected)


@pytest.mark.promise("E32")
def test_maps_that_failed_are_not_drawn_and_the_figure_says_why():
    table = gallery(*ALL).assign(map_x_px=np.nan, map_y_px=np.nan)
    figure, pixels, _ = shown(table, maps=False)
    for axis, image in zip(figure.axes, pixels, strict=True):
        [layer] = axis.images
        assert (np.asarray(layer.get_array()) == image).all()
        assert not axis.lines
    assert "not shown" in texts(figure) and "Result." in texts(figure)


def test_an_outcome_that_does_not_occur_is_called_none():
    figure, _, _ = shown(gallery(*ALL[:3], *ALL[4:]))
    assert texts(figure).count("none") == 1
    assert len(figure.axes) == 8


def test_drawing_imports_neither_tensorflow_nor_pyplot_and_only_plot_draws():
    heavy = {"tensorflow", "keras", "matplotlib.pyplot"}
    others = (
        "audit, baselines, compare, cross_part, ensemble, evaluate, occlusion, overfitting, report"
    )
    command = (
        f"import sys\nfrom stages import {others}\nprint('matplotlib' in sys.modules)\n"
        f"import stages.plot\nprint({heavy} & {{*sys.modules}})"
    )
    answer = subprocess.run(
        [sys.executable, "-c", command], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert answer.stdout.split() == ["False", "set()"]

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts
from matplotlib.colors import to_rgba

from ulna.checks import shortcuts
from ulna.checks.shortcuts import SCORE_COLUMNS
from ulna.evaluation import localization
from ulna.evaluation.conclusions import BASELINES
from ulna.evaluation.conclusions import OCCLUSIONS as SHOWN
from ulna.figures.checks import (
    BOX_COLOUR,
    CHANCE,
    OUTCOMES,
    STRONGEST,
    baseline_auroc,
    choose_examples,
    draw,
    occlusion_scores,
    saliency_gallery,
)
from ulna.figures.checks import SHOWN as EXAMPLES_SHOWN
from ulna.figures.style import INK, colour

REPOSITORY = Path(__file__).resolve().parents[2]
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


def test_each_baseline_and_network_is_at_its_numbers():
    table = scores()
    figure = baseline_auroc(table, STUDY)
    [axis] = figure.axes
    chance, *drawn = axis.lines
    assert list(chance.get_xdata()) == [CHANCE, CHANCE]
    drawn = iter(drawn)
    for place, row in enumerate(table.to_dict("records")):
        for prefix in ("", "train_"):
            line, dot = next(drawn), next(drawn)
            ends = [row[f"{prefix}auroc{end}"] for end in ENDS[1:]]
            assert list(line.get_xdata()) == ends
            assert list(dot.get_xdata()) == [row[f"{prefix}auroc"]]
            assert {round(y) for y in (*line.get_ydata(), *dot.get_ydata())} == {place}
    for arch, score in STUDY.items():
        line, dot = next(drawn), next(drawn)
        assert list(dot.get_xdata()) == [score["auroc"]]
        assert dot.get_color() == line.get_color() == colour(arch)
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == [*BASELINES.values(), "CNN", "DenseNet169"]
    assert "n = 1,199 test studies, 480 abnormal" in texts(figure)
    assert "0.400 (0.300 to 0.550)" in texts(figure)


def test_only_flagged_baselines_are_an_alarm():
    flags = [name == "corners_and_border" for name in BASELINES]
    [axis] = baseline_auroc(scores(flag=flags), STUDY).axes
    [alarm] = [text for text in axis.texts if text.get_text().endswith("alarm")]
    assert alarm.xy[1] == flags.index(True)
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    assert [dot.get_color() == INK for dot in dots] == flags


def test_too_few_is_written_and_an_empty_note_may_be_nan():
    nothing = dict.fromkeys(("auroc", "auroc_low", "auroc_high"))
    few = scores(**dict.fromkeys(nothing, np.nan), note="too_few")
    figure = baseline_auroc(few, dict.fromkeys(STUDY, nothing))
    assert texts(figure).count("too few") == len(BASELINES)
    assert texts(figure).count("undefined") == len(STUDY)
    assert_legible(figure)
    assert_legible(baseline_auroc(scores(note=np.nan, flag=1), STUDY))


EXAMPLES = {name: np.full((48, 48), 80 * k, np.uint8) for k, name in enumerate(SHOWN)}


def made_up_occlusion(**values) -> pd.DataFrame:
    """Made-up numbers, another for each row; `values` replace columns."""
    rows = [(network, shown) for network in STUDY for shown in SHOWN]
    table = pd.DataFrame(rows, columns=["network", "shown"])
    table = table.assign(n=1199, abnormal=480, patients=783)
    for metric, start in (("auroc", 0.5), ("kappa", 0.1)):
        value = start + 0.05 * np.arange(len(rows))
        for end, shift in zip(ENDS, (0, -0.1, 0.15), strict=True):
            table[f"{metric}{end}"], table[f"{metric}_drop{end}"] = value + shift, 0.1
    return table.assign(**values)[list(shortcuts.OCCLUSION_COLUMNS)]


def test_each_occlusion_is_at_its_numbers_beside_its_image():
    table = made_up_occlusion()
    figure = occlusion_scores(table, EXAMPLES)
    *examples, axis = figure.axes
    for below, name in zip(examples, SHOWN, strict=True):
        assert (below.images[0].get_array() == EXAMPLES[name]).all()
    assert list(axis.lines[0].get_xdata()) == [CHANCE, CHANCE]
    ours = {colour(network) for network in STUDY}
    marks = [line for line in axis.lines if line.get_color() in ours]
    for row, line, dot in zip(table.to_dict("records"), marks[::2], marks[1::2], strict=True):
        value, *ends = (row[f"auroc{end}"] for end in ENDS)
        assert list(line.get_xdata()) == ends and list(dot.get_xdata()) == [value]
        assert line.get_color() == dot.get_color() == colour(row["network"])
        places = {round(place) for place in (*line.get_ydata(), *dot.get_ydata())}
        assert places == {list(SHOWN).index(row["shown"])}
    assert "n = 1,199 test studies, 480 abnormal" in texts(figure)
    assert "0.500 (0.400 to 0.650)" in texts(figure)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0, np.nan])
def test_occlusion_scores_are_legible_for_any_numbers(value):
    numbers = {f"{metric}{end}": value for metric in ("auroc", "kappa") for end in ENDS}
    figure = occlusion_scores(made_up_occlusion(**numbers), EXAMPLES)
    assert_legible(figure)
    assert texts(figure).count("too few") == (6 if np.isnan(value) else 0)
    low, high = figure.axes[-1].get_xlim()
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


def shown(table, arch="cnn"):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (len(table), 8, 8), np.uint8)
    values = rng.normal(size=pixels.shape)
    return saliency_gallery(arch, table, pixels, values), pixels, values


def test_a_gallery_is_legible():
    assert_legible(shown(gallery(*ALL, box=(1, 1, 3, 3)))[0])
    one = gallery(*ALL[:1])
    assert_legible(shown(one, "densenet169")[0])


def test_every_image_is_shown_plain_and_under_its_map_with_its_highest_point_and_box():
    figure, pixels, maps = shown(gallery(*ALL, box=(1, 2, 4, 6)))
    for plain, mapped, image, one in zip(
        figure.axes[::2], figure.axes[1::2], pixels, maps, strict=True
    ):
        [alone] = plain.images
        below, above = (np.asarray(layer.get_array()) for layer in mapped.images)
        assert (alone.get_array() == image).all() and (below == image).all()
        orange = above[..., 0] > 0.5
        assert (orange == (one > 0)).all()
        assert not plain.lines
        [point] = mapped.lines
        assert (point.get_xdata()[0], point.get_ydata()[0]) == (3.5, 5.5)
        for axis in (plain, mapped):
            [box] = axis.patches
            assert box.get_bbox().extents.tolist() == [0.5, 1.5, 3.5, 5.5]
            assert box.get_edgecolor() == to_rgba(BOX_COLOUR)
    assert "ground-truth box" in texts(figure)
    assert "ground-truth box" not in texts(shown(gallery(*ALL))[0])
    assert "ELBOW: true positive, p 0.25" in texts(figure)


def test_the_same_opacity_is_the_same_strength_in_all_images():
    black = np.zeros((8, 8, 8), np.uint8)
    maps = np.ones((8, 8, 8)) * np.arange(1, 9)[:, None, None]
    for values, expected in ((maps, STRONGEST * np.arange(1, 9) / 8), (0 * maps, 0)):
        figure = saliency_gallery("cnn", gallery(*ALL), black, values)
        opacity = [np.asarray(axis.images[1].get_array())[0, 0, 3] for axis in figure.axes[1::2]]
        np.testing.assert_allclose(opacity, expected)


def test_outcomes_take_turns_and_the_surest_of_each_is_first():
    rows = [(f"{k}.png", outcome, p) for outcome in OUTCOMES[:2] for k, p in enumerate((0.7, 0.9))]
    rows += [("a.png", OUTCOMES[2], 0.4), ("b.png", OUTCOMES[2], 0.1)]
    table = pd.DataFrame(rows, columns=["image", "outcome", "probability"])
    chosen = choose_examples(pd.concat([table, table.assign(image="z")], ignore_index=True))
    assert len(chosen) == EXAMPLES_SHOWN
    assert list(chosen["outcome"]) == [name for name in OUTCOMES[:3] for _ in range(2)]
    assert list(chosen["probability"]) == [0.9, 0.9, 0.9, 0.9, 0.1, 0.1]


def drawn(conclusion, maps):
    table = gallery(*ALL).assign(image=[f"{k}.png" for k in range(len(ALL))])
    study = STUDY["cnn"] | {"conclusion": conclusion}
    audit = pd.DataFrame({"finding": ["low_contrast", "colour"], "image": ["0.png", "1.png"]})
    tables = {"baselines": scores(), "occlusion": made_up_occlusion(), "audit": audit}
    chosen = []

    def pixels_of(rows):
        chosen.extend(rows["image"])
        return np.zeros((len(rows), 8, 8), np.uint8)

    figures = draw(["cnn"], tables, {"cnn": {"study": study}}, EXAMPLES,
                   {"cnn": (table, maps)}, pixels_of)  # fmt: skip
    return figures, chosen


@pytest.mark.promise("E32")
def test_maps_are_drawn_unless_they_failed_their_test_or_the_network_is_at_chance():
    maps = np.ones((len(ALL), 8, 8))
    figures, chosen = drawn("above_chance", maps)
    assert "cnn/saliency" in figures
    # A blank image says nothing of the network; a colour file is as good as any.
    assert "0.png" not in chosen and "1.png" in chosen
    assert "cnn/saliency" not in drawn("no_better_than_chance", maps)[0]
    assert "cnn/saliency" not in drawn("above_chance", None)[0]
    assert "cnn/saliency" in drawn("too_few", maps)[0]


def test_outcomes_and_occlusions_are_those_of_the_tables():
    assert OUTCOMES == localization.OUTCOMES
    assert tuple(SHOWN) == shortcuts.SHOWN
    assert CHANCE == shortcuts.CHANCE


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

import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts

from ulna.checks.baselines import BASELINES, SCORE_COLUMNS
from ulna.figures.baselines import dots_and_intervals
from ulna.figures.names import BASELINES as TITLES
from ulna.figures.names import NETWORK_COLOURS
from ulna.figures.style import INK, write_png

WORDS = "Alarm: " + "labels can be told without a look at bone, from corners and border. " * 4
NETWORKS = {
    "cnn": {"auroc": 0.855, "auroc_low": 0.754, "auroc_high": 0.948},
    "densenet169": {"auroc": 0.583, "auroc_low": 0.441, "auroc_high": 0.708},
}
NOTHING = {"auroc": None, "auroc_low": None, "auroc_high": None}


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


def draw(table=None, networks=NETWORKS):
    return dots_and_intervals(scores() if table is None else table, networks, WORDS)


def test_each_dot_and_interval_stands_at_its_numbers():
    table = scores()
    [axis] = draw(table).axes
    drawn = iter(axis.lines[1:])  # after chance
    for place, row in enumerate(table.to_dict("records")):
        for prefix in ("", "train_"):
            line, dot = next(drawn), next(drawn)
            assert list(line.get_xdata()) == [
                row[f"{prefix}auroc_{end}"] for end in ("low", "high")
            ]
            assert list(dot.get_xdata()) == [row[f"{prefix}auroc"]]
            assert {round(y) for y in (*line.get_ydata(), *dot.get_ydata())} == {place}
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == [*(TITLES[name] for name in BASELINES), "CNN", "DenseNet169"]


def test_networks_stand_below_in_their_colours():
    [axis] = draw().axes
    for place, (arch, found) in enumerate(NETWORKS.items(), start=len(BASELINES)):
        [dot] = [line for line in axis.lines if list(line.get_ydata()) == [place]]
        assert list(dot.get_xdata()) == [found["auroc"]]
        assert dot.get_color() == NETWORK_COLOURS[arch]


def test_chance_is_marked_and_n_is_said():
    figure = draw()
    assert list(figure.axes[0].lines[0].get_xdata()) == [0.5, 0.5]
    assert "n = 1,199 test studies, 480 abnormal" in texts(figure)
    assert "0.400 (0.300 to 0.550)" in texts(figure)


def test_only_what_is_flagged_is_called_an_alarm():
    flags = [name == "corners_and_border" for name in BASELINES]
    [axis] = draw(scores(flag=flags, informative=True)).axes
    [alarm] = [text for text in axis.texts if text.get_text().endswith("alarm")]
    assert alarm.xy[1] == flags.index(True)
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    assert [dot.get_color() == INK for dot in dots] == flags
    assert not [text for text in draw().axes[0].texts if text.get_text().endswith("alarm")]


def test_too_few_is_a_word_and_not_a_number():
    few = scores(auroc=np.nan, auroc_low=np.nan, auroc_high=np.nan, note="too_few")
    figure = draw(few, dict.fromkeys(NETWORKS, NOTHING))
    assert texts(figure).count("too few") == len(BASELINES)
    assert texts(figure).count("undefined") == len(NETWORKS)
    assert_legible(figure)


@pytest.mark.parametrize("flag", [True, False])
def test_no_text_is_cut_or_lies_on_another(flag):
    assert_legible(draw(scores(flag=flag)))
    assert_legible(draw(scores(auroc=1.0, auroc_low=1.0, auroc_high=1.0, flag=flag)))


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, draw())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

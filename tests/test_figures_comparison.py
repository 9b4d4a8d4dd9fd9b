import numpy as np
import pandas as pd
from figure_reading import assert_legible, texts

from ulna.figures.comparison import METRICS as SHOWN
from ulna.figures.comparison import forest
from ulna.figures.style import write_png
from ulna.judging.bootstrap import METRICS
from ulna.judging.comparison import LEVELS, all_pairs

PAIRS = all_pairs(["cnn", "densenet169"])

NAN = float("nan")


def differences(pairs=PAIRS, **values) -> pd.DataFrame:
    """Made-up numbers, a different one for each line; `values` replace columns."""
    rows = [
        {"first": first, "second": second, "level": level, "metric": metric,
         "n": 1199 if level == "study" else 3197, "abnormal": 480, "patients": 783}
        for first, second in pairs for level in LEVELS for metric in METRICS
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table["difference"] = np.linspace(-0.5, 0.6, len(table))
    table["low"], table["high"] = table["difference"] - 0.1, table["difference"] + 0.2
    return table.assign(**values)


def test_every_metric_of_the_bootstrap_is_shown():
    assert sorted(SHOWN) == sorted(METRICS)


def test_each_interval_and_dot_stands_at_its_numbers_in_the_row_of_its_metric():
    table = differences()
    axes = forest(table).axes
    rows = [label.get_text() for label in axes[0].get_yticklabels()]
    for axis, (first, second) in zip(axes, PAIRS, strict=True):
        found = table[(table["first"] == first) & (table["second"] == second)]
        drawn = axis.lines[len(METRICS) :]  # after the line at zero and those between rows
        for line, dot, expected in zip(drawn[::2], drawn[1::2], found.itertuples(), strict=True):
            assert list(line.get_xdata()) == [expected.low, expected.high]
            assert list(dot.get_xdata()) == [expected.difference]
            assert {*line.get_ydata()} == {*dot.get_ydata()}
            assert rows[round(dot.get_ydata()[0])] == SHOWN[expected.metric]
            assert dot.get_marker() == {"study": "o", "image": "s"}[expected.level]


def test_zero_is_marked_and_in_the_middle():
    for axis in forest(differences()).axes:
        assert axis.lines[0].get_xdata() == [0, 0]
        left, right = axis.get_xlim()
        assert left == -right and right > 0.8  # the widest interval ends at 0.8


def test_the_figure_says_who_is_better_on_which_side_and_n():
    figure = forest(differences())
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "CNN − DenseNet169", "ensemble − CNN", "ensemble − DenseNet169",
    ]  # fmt: skip
    assert figure.axes[1].get_xlabel() == "better: ← CNN | ensemble →"
    words = texts(figure)
    assert "n = 1,199 studies (3,197 images) of 783 patients" in words
    assert "95% interval" in words


def test_numbers_of_studies_are_written_out():
    table = differences()
    auroc = table[(table["metric"] == "auroc") & (table["level"] == "study")].iloc[0]
    words = f"{auroc.difference:.3f} ({auroc.low:.3f} to {auroc.high:.3f})".replace("-", "−")
    assert words in texts(forest(table))


def test_undefined_differences_are_words():
    undefined = differences(difference=NAN, low=NAN, high=NAN)
    words = texts(forest(undefined))
    assert words.count("undefined") == 3 * len(METRICS)
    assert words.count("too few patients, or one class only") == 3
    assert_legible(forest(undefined))
    no_interval = texts(forest(differences(difference=0.25, low=NAN, high=NAN)))
    assert no_interval.count("0.250 (no interval)") == 3 * len(METRICS)
    assert "too few" not in no_interval


def test_differences_of_nothing_are_drawn():
    assert_legible(forest(differences(difference=0.0, low=0.0, high=0.0)))


def test_no_text_is_cut_or_lies_on_another():
    assert_legible(forest(differences()))
    assert_legible(forest(differences(difference=-1.234, low=-1.999, high=-1.111)))
    assert_legible(forest(differences(PAIRS[:1])))


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, forest(differences()))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

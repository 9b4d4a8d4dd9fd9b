import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts

from ulna.evaluation import REFERENCE_NOTE
from ulna.evaluation.calibration import reliability_curves, summarize_calibration
from ulna.evaluation.comparison import OVERALL, read_reference
from ulna.figures.results import (
    confusion_matrices,
    reliability_diagrams,
    roc_and_precision_recall,
    scores_by_body_part,
    scores_by_finding,
)
from ulna.figures.style import PAPER, PUBLISHED, colour

NAN = float("nan")
ARCHS = ("cnn", "densenet169")
PARTS = ["ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST"]

SCORES = {
    "n": 1199, "abnormal": 480, "accuracy": 0.8, "precision": 0.75, "recall": 0.7,
    "specificity": 0.9, "f1": 0.72, "kappa": 0.61,
    "kappa_low": 0.55, "kappa_high": 0.66, "auroc": 0.875, "auroc_low": 0.84, "auroc_high": 0.9,
    "auprc": 0.812, "threshold": 0.4,
}  # fmt: skip
UNDEFINED = dict.fromkeys(SCORES) | {"n": 30, "abnormal": 0, "accuracy": 1.0, "threshold": 0.5}

ROC = pd.DataFrame({"false_positive_rate": [0, 0.1, 1], "true_positive_rate": [0, 0.7, 1]})
PRECISION_RECALL = pd.DataFrame({"recall": [0.2, 0.7, 1], "precision": [1, 0.75, 0.4]})


def each(value, archs=ARCHS):
    return dict.fromkeys(archs, value)


def curves(scores=SCORES, roc=ROC, precision_recall=PRECISION_RECALL):
    return roc_and_precision_recall(each(roc), each(precision_recall), each(scores))


def test_curves_run_through_the_points_of_the_tables():
    figure = curves()
    left, right = figure.axes
    for line in (left.lines[0], left.lines[2]):
        assert line.get_xydata().tolist() == [[0, 0], [0.1, 0.7], [1, 1]]
    # Average precision is a sum of steps: each precision holds from the recall before it on.
    step = right.lines[0]
    assert step.get_drawstyle() == "steps-pre"
    assert step.get_xydata().tolist() == [[0, 1], [0.2, 1], [0.7, 0.75], [1, 0.4]]
    area = np.sum(np.diff(step.get_xdata()) * step.get_ydata()[1:])
    assert area == pytest.approx(0.2 * 1 + 0.5 * 0.75 + 0.3 * 0.4)
    # Operating points, from specificity 0.9, recall 0.7, precision 0.75.
    assert left.lines[1].get_xydata().tolist() == [[pytest.approx(0.1), 0.7]]
    assert right.lines[1].get_xydata().tolist() == [[0.7, 0.75]]
    words = texts(figure)
    assert "CNN: AUROC 0.875 (n = 1,199)" in words and "n = 1,199 studies, 480 abnormal" in words
    assert "DenseNet169: AUPRC 0.812 (n = 1,199)" in words
    [chance] = [line for line in right.lines if "chance" in line.get_label()]
    assert chance.get_ydata() == pytest.approx([480 / 1199] * 2)


def test_undefined_curves_are_labelled_undefined():
    figure = curves(UNDEFINED, ROC.iloc[:0], PRECISION_RECALL.iloc[:0])
    assert_legible(figure)
    assert texts(figure).count("undefined (n = 30)") == 4


def decisions(tn, fp, fn, tp):
    pairs = [("normal", "normal")] * tn + [("normal", "abnormal")] * fp
    pairs += [("abnormal", "normal")] * fn + [("abnormal", "abnormal")] * tp
    return pd.DataFrame(pairs, columns=["actual", "predicted"])


def test_confusion_counts_add_up_to_n():
    counts = {"cnn": [600, 119, 96, 384], "densenet169": [700, 19, 48, 432]}
    tables = {arch: decisions(*cells) for arch, cells in counts.items()}
    figure = confusion_matrices(tables, each(SCORES))
    for axis, expected in zip(figure.axes, counts.values(), strict=True):
        written = [text.get_text() for text in axis.texts[:8]]
        assert [int(count) for count in written[::2]] == expected
        rows = [float(share.rstrip("%")) for share in written[1::2]]
        assert rows[0] + rows[1] == pytest.approx(100, abs=0.11)
        assert rows[3] == pytest.approx(100 * expected[3] / 480, abs=0.05)
    assert "abnormal\n(n = 480)" in texts(figure)


def test_a_confusion_matrix_without_an_abnormal_study_has_undefined_shares():
    figure = confusion_matrices({"cnn": decisions(28, 2, 0, 0)}, {"cnn": UNDEFINED})
    assert_legible(figure)
    assert [text.get_text() for text in figure.axes[0].texts[:8]] == [
        "28", "93.3%", "2", "6.7%", "0", "undefined", "0", "undefined",
    ]  # fmt: skip


def by_part(kappas, parts=PARTS):
    kappa = pd.Series(kappas, dtype=float)
    table = pd.DataFrame({"body_part": parts, "n": 100, "abnormal": 40, "kappa": kappa})
    table["auroc"] = kappa / 2 + 0.5
    for metric in ("auroc", "kappa"):
        table[f"{metric}_low"], table[f"{metric}_high"] = table[metric] - 0.1, table[metric] + 0.1
    return table


def parts_figure(cnn, densenet169, parts=PARTS, scores=SCORES):
    tables = {"cnn": by_part(cnn, parts), "densenet169": by_part(densenet169, parts)}
    return scores_by_body_part(tables, each(scores), read_reference())


def rows_of(axis, arch):
    """(low, value, high, row) of each row of a network in a forest plot; low is NaN for none."""
    ours = [line for line in axis.lines if line.get_color() == colour(arch)]
    return [
        (line.get_xdata()[0], dot.get_xdata()[0], line.get_xdata()[1], round(dot.get_ydata()[0]))
        for line, dot in zip(ours[::2], ours[1::2], strict=True)
    ]


def test_body_parts_have_their_scores_and_intervals_in_their_row():
    values = {"cnn": np.linspace(0.1, 0.4, 7), "densenet169": np.linspace(0.5, 0.8, 7)}
    figure = parts_figure(**values)
    auroc, kappa = figure.axes
    for arch in ARCHS:
        expected = [(k - 0.1, k, k + 0.1, row) for row, k in enumerate(values[arch])]
        *rows, overall = rows_of(kappa, arch)
        assert np.allclose(rows, expected)
        ends = [SCORES[f"kappa{end}"] for end in ("_low", "", "_high")]
        assert list(overall) == [*ends, 7]
        assert rows_of(auroc, arch)[0][1] == pytest.approx(values[arch][0] / 2 + 0.5)
    names = [label.get_text() for label in auroc.get_yticklabels()]
    assert names[0] == "ELBOW\nn = 100, 40 abnormal"
    assert names[7] == f"{OVERALL}\nn = 1,199, 480 abnormal"
    assert_legible(figure)


def test_published_marks_stand_at_the_published_values_and_only_if_wanted():
    figure = parts_figure([0.5] * 7, [0.5] * 7)
    groups = [*PARTS, OVERALL]
    drawn = {
        (line.get_label(), groups[round(y + 0.42)], x)
        for line in figure.axes[1].lines
        if line.get_color() == PUBLISHED
        for x, y in line.get_xydata()
    }
    # MURA paper, table of kappas.
    assert drawn > {
        ("Stanford's model", "WRIST", 0.931),
        ("Stanford's model", OVERALL, 0.705),
        ("best radiologist", OVERALL, 0.778),
    }
    assert len(drawn) == 8 + 1
    assert REFERENCE_NOTE in texts(figure)
    tables = {"cnn": by_part([0.5] * 7)}
    alone = scores_by_body_part(tables, each(SCORES, ["cnn"]), read_reference().head(0))
    assert_legible(alone)
    assert "ublished" not in texts(alone) and "Stanford" not in texts(alone)


def test_undefined_scores_are_text():
    figure = parts_figure([0.5, NAN, 0, -0.2, NAN, 1, NAN], [NAN] * 7, scores=UNDEFINED)
    assert_legible(figure)
    # Of both scores 3 parts of one, 7 of the other, both overall; and the note.
    assert texts(figure).count("too few") == 2 * (3 + 7 + 2) + 1
    assert figure.axes[1].get_xlim()[0] < -0.3


def test_a_part_that_one_network_lacks_is_too_few_and_others_need_no_published_value():
    tables = {"cnn": by_part([0.5], ["HAND"]), "densenet169": by_part([0.5, 0.6], ["HAND", "FOOT"])}
    figure = scores_by_body_part(tables, each(SCORES), read_reference())
    assert_legible(figure)
    assert texts(figure).count("too few") == 2 + 1  # and the note
    names = [label.get_text().split("\n")[0] for label in figure.axes[0].get_yticklabels()]
    assert names == ["FOOT", "HAND", OVERALL]


def by_finding(**values):
    rows = {
        "finding": ["displaced_fracture", "hardware"], "studies": [1200, 8], "found": [300, 6],
        "sensitivity": [0.25, NAN], "sensitivity_low": [0.2, NAN], "sensitivity_high": [0.3, NAN],
        "auroc": [0.75, NAN], "auroc_low": [0.7, NAN], "auroc_high": [0.8, NAN],
    }  # fmt: skip
    return pd.DataFrame(rows).assign(**values)


def test_findings_have_their_counts_and_intervals_and_small_ones_only_their_count():
    figure = scores_by_finding({"cnn": by_finding(), "densenet169": by_finding()}, 1000)
    assert_legible(figure)
    left, right = figure.axes
    fracture, hardware = rows_of(left, "cnn")
    assert fracture == (0.2, 0.25, 0.3, 0)
    assert np.isnan(hardware[0]) and hardware[1:2] == (0.75,)
    faces = [line.get_markerfacecolor() for line in left.lines if line.get_marker() == "o"]
    assert faces == [colour("cnn"), PAPER]
    assert rows_of(right, "cnn")[0] == (0.7, 0.75, 0.8, 0)
    words = texts(figure)
    assert "300 of 1,200 (0.20 to 0.30)" in words and "6 of 8 (too few)" in words
    assert "displaced fracture\nn = 1,200" in words and "1,000 normal studies" in words


BALANCED = np.arange(200) % 2


def calibrated(n=1199, val=BALANCED):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    probabilities = 1 / (1 + np.exp(-rng.normal(2 * labels - 1, 2)))
    val_probabilities = 1 / (1 + np.exp(-rng.normal(2 * val - 1, 2)))
    summary = summarize_calibration(val, val_probabilities, labels, probabilities)
    return reliability_curves(labels, probabilities, summary["temperature"]), summary


def reliability(curve, summary, archs=ARCHS):
    return reliability_diagrams(each(curve, archs), each(summary, archs))


def test_reliability_diagrams_have_their_points_intervals_and_sizes():
    curve, summary = calibrated()
    figure = reliability(curve, summary)
    after = curve[curve["scaling"] == "after"]
    for axis, counts, arch in zip(figure.axes[:2], figure.axes[2:], ARCHS, strict=True):
        diagonal, *lines = axis.lines
        assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
        for line, scaling in zip(lines, ("before", "after"), strict=True):
            points = curve.loc[curve["scaling"] == scaling, ["probability", "share_abnormal"]]
            assert line.get_xydata().tolist() == points.to_numpy().tolist()
            assert line.get_color() == colour(arch)
        bars = axis.collections[0].get_segments()
        assert [bar[:, 1].tolist() for bar in bars] == after[["low", "high"]].to_numpy().tolist()
        assert [bar[0, 0] for bar in bars] == after["probability"].tolist()
        sizes = counts.collections[0].get_segments()
        assert [size[:, 1].tolist() for size in sizes] == [[0, n] for n in after["n"]]
    words = texts(figure)
    assert f"n = 1,199 test studies, {summary['abnormal']} abnormal" in words
    ece = " → ".join(f"{summary[name]['ece']:.3f}" for name in ("before", "after"))
    assert f"T {summary['temperature']:.2f}, ECE {ece}, 10 bins of 119 to 120 studies" in words


def test_without_a_temperature_the_curve_before_it_has_the_intervals():
    curve, summary = calibrated(n=29, val=np.ones(20, int))
    # As JSON gives them back.
    summary |= {"temperature": None, "after": dict.fromkeys(summary["after"])}
    figure = reliability(curve, summary)
    assert_legible(figure)
    assert f"no temperature, ECE {summary['before']['ece']:.3f}, 1 bin of 29 studies" in texts(
        figure
    )
    [bar] = figure.axes[0].collections[0].get_segments()
    assert bar[:, 1].tolist() == curve[["low", "high"]].iloc[0].tolist()


def test_no_text_is_cut_or_lies_on_another():
    table = decisions(6_000, 1_100, 900, 3_800)
    three = ("cnn", "densenet169", "mobilenetv2")
    assert_legible(curves())
    for archs in (ARCHS, three):
        assert_legible(confusion_matrices(each(table, archs), each(SCORES, archs)))
    assert_legible(parts_figure([-0.99] * 7, [0.99] * 7))
    for archs in (("cnn",), ARCHS, three):
        assert_legible(reliability(*calibrated(), archs))
    assert_legible(scores_by_body_part(each(by_part([0.5] * 7), three), each(SCORES, three),
                                       read_reference()))  # fmt: skip
    assert_legible(scores_by_finding(each(by_finding(), three), 1000))

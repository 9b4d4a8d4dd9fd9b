import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts

from ulna.figures.names import NETWORK_COLOURS
from ulna.figures.results import confusion_matrices, kappa_by_body_part, roc_and_precision_recall
from ulna.figures.style import PUBLISHED, write_png
from ulna.judging.reference import NOTE, OVERALL, read_reference

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = ["ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST"]

SCORES = {
    "n": 1199, "abnormal": 480, "accuracy": 0.8, "precision": 0.75, "recall": 0.7,
    "specificity": 0.9, "f1": 0.72, "kappa": 0.61,
    "kappa_low": 0.55, "kappa_high": 0.66, "auroc": 0.875, "auprc": 0.812, "threshold": 0.4,
}  # fmt: skip
BOTH = {"cnn": SCORES, "densenet169": SCORES}
UNDEFINED = dict.fromkeys(SCORES) | {"n": 30, "abnormal": 0, "accuracy": 1.0, "threshold": 0.5}

ROC = pd.DataFrame({"false_positive_rate": [0, 0.1, 1], "true_positive_rate": [0, 0.7, 1]})
PRECISION_RECALL = pd.DataFrame({"recall": [0.2, 0.7, 1], "precision": [1, 0.75, 0.4]})


def curves(scores=SCORES, roc=ROC, precision_recall=PRECISION_RECALL, archs=("cnn", "densenet169")):
    return roc_and_precision_recall(
        dict.fromkeys(archs, roc),
        dict.fromkeys(archs, precision_recall),
        dict.fromkeys(archs, scores),
    )


def decisions(tn, fp, fn, tp):
    pairs = [("normal", "normal")] * tn + [("normal", "abnormal")] * fp
    pairs += [("abnormal", "normal")] * fn + [("abnormal", "abnormal")] * tp
    return pd.DataFrame(pairs, columns=["actual", "predicted"])


def by_part(kappas, parts=PARTS):
    kappa = pd.Series(kappas, dtype=float)
    return pd.DataFrame(
        {
            "body_part": parts,
            "n": 100,
            "abnormal": 40,
            "kappa": kappa,
            "kappa_low": (kappa - 0.1).clip(-1, 1),
            "kappa_high": (kappa + 0.1).clip(-1, 1),
        }
    )


def kappas(cnn, densenet169, parts=PARTS, scores=SCORES):
    tables = {"cnn": by_part(cnn, parts), "densenet169": by_part(densenet169, parts)}
    return kappa_by_body_part(tables, dict.fromkeys(tables, scores), read_reference())


def test_curves_run_through_the_points_of_the_tables():
    left, right = curves().axes
    for line in (left.lines[0], left.lines[2]):
        assert line.get_xdata().tolist() == [0, 0.1, 1]
        assert line.get_ydata().tolist() == [0, 0.7, 1]
    # Average precision is a sum of steps: each precision holds from the recall before it on.
    step = right.lines[0]
    assert step.get_drawstyle() == "steps-pre"
    assert step.get_xdata().tolist() == [0, 0.2, 0.7, 1]
    assert step.get_ydata().tolist() == [1, 1, 0.75, 0.4]


def test_the_area_under_the_drawn_precision_recall_steps_is_the_average_precision():
    step = curves().axes[1].lines[0]
    area = np.sum(np.diff(step.get_xdata()) * step.get_ydata()[1:])
    assert area == pytest.approx(0.2 * 1 + 0.5 * 0.75 + 0.3 * 0.4)


def test_the_operating_point_of_the_threshold_is_marked():
    left, right = curves(archs=("cnn",)).axes
    assert left.lines[1].get_xydata().tolist() == [[pytest.approx(0.1), 0.7]]
    assert right.lines[1].get_xydata().tolist() == [[0.7, 0.75]]


def test_curves_say_area_n_and_chance():
    figure = curves()
    words = texts(figure)
    assert "CNN: AUROC 0.875 (n = 1,199)" in words
    assert "DenseNet169: AUPRC 0.812 (n = 1,199)" in words
    assert "n = 1,199 studies, 480 abnormal" in words
    prevalence = [line for line in figure.axes[1].lines if "chance" in line.get_label()]
    assert prevalence[0].get_ydata() == pytest.approx([480 / 1199] * 2)


def test_undefined_curves_are_called_so():
    figure = curves(UNDEFINED, ROC.iloc[:0], PRECISION_RECALL.iloc[:0])
    assert_legible(figure)
    assert "AUROC undefined (n = 30)" in texts(figure)
    assert "AUPRC undefined (n = 30)" in texts(figure)


def test_confusion_counts_add_up_to_n():
    tables = {"cnn": decisions(600, 119, 96, 384), "densenet169": decisions(700, 19, 48, 432)}
    figure = confusion_matrices(tables, dict.fromkeys(tables, SCORES))
    for axis, expected in zip(figure.axes, ([600, 119, 96, 384], [700, 19, 48, 432]), strict=True):
        written = [text.get_text() for text in axis.texts[:8]]
        assert [int(count) for count in written[::2]] == expected
        assert sum(expected) == 1199
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
    assert "kappa undefined" in texts(figure)


def test_bars_are_our_kappas_in_the_colour_of_the_network():
    cnn, densenet169 = np.linspace(0.1, 0.4, 7), np.linspace(0.5, 0.8, 7)
    [axis] = kappas(cnn, densenet169).axes
    for bars, values, arch in zip(
        axis.containers, (cnn, densenet169), NETWORK_COLOURS, strict=True
    ):
        assert [bar.get_height() for bar in bars] == [*values, SCORES["kappa"]]
        assert bars.get_label() == {"cnn": "CNN", "densenet169": "DenseNet169"}[arch]
    assert axis.get_xticklabels()[0].get_text() == "ELBOW\nn = 100\n40 abnormal"
    assert axis.get_xticklabels()[7].get_text() == f"{OVERALL}\nn = 1,199\n480 abnormal"


def test_a_line_over_each_bar_is_its_interval():
    [axis] = kappas([0.5] * 7, [0.2] * 7).axes
    cnn, densenet169 = (lines.get_segments() for lines in axis.collections)
    for lines, bars in zip((cnn, densenet169), axis.containers, strict=True):
        for (below, above), bar in zip(lines[:7], bars, strict=False):
            middle = bar.get_x() + bar.get_width() / 2
            assert below.tolist() == pytest.approx([middle, bar.get_height() - 0.1])
            assert above.tolist() == pytest.approx([middle, bar.get_height() + 0.1])


def test_published_marks_stand_at_the_published_values():
    [axis] = kappas([0.5] * 7, [0.5] * 7).axes
    marks = [line for line in axis.lines if line.get_color() == PUBLISHED]
    drawn = {
        (line.get_label(), groups[round(x - 0.3)], y)
        for groups in [[*PARTS, OVERALL]]
        for line in marks
        for x, y in line.get_xydata()
    }
    # MURA paper, table of kappas; the model's row is checked, the readers' are recalled.
    for mark in [
        ("Stanford's model", "WRIST", 0.931),
        ("Stanford's model", OVERALL, 0.705),
        ("radiologist 1", "FINGER", 0.304),
        ("radiologist 2", "HAND", 0.927),
        ("radiologist 3", "HUMERUS", 0.933),
        ("radiologist 3", OVERALL, 0.778),
    ]:
        assert mark in drawn
    assert len(drawn) == 4 * 8


def test_published_marks_look_like_none_of_ours_and_recalled_ones_are_hollow():
    [axis] = kappas([0.5] * 7, [0.5] * 7).axes
    assert PUBLISHED not in NETWORK_COLOURS.values()
    for line in (line for line in axis.lines if line.get_color() == PUBLISHED):
        checked = line.get_label() == "Stanford's model" or line.get_ydata().tolist() == [0.778]
        assert line.get_markerfacecolor() == (PUBLISHED if checked else "white")


def test_the_figure_says_that_published_values_are_not_comparable():
    assert f"published: {NOTE}" in texts(kappas([0.5] * 7, [0.5] * 7))


def test_undefined_kappas_are_words_not_bars():
    nan = float("nan")
    figure = kappas([0.5, nan, 0, -0.2, nan, 1, nan], [nan] * 7, scores=UNDEFINED)
    assert_legible(figure)
    assert texts(figure).count("too few") == 3 + 7 + 2 + 1  # and the note
    assert "0.00" in texts(figure) and "−0.20" in texts(figure)
    cnn, densenet169 = figure.axes[0].containers
    assert np.isnan([bar.get_height() for bar in densenet169]).all()
    assert figure.axes[0].get_ylim()[0] < -0.2


def test_a_part_that_one_network_lacks_is_undefined_there():
    tables = {
        "cnn": by_part([0.5], ["HAND"]),
        "densenet169": by_part([0.5, 0.6], ["HAND", "WRIST"]),
    }
    figure = kappa_by_body_part(tables, dict.fromkeys(tables, SCORES), read_reference())
    assert texts(figure).count("too few") == 1 + 1  # and the note
    assert [label.get_text().split("\n")[0] for label in figure.axes[0].get_xticklabels()] == [
        "HAND", "WRIST", OVERALL,
    ]  # fmt: skip


def test_one_body_part_without_a_published_value_is_drawn():
    figure = kappas([0.4], [0.6], parts=["FOOT"])
    assert_legible(figure)
    marks = [line for line in figure.axes[0].lines if line.get_color() == PUBLISHED]
    assert sum(len(line.get_xdata()) for line in marks) == 4  # overall


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, kappas([0.5] * 7, [0.6] * 7))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_text_is_cut_or_lies_on_another():
    table = decisions(60_000, 11_000, 9_000, 38_000)
    assert_legible(curves())
    assert_legible(confusion_matrices({"cnn": table, "densenet169": table}, BOTH))
    assert_legible(kappas([-0.99] * 7, [0.99] * 7))


def test_the_plot_stage_imports_neither_tensorflow_nor_pyplot():
    heavy = {"tensorflow", "keras", "matplotlib.pyplot"}
    command = f"import stages.plot, sys; print({heavy} & {{*sys.modules}})"
    answer = subprocess.run(
        [sys.executable, "-c", command], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert answer.stdout.strip() == "set()"

import itertools

import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts
from matplotlib.colors import to_hex, to_rgba

from ulna.data.cross_part import plan
from ulna.evaluation.bootstrap import METRICS
from ulna.evaluation.calibration import reliability_curves, summarize_calibration
from ulna.evaluation.comparison import OVERALL, all_pairs, read_reference
from ulna.evaluation.conclusions import METRICS as SHOWN
from ulna.evaluation.conclusions import REFERENCE_NOTE
from ulna.evaluation.cross_part import COLUMNS
from ulna.evaluation.thresholds import LEVELS
from ulna.figures.results import (
    confusion_matrices,
    cross_part_maps,
    forest,
    kappa_by_body_part,
    reliability_diagrams,
    roc_and_precision_recall,
)
from ulna.figures.style import INK, PAPER, PUBLISHED, colour, luminance, title

NAN = float("nan")
ARCHS = ("cnn", "densenet169")
PARTS = ["ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST"]

SCORES = {
    "n": 1199, "abnormal": 480, "accuracy": 0.8, "precision": 0.75, "recall": 0.7,
    "specificity": 0.9, "f1": 0.72, "kappa": 0.61,
    "kappa_low": 0.55, "kappa_high": 0.66, "auroc": 0.875, "auprc": 0.812, "threshold": 0.4,
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
    ends = {"kappa_low": (kappa - 0.1).clip(-1, 1), "kappa_high": (kappa + 0.1).clip(-1, 1)}
    return pd.DataFrame({"body_part": parts, "n": 100, "abnormal": 40, "kappa": kappa, **ends})


def kappas(cnn, densenet169, parts=PARTS, scores=SCORES):
    tables = {"cnn": by_part(cnn, parts), "densenet169": by_part(densenet169, parts)}
    return kappa_by_body_part(tables, each(scores), read_reference())


def test_bars_are_our_kappas_and_lines_their_intervals():
    values = {"cnn": np.linspace(0.1, 0.4, 7), "densenet169": np.linspace(0.5, 0.8, 7)}
    [axis] = kappas(**values).axes
    for bars, lines, arch in zip(axis.containers, axis.collections, ARCHS, strict=True):
        assert [bar.get_height() for bar in bars] == [*values[arch], SCORES["kappa"]]
        assert bars.get_label() == title(arch)
        assert bars[0].get_facecolor() == to_rgba(colour(arch))
        for ends, bar in zip(lines.get_segments()[:7], bars, strict=False):
            middle = bar.get_x() + bar.get_width() / 2
            assert ends[0].tolist() == pytest.approx([middle, bar.get_height() - 0.1])
            assert ends[1].tolist() == pytest.approx([middle, bar.get_height() + 0.1])
    names = [label.get_text() for label in axis.get_xticklabels()]
    assert names[0] == "ELBOW\nn = 100\n40 abnormal"
    assert names[7] == f"{OVERALL}\nn = 1,199\n480 abnormal"


def test_published_marks_stand_at_the_published_values_and_recalled_ones_are_hollow():
    figure = kappas([0.5] * 7, [0.5] * 7)
    marks = [line for line in figure.axes[0].lines if line.get_color() == PUBLISHED]
    groups = [*PARTS, OVERALL]
    drawn = {
        (line.get_label(), groups[round(x - 0.3)], y)
        for line in marks
        for x, y in line.get_xydata()
    }
    # MURA paper, table of kappas; the model's row is checked, the readers' are recalled.
    assert drawn > {
        ("Stanford's model", "WRIST", 0.931),
        ("Stanford's model", OVERALL, 0.705),
        ("radiologist 1", "FINGER", 0.304),
        ("radiologist 2", "HAND", 0.927),
        ("radiologist 3", "HUMERUS", 0.933),
        ("radiologist 3", OVERALL, 0.778),
    }
    assert len(drawn) == 4 * 8
    for line in marks:
        checked = line.get_label() == "Stanford's model" or line.get_ydata().tolist() == [0.778]
        assert line.get_markerfacecolor() == (PUBLISHED if checked else PAPER)
    assert REFERENCE_NOTE in texts(figure)


def test_undefined_kappas_are_text_not_bars():
    figure = kappas([0.5, NAN, 0, -0.2, NAN, 1, NAN], [NAN] * 7, scores=UNDEFINED)
    assert_legible(figure)
    assert texts(figure).count("too few") == 3 + 7 + 2 + 1  # and the note
    assert "0.00" in texts(figure) and "−0.20" in texts(figure)
    _, densenet169 = figure.axes[0].containers
    assert np.isnan([bar.get_height() for bar in densenet169]).all()
    assert figure.axes[0].get_ylim()[0] < -0.2


def test_a_part_that_one_network_lacks_is_undefined_and_others_need_no_published_value():
    tables = {"cnn": by_part([0.5], ["HAND"]), "densenet169": by_part([0.5, 0.6], ["HAND", "FOOT"])}
    figure = kappa_by_body_part(tables, each(SCORES), read_reference())
    assert_legible(figure)
    assert texts(figure).count("too few") == 1 + 1  # and the note
    names = [label.get_text().split("\n")[0] for label in figure.axes[0].get_xticklabels()]
    assert names == ["FOOT", "HAND", OVERALL]


BALANCED = np.arange(200) % 2


def calibrated(n=1199, val=BALANCED):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    probabilities = 1 / (1 + np.exp(-rng.normal(2 * labels - 1, 2)))
    val_probabilities = 1 / (1 + np.exp(-rng.normal(2 * val - 1, 2)))
    summary = summarize_calibration(val, val_probabilities, labels, probabilities)
    return reliability_curves(labels, probabilities, summary["temperature"]), summary


def reliability(curve, summary, archs=ARCHS):
    return reliability_diagrams(each(curve, archs), each(summary, archs), ["What it says. " * 9])


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
    assert "→ undefined, 1 bin of 29 studies" in texts(figure)
    [bar] = figure.axes[0].collections[0].get_segments()
    assert bar[:, 1].tolist() == curve[["low", "high"]].iloc[0].tolist()


def differences(networks=ARCHS, **values) -> pd.DataFrame:
    """Made-up numbers, a different one for each line; `values` replace columns."""
    rows = [
        {"first": first, "second": second, "level": level, "metric": metric,
         "n": 1199 if level == "study" else 3197, "abnormal": 480, "patients": 783}
        for first, second in all_pairs(networks) for level in LEVELS for metric in METRICS
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table["difference"] = np.linspace(-0.5, 0.6, len(table))
    table["low"], table["high"] = table["difference"] - 0.1, table["difference"] + 0.2
    return table.assign(**values)


def test_each_difference_is_at_its_numbers_in_the_row_of_its_metric():
    assert sorted(SHOWN) == sorted(METRICS)
    table = differences()
    figure = forest(table)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    for axis, (first, second) in zip(figure.axes, all_pairs(ARCHS), strict=True):
        pair = table[(table["first"] == first) & (table["second"] == second)]
        zero, *_ = axis.lines
        assert zero.get_xdata() == [0, 0]
        drawn = axis.lines[len(METRICS) :]  # after the line at zero and those between rows
        for line, dot, expected in zip(drawn[::2], drawn[1::2], pair.itertuples(), strict=True):
            assert list(line.get_xdata()) == [expected.low, expected.high]
            assert list(dot.get_xdata()) == [expected.difference]
            assert rows[round(dot.get_ydata()[0])] == SHOWN[expected.metric]
            assert dot.get_marker() == {"study": "o", "image": "s"}[expected.level]
        left, right = axis.get_xlim()
        assert left == -right and right > 0.8  # the widest interval ends at 0.8
        assert axis.get_title(loc="left") == f"{title(first)} − {title(second)}"
        assert axis.get_xlabel() == f"better: ← {title(second)} | {title(first)} →"
    auroc = table[(table["metric"] == "auroc") & (table["level"] == "study")].iloc[0]
    words = f"{auroc.difference:.3f} ({auroc.low:.3f} to {auroc.high:.3f})".replace("-", "−")
    assert words in texts(figure)
    assert "n = 1,199 studies (3,197 images) of 783 patients" in texts(figure)


def test_undefined_differences_are_written():
    undefined = forest(differences(difference=NAN, low=NAN, high=NAN))
    assert texts(undefined).count("undefined") == 3 * len(METRICS)
    assert_legible(undefined)
    no_interval = texts(forest(differences(difference=0.25, low=NAN, high=NAN)))
    assert no_interval.count("0.250 (no interval)") == 3 * len(METRICS)


FEW = {f"{name}{end}": NAN for name in ("auroc", "kappa") for end in ("", "_low", "_high")}


def cells(trained_on, parts=PARTS, changed=None, large=False):
    """Numbers that differ from cell to cell."""
    rows = []
    for place, (name, part) in enumerate(itertools.product(trained_on, [*parts, OVERALL])):
        auroc, kappa = 0.5 + place / 250, -0.3 + place / 100
        row = {
            "trained_on": name, "tested_on": part,
            "patients": 1100 if large else 11, "studies": 1200 if large else 12,
            "abnormal": 1050 if large else 5,
            "auroc": auroc, "auroc_low": auroc - 0.1, "auroc_high": auroc + 0.02,
            "kappa": kappa, "kappa_low": kappa - 0.25, "kappa_high": kappa + 0.1,
            "threshold": 0.25, "note": "",
        }  # fmt: skip
        rows.append(row | (changed or {}).get((name, part), {}))
    return pd.DataFrame(rows)[list(COLUMNS)]


def test_every_cell_has_its_number_and_interval_or_a_note():
    changed = {
        ("WRIST", "HAND"): FEW | {"note": "too_few"},
        ("WRIST", "ELBOW"): FEW | {"note": "one_class"},
    }
    table = cells(["WRIST"], changed=changed)
    figure = cross_part_maps({"WRIST": ("WRIST",)}, table)
    for axis, measure in zip(figure.axes, ("auroc", "kappa"), strict=True):
        words = [text.get_text() for text in axis.texts]
        for _, cell in table.dropna().iterrows():
            value, low, high = (
                f"{cell[measure + end]:z.2f}".replace("-", "−") for end in ("", "_low", "_high")
            )
            assert words[words.index(value) + 1] == f"({low} to {high})"
        hatched = {patch.get_x() for patch in axis.patches if patch.get_hatch()}
        assert hatched == {PARTS.index("HAND"), PARTS.index("ELBOW")}
        assert words.count("too few") == words.count("one class") == 1
        assert "nan" not in " ".join(words)
        names = [tick.get_text() for tick in axis.get_xticklabels()]
        assert names == [f"{part}\nn = 12\n5 abnormal\n11 patients" for part in [*PARTS, OVERALL]]
    assert "n = 12 studies, 5 abnormal" in texts(figure)
    assert "WRIST\n(threshold 0.25)" in texts(figure)


def test_the_parts_trained_on_are_framed():
    networks = [*plan(["HAND", "WRIST"], PARTS), *plan("all", PARTS)]
    trained_on = {network.name: network.parts for network in networks}
    for axis in cross_part_maps(trained_on, cells(trained_on)).axes:
        rows = {place: row for row, place in enumerate(np.round(axis.get_yticks(), 6))}
        framed = {
            (rows[round(patch.get_y() + patch.get_height() / 2, 6)], round(patch.get_x()))
            for patch in axis.patches
            if to_hex(patch.get_edgecolor()).upper() == INK
        }
        assert framed == {
            (row, PARTS.index(part))
            for row, parts in enumerate(trained_on.values())
            for part in parts
        }


def test_colours_distinguish_better_from_worse_than_chance():
    changed = {
        ("WRIST", part): {"auroc": auroc, "kappa": 2 * auroc - 1}
        for part, auroc in zip(PARTS, [0.0, 0.3, 0.5, 0.7, 1.0, 0.5, 0.5], strict=True)
    }
    for axis in cross_part_maps({"WRIST": ("WRIST",)}, cells(["WRIST"], changed=changed)).axes:
        faces = [patch.get_facecolor() for patch in axis.patches if patch.get_fill()]
        worst, worse, chance, better, best = faces[:5]
        assert chance == pytest.approx((1, 1, 1, 1), abs=0.02)
        assert worst[0] > worst[2] and worse[0] > worse[2], "worse is orange"
        assert best[2] > best[0] and better[2] > better[0], "better is violet"
        assert sum(best) < sum(better) < sum(chance) > sum(worse) > sum(worst)
        # W3C's contrast of dark ink on the darkest cells, at least 4.5.
        assert all((luminance(face) + 0.05) / (luminance("#1A1A1A") + 0.05) > 4.5 for face in faces)


@pytest.mark.parametrize(
    ("train_on", "parts"), [(["WRIST"], PARTS), (["HAND"], ["HAND"]), ("all", PARTS[:3])]
)
def test_cross_part_maps_are_legible(train_on, parts):
    trained_on = {network.name: network.parts for network in plan(train_on, parts)}
    changed = {(next(iter(trained_on)), parts[0]): FEW | {"note": "too_few"}}
    assert_legible(cross_part_maps(trained_on, cells(trained_on, parts, changed, large=True)))


def test_no_text_is_cut_or_lies_on_another():
    table = decisions(6_000, 1_100, 900, 3_800)
    three = ("cnn", "densenet169", "mobilenetv2")
    assert_legible(curves())
    for archs in (ARCHS, three):
        assert_legible(confusion_matrices(each(table, archs), each(SCORES, archs)))
    assert_legible(kappas([-0.99] * 7, [0.99] * 7))
    for archs in (("cnn",), ARCHS, three):
        assert_legible(reliability(*calibrated(), archs))
    assert_legible(forest(differences(difference=-1.234, low=-1.999, high=-1.111)))
    assert_legible(forest(differences(three)))
    assert_legible(kappa_by_body_part(each(by_part([0.5] * 7), three), each(SCORES, three),
                                      read_reference()))  # fmt: skip

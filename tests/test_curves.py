import re
from html import unescape
from types import SimpleNamespace

import pandas as pd
import pytest

from ulna.report.curves import reliability_charts, roc_charts, training_chart

STUDY = {
    "n": 4, "abnormal": 1, "auroc": 0.75, "auprc": 0.5, "specificity": 0.6, "recall": 0.8,
    "precision": None, "threshold": 0.41,
}  # fmt: skip
STATE = {"ece": 0.1}


@pytest.fixture
def evidence():
    """What the charts read, with made-up numbers; the two networks differ in their epochs."""
    tables = {}
    for arch, epochs in (("cnn", [1, 2, 3]), ("densenet169", [1])):
        tables[f"{arch}/history"] = pd.DataFrame(
            {"epoch": epochs, "loss": 0.9, "val_loss": 0.8, "auroc": 0.7, "val_auroc": 0.6,
             "best": [0] * (len(epochs) - 1) + [1]}
        )  # fmt: skip
        tables[f"{arch}/roc"] = pd.DataFrame(
            {"false_positive_rate": [0.0, 0.12, 1.0], "true_positive_rate": [0.0, 0.83, 1.0],
             "threshold": [float("nan"), 0.41, 0.1]}
        )  # fmt: skip
        tables[f"{arch}/precision_recall"] = pd.DataFrame(
            {"recall": [0.5, 1.0], "precision": [1.0, 0.25], "threshold": [0.9, 0.1]}
        )
        tables[f"{arch}/reliability"] = pd.DataFrame(
            {"scaling": ["before", "after"], "n": [4, 4], "probability": [0.2, 0.3],
             "share_abnormal": [0.25, 0.25], "low": [0.05, 0.05], "high": [0.7, 0.7]}
        )  # fmt: skip
    calibration = {"temperature": 1.5, "before": STATE, "after": STATE}
    metrics = {
        arch: {"study": STUDY, "calibration": calibration} for arch in ("cnn", "densenet169")
    }
    return SimpleNamespace(metrics=metrics, tables=tables)


def read_out(html: str) -> list[str]:
    """What can be read out at each point, as the script of the page puts it."""
    found = re.findall(r'data-name="(.*?)" data-columns="(.*?)" data-points="(.*?)"', html)
    return [
        f"{unescape(name)}: "
        + ", ".join(
            f"{column} {value}"
            for column, value in zip(
                unescape(columns).split("|"), unescape(point).split("|")[2:], strict=True
            )
        )
        for name, columns, points in found
        for point in points.split(";")
    ]


def test_a_corner_of_the_roc_curve_says_its_rates_and_threshold(evidence):
    said = read_out(roc_charts(evidence))
    assert "CNN: 1 − specificity 0.120, sensitivity 0.830, threshold 0.410" in said
    assert "DenseNet169: 1 − specificity 0.000, sensitivity 0.000, threshold none" in said
    assert "CNN at its threshold: 1 − specificity 0.400, sensitivity 0.800, threshold 0.410" in said
    assert "CNN: recall 0.500, precision 1.000, threshold 0.900" in said


def test_an_undefined_operating_point_is_left_out(evidence):
    html = roc_charts(evidence)
    recall = html[html.index("<title>Precision-recall curve") :]
    assert "at its threshold" not in recall


def test_roc_charts_say_n_and_chance(evidence):
    html = roc_charts(evidence)
    assert "n = 4, 1 abnormal" in html
    assert "chance: AUROC 0.500" in html
    assert "share of abnormal studies: 0.250" in html


def test_the_kept_epoch_is_marked_and_both_networks_are_there(evidence):
    html = training_chart(evidence)
    titles = re.findall(r"<title>(.*?)</title>", html)
    assert titles == ["CNN: loss", "CNN: AUROC", "DenseNet169: loss", "DenseNet169: AUROC"]
    assert "kept: epoch 3, train 0.900, val 0.800" in read_out(html)
    assert "val: epoch 1, train 0.700, val 0.600" in read_out(html)


def test_an_undefined_auroc_of_val_is_a_gap(evidence):
    evidence.tables["cnn/history"]["val_auroc"] = [float("nan"), 0.6, 0.6]
    assert "CNN: AUROC" in training_chart(evidence)


def test_a_bin_says_its_share_interval_and_n(evidence):
    html = reliability_charts(evidence)
    words = "mean probability 0.300, share abnormal 0.250 (0.050 to 0.700), studies 4"
    assert f"after: {words}" in read_out(html)
    assert html.count('opacity="0.55"') == 2  # bars through the bins of one curve a network


def test_without_a_temperature_there_is_only_the_curve_before_it(evidence):
    table = evidence.tables["cnn/reliability"]
    evidence.tables["cnn/reliability"] = table[table["scaling"] == "before"]
    evidence.metrics["cnn"]["calibration"] |= {"temperature": None, "after": {"ece": None}}
    html = reliability_charts(evidence)
    assert html[: html.index("DenseNet169")].count('class="hollow"') == 2  # the bin, the legend
    assert html.count('opacity="0.55"') == 2

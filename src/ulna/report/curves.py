"""The curves of the report as charts whose values can be read: training, ROC, calibration."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ulna.figures.names import NETWORK_COLOURS, NETWORKS
from ulna.report.charts import Axis, Curve, chart_figure, line_chart
from ulna.report.evidence import Evidence
from ulna.report.page import number

SOFT = "var(--soft)"
INK = "currentColor"


def training_chart(evidence: Evidence) -> str:
    """Loss and AUROC of train and val by epoch, all networks; the kept epoch is marked."""
    charts = []
    for metric, words in (("loss", "loss"), ("auroc", "AUROC")):
        histories = [evidence.tables[f"history/{arch}"] for arch in evidence.networks]
        values = pd.concat([table[[metric, f"val_{metric}"]] for table in histories]).stack()
        # All networks on one scale: what is lower is better, or worse, at a glance.
        room = 0.05 * (values.max() - values.min()) or 0.05
        scale = Axis(words, values.min() - room, values.max() + room)
        for arch, history in zip(evidence.networks, histories, strict=True):
            charts.append(_course(NETWORKS[arch], NETWORK_COLOURS[arch], history, metric, scale))
    # Side by side: the two charts of a network.
    half = len(evidence.networks)
    pairs = [chart for arch in range(half) for chart in (charts[arch], charts[half + arch])]
    return chart_figure(
        pairs,
        "Loss and AUROC by epoch, per image. Train is a mean over the epoch while the weights "
        "change, with augmentation and dropout; val is measured at its end, without either.",
    )


def _course(name: str, colour: str, history: pd.DataFrame, metric: str, scale: Axis) -> str:
    epochs = list(history["epoch"])
    train, val = list(history[metric]), list(history[f"val_{metric}"])
    columns = {
        "epoch": [number(int(epoch)) for epoch in epochs],
        "train": [number(value) for value in train],
        "val": [number(value) for value in val],
    }
    best = list(history["best"]).index(1)
    kept = {words: [texts[best]] for words, texts in columns.items()}
    return line_chart(
        f"{name}: {scale.label}",
        f"train and val over {len(epochs)} epochs; kept: epoch {epochs[best]}, "
        f"train {kept['train'][0]}, val {kept['val'][0]}.",
        Axis("epoch", epochs[0] - 0.5, epochs[-1] + 0.5, whole=True),
        scale,
        [
            Curve("train", colour, epochs, train, columns, line="dashed"),
            Curve("val", colour, epochs, val, columns),
            Curve(
                "kept",
                INK,
                [epochs[best]],
                [val[best]],
                kept,
                line="none",
                dots="full",
                legend=f"kept: epoch {epochs[best]}",
            ),
        ],
    )


def roc_charts(evidence: Evidence) -> str:
    """ROC and precision-recall curves of the networks, with their operating points."""
    study = evidence.study
    share = study["abnormal"] / study["n"]
    roc: list[Curve] = []
    recall: list[Curve] = []
    for arch in evidence.networks:
        score = evidence.metrics[arch]["study"]
        roc += _roc(arch, evidence.tables[f"{arch}/roc"], score)
        recall += _precision_recall(arch, evidence.tables[f"{arch}/precision_recall"], score)
    roc.append(Curve("chance", SOFT, [0, 1], [0, 1], line="dotted", legend="chance: AUROC 0.500"))
    recall.append(
        Curve(
            "chance",
            SOFT,
            [0, 1],
            [share, share],
            line="dotted",
            legend=f"chance, the share of abnormal studies: {number(share)}",
        )
    )
    scores = [(NETWORKS[arch], evidence.metrics[arch]["study"]) for arch in evidence.networks]
    thresholds = ", ".join(f"{name} {number(score['threshold'])}" for name, score in scores)
    return chart_figure(
        [
            line_chart(
                "ROC curve",
                "; ".join(f"{name} has AUROC {number(s['auroc'])}" for name, s in scores),
                Axis("1 − specificity", 0, 1),
                Axis("sensitivity", 0, 1),
                roc,
            ),
            line_chart(
                "Precision-recall curve",
                "; ".join(f"{name} has AUPRC {number(s['auprc'])}" for name, s in scores),
                Axis("recall (sensitivity)", 0, 1),
                Axis("precision", 0, 1),
                recall,
            ),
        ],
        f"Per study of test, n = {study['n']:,}, {study['abnormal']:,} abnormal. Dots: at the "
        f"thresholds that were chosen on val: {thresholds}.",
    )


def _roc(arch: str, table: pd.DataFrame, score: dict[str, Any]) -> list[Curve]:
    name = NETWORKS[arch]
    return _with_point(
        Curve(
            name,
            NETWORK_COLOURS[arch],
            list(table["false_positive_rate"]),
            list(table["true_positive_rate"]),
            {
                "1 − specificity": _texts(table["false_positive_rate"]),
                "sensitivity": _texts(table["true_positive_rate"]),
                # In the first corner no study is called abnormal.
                "threshold": [
                    "none" if math.isnan(value) else number(value) for value in table["threshold"]
                ],
            },
            legend=f"{name}: AUROC {number(score['auroc'])}",
        ),
        None if score["specificity"] is None else 1 - score["specificity"],
        score["recall"],
        score["threshold"],
    )


def _precision_recall(arch: str, table: pd.DataFrame, score: dict[str, Any]) -> list[Curve]:
    name = NETWORKS[arch]
    return _with_point(
        Curve(
            name,
            NETWORK_COLOURS[arch],
            list(table["recall"]),
            list(table["precision"]),
            {
                "recall": _texts(table["recall"]),
                "precision": _texts(table["precision"]),
                "threshold": _texts(table["threshold"]),
            },
            steps=True,
            legend=f"{name}: AUPRC {number(score['auprc'])}",
        ),
        score["recall"],
        score["precision"],
        score["threshold"],
    )


def _with_point(curve: Curve, x: float | None, y: float | None, threshold: float) -> list[Curve]:
    """The curve and the dot at its threshold; where that is undefined, the curve alone."""
    if x is None or y is None:
        return [curve]
    values = zip(curve.columns, (x, y, threshold), strict=True)
    point = Curve(
        f"{curve.name} at its threshold",
        curve.colour,
        [x],
        [y],
        {words: [number(value)] for words, value in values},
        line="none",
        dots="full",
        legend="",
    )
    return [curve, point]


def reliability_charts(evidence: Evidence) -> str:
    """The share of abnormal studies over the probability, before and after the temperature."""
    charts = []
    for arch in evidence.networks:
        table = evidence.tables[f"{arch}/reliability"]
        found = evidence.metrics[arch]["calibration"]
        before, after = (table[table["scaling"] == state] for state in ("before", "after"))
        curves = [Curve("calibrated", SOFT, [0, 1], [0, 1], line="dotted")]
        colour = NETWORK_COLOURS[arch]
        # Without a temperature there is only the curve before it.
        curves.append(_bins("before", colour, before, intervals=after.empty))
        if not after.empty:
            curves.append(_bins("after", colour, after, intervals=True))
        states = ["before"] if after.empty else ["before", "after"]
        errors = ", ".join(f"{number(found[state]['ece'])} {state}" for state in states)
        charts.append(
            line_chart(
                NETWORKS[arch],
                f"reliability diagram; temperature {number(found['temperature'])}, expected "
                f"calibration error {errors}.",
                Axis("mean probability of the bin", 0, 1),
                Axis("share of abnormal studies", 0, 1),
                curves,
            )
        )
    study = evidence.study
    return chart_figure(
        charts,
        f"Share of abnormal studies over their mean probability, before and after the temperature; "
        f"test, n = {study['n']:,} studies, {study['abnormal']:,} abnormal, in bins of equal "
        f"size. Bars: 95% intervals (Wilson).",
    )


def _bins(state: str, colour: str, table: pd.DataFrame, intervals: bool) -> Curve:
    """The dots of the bins; each can be read out with its interval and n."""
    shares = [
        f"{number(row.share_abnormal)} ({number(row.low)} to {number(row.high)})"
        for row in table.itertuples()
    ]
    return Curve(
        state,
        colour,
        list(table["probability"]),
        list(table["share_abnormal"]),
        {
            "mean probability": _texts(table["probability"]),
            "share abnormal": shares,
            "studies": [number(int(n)) for n in table["n"]],
        },
        line="solid" if state == "after" else "dashed",
        dots="full" if state == "after" else "hollow",
        low=list(table["low"]) if intervals else (),
        high=list(table["high"]) if intervals else (),
    )


def _texts(values: Sequence[float] | pd.Series) -> list[str]:
    return [number(float(value)) for value in values]

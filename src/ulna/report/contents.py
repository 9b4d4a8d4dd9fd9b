"""The contents of the report: which numbers, tables, figures and pictures it is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ulna.core.paths import ENSEMBLE
from ulna.evaluation import METRIC_NAMES, NAMES
from ulna.report.html import embed_figure, number, span
from ulna.report.pictures import Picture

FIGURES = pd.read_csv(Path(__file__).with_name("figures.csv"), index_col="name")
LABELS = {0: "normal", 1: "abnormal"}
INTERVAL = "value (95% interval over patients)"


@dataclass(frozen=True)
class ReportData:
    """The contents of the report; metrics, tables and figures are those that `inputs` names."""

    networks: Sequence[str]  # in the order of the page
    metrics: Mapping[str, Any]  # JSON, parsed
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, str]  # SVG; by_finding and the maps may be absent
    pictures: Mapping[str, Sequence[Picture]]  # see `ulna.report.pictures.GROUPS`
    reference: pd.DataFrame  # published kappas, see `ulna.evaluation.comparison.read_reference`
    versions: Mapping[str, str]  # of the libraries that the numbers depend on
    params: str  # the text of params.yaml
    root: str  # of the data set
    synthetic: bool  # whether the data set is the phantom

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The networks and their ensemble."""
        return (*self.networks, ENSEMBLE)

    @property
    def best(self) -> str:
        """The network that the page is about, see `best_network`."""
        return best_network(self.networks, self.tables)

    @property
    def test(self) -> Mapping[str, Any]:
        """Sizes of the test set per study, the same for all networks."""
        study: Mapping[str, Any] = self.metrics[self.networks[0]]["study"]
        return study

    def figure(self, name: str, **values: str) -> str:
        """A figure with the text of figures.csv, whose fields are n, abnormal and `values`.

        Empty where it was not drawn.
        """
        if name not in self.figures:
            return ""
        row = FIGURES.loc[name.rpartition("/")[2]]
        texts = (row[key].format(**{**self.test, **values}) for key in ("alt", "caption"))
        return embed_figure(self.figures[name], *texts)


def inputs(networks: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Name the metrics, tables and figures that the report is made from."""
    metrics = ["compare", "overfitting", "cross_part", "audit", "baselines", "occlusion"]
    tables = ["splits", "overfitting", "learning_curve", "cross_part", "occlusion"]
    figures = [
        *("splits", "examples", "architecture", "training_curves", "overfitting", "roc"),
        *("confusion", "by_finding", "by_body_part", "calibration", "compare", "cross_part"),
        *("audit", "baselines", "occlusion"),
    ]
    for arch in networks:
        metrics += [arch, f"saliency_{arch}"]
        tables += [f"history/{arch}", f"{arch}/by_body_part", f"{arch}/by_finding"]
        tables += [f"{arch}/disagreements"]
        figures += [f"{arch}/saliency"]
    return [*metrics, ENSEMBLE], tables, figures


def best_network(networks: Sequence[str], tables: Mapping[str, pd.DataFrame]) -> str:
    """The network with the highest AUROC of val studies, the first of equal ones."""
    splits = tables["overfitting"]
    val = splits[splits["split"] == "val"].set_index("network")["auroc"]
    return max(networks, key=lambda network: val.reindex([network]).fillna(-1.0).iloc[0])


def score_frame(data: ReportData, level: str) -> pd.DataFrame:
    """Every metric of every network with its interval, and the thresholds, as text."""
    scores = {arch: data.metrics[arch][level] for arch in data.evaluated}
    rows = [
        {"metric": name} | {NAMES[arch]: span(score, key) for arch, score in scores.items()}
        for key, name in METRIC_NAMES.items()
    ]
    thresholds = {NAMES[arch]: number(score["threshold"]) for arch, score in scores.items()}
    return pd.DataFrame([*rows, {"metric": "threshold (from val)"} | thresholds])


def pairs(data: ReportData) -> dict[tuple[str, str], Any]:
    """The comparison of each pair of networks."""
    keys = {key: key.partition("_vs_") for key in data.metrics["compare"]}
    return {(a, b): data.metrics["compare"][key] for key, (a, vs, b) in keys.items() if vs}

"""What the report is made from: numbers, tables and figures of the stages before it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ulna.figures.names import named
from ulna.paths import ENSEMBLE

FIGURES = (
    "splits", "examples", "architecture", "overfitting", "confusion", "kappa_by_body_part",
    "compare", "transfer", "audit", "baselines", "occlusion", "disagreements",
)  # fmt: skip
CHECKS = ("compare", "overfitting", "transfer", "audit", "baselines", "occlusion")
OF_A_NETWORK = ("roc", "precision_recall", "reliability", "by_body_part", "disagreements")

NOT_A_DEVICE = "For research. Not a medical device: nothing here says anything about a person."


@dataclass(frozen=True)
class Evidence:
    """All that the report shows.

    Attributes:
        networks: Those that were trained, in the order of params.yaml.
        metrics: The JSON files of `metrics/` that `metric_names` lists, parsed.
        tables: The CSV files that `table_names` lists by their path in `plots/tables/`.
        figures: The PNG files of `plots/` that `figure_names` lists by their path there.
        sizes: See `ulna.data.overview.count_splits`.
        reference: See `ulna.judging.reference.read_reference`.
        peers: See `ulna.report.peers.read_peers`.
        checklist: See `ulna.report.checklist.read_checklist`.
        versions: Name and version of each library that the numbers depend on.
        params: The text of params.yaml.
        root: data.root, what was learnt from.
    """

    networks: Sequence[str]
    metrics: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Path]
    sizes: pd.DataFrame
    reference: pd.DataFrame
    peers: pd.DataFrame
    checklist: pd.DataFrame
    versions: Mapping[str, str]
    params: str
    root: str

    @property
    def study(self) -> Mapping[str, Any]:
        """Metrics per study of the first network; sizes of the test set are those of all."""
        study: Mapping[str, Any] = self.metrics[self.networks[0]]["study"]
        return study


def metric_names(networks: Sequence[str]) -> list[str]:
    """List the files of numbers that the report reads."""
    return [*networks, ENSEMBLE, *CHECKS, *(f"explain_{arch}" for arch in networks)]


def table_names(networks: Sequence[str]) -> list[str]:
    """List the tables that the report reads."""
    own = [f"{arch}/{name}" for arch in networks for name in OF_A_NETWORK]
    own += [f"history/{arch}" for arch in networks]
    return ["overfitting", "learning_curve", "transfer", "occlusion", *own]


def figure_names(networks: Sequence[str]) -> list[str]:
    """List the figures that the report shows."""
    return [*FIGURES, *(f"{arch}/saliency" for arch in networks)]


def in_words(verdict: str) -> str:
    """A sentence of another stage with the networks called as they are here, and a full stop.

    Example:
        >>> in_words("cnn is better than densenet169: by 0.02 (-0.01 to 0.05)")
        'CNN is better than DenseNet169: by 0.02 (−0.01 to 0.05).'
    """
    verdict = re.sub(r"(?<!\w)-(?=\d)", "−", named(verdict))
    return f"{verdict[0].upper()}{verdict[1:].rstrip('.')}."

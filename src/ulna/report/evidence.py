"""What the report is made from: numbers, tables and figures of the stages before it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ulna.figures.names import NAMES, NETWORKS, named

# What the report is made from, by name: each is a dep of its stage in dvc.yaml.
METRIC_FILES = (
    *NAMES, *("compare", "overfitting", "transfer", "audit", "baselines", "occlusion"),
    *(f"explain_{arch}" for arch in NETWORKS),
)  # fmt: skip
TABLES = (
    *("overfitting", "learning_curve", "transfer", "occlusion"),
    *(
        f"{arch}/{name}"
        for arch in NETWORKS
        for name in (
            "history", "roc", "precision_recall", "reliability", "by_body_part", "disagreements",
        )
    ),
)  # fmt: skip
FIGURES = (
    "splits", "examples", "architecture", "overfitting", "confusion", "kappa_by_body_part",
    "compare", "transfer", "audit", "baselines", "occlusion", "disagreements",
    *(f"{arch}/saliency" for arch in NETWORKS),
)  # fmt: skip

NOT_A_DEVICE = "For research. Not a medical device: nothing here says anything about a person."


@dataclass(frozen=True)
class Evidence:
    """All that the report shows.

    Attributes:
        metrics: The JSON files of `metrics/` that `METRIC_FILES` names, parsed.
        tables: The CSV files of `plots/` that `TABLES` names by their path there.
        figures: The PNG files of `plots/` that `FIGURES` names by their path there.
        sizes: See `ulna.data.samples.count_splits`.
        reference: See `ulna.judging.reference.read_reference`.
        peers: See `ulna.report.peers.read_peers`.
        checklist: See `ulna.report.checklist.read_checklist`.
        versions: Name and version of each library that the numbers depend on.
        params: The text of params.yaml.
        root: data.root, what was learnt from.
    """

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


def in_words(verdict: str) -> str:
    """A sentence of another stage with the networks called as they are here, and a full stop.

    Example:
        >>> in_words("cnn is better than densenet169: by 0.02 (-0.01 to 0.05)")
        'CNN is better than DenseNet169: by 0.02 (−0.01 to 0.05).'
    """
    verdict = re.sub(r"(?<!\w)-(?=\d)", "−", named(verdict))
    return f"{verdict[0].upper()}{verdict[1:].rstrip('.')}."

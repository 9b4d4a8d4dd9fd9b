"""What the report is made from: numbers, tables and figures of the stages before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

NAMES = {"cnn": "CNN", "densenet169": "DenseNet169", "ensemble": "ensemble"}
METRICS = {
    "auroc": "AUROC",
    "auprc": "average precision",
    "kappa": "kappa",
    "accuracy": "accuracy",
    "recall": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "f1": "F1",
}
NOT_A_DEVICE = "For research. Not a medical device: nothing here says anything about a person."


@dataclass(frozen=True)
class Evidence:
    """All that the report shows.

    Attributes:
        metrics: cnn, densenet169 and ensemble, compare, transfer, audit, baselines, explain_cnn and
            explain_densenet169: the JSON files of `metrics/`, parsed.
        tables: The CSV files of `plots/` by their path there, such as `cnn/by_body_part`.
        figures: The PNG files of `plots/` by their path there, such as `roc`.
        sizes: See `ulna.data.overview.count_splits`.
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
        >>> in_words("cnn is better than densenet169")
        'CNN is better than DenseNet169.'
    """
    for arch, name in NAMES.items():
        verdict = verdict.replace(arch, name)
    return f"{verdict[0].upper()}{verdict[1:].rstrip('.')}."

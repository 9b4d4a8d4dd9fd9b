"""Evaluate the networks of `ulna.data.cross_part` on each body part, trained on it or not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ulna.core import InputError
from ulna.core.predictions import by_study, read_predictions
from ulna.data.cross_part import Network, network_named
from ulna.evaluation.bootstrap import (
    Replicates,
    bootstrap_metrics,
    ci_columns,
    estimates_with_ci,
    metrics_with_ci,
)
from ulna.evaluation.thresholds import Settings, choose_threshold

MEASURES = ("auroc", "kappa")
OVERALL = "overall"  # tested_on of all body parts together
CellNote = Literal["", "too_few", "one_class"]
INTERVALS = ci_columns(MEASURES)
SIZES = ("patients", "studies", "abnormal")
COLUMNS = ("trained_on", "tested_on", *SIZES, *INTERVALS, "threshold", "note")


def read_tables(folder: Path) -> dict[Network, pd.DataFrame]:
    """Read the prediction tables of all networks, `{name}.csv`, in the order of `plan`.

    Raises:
        InputError: There is none, one breaks a rule, or two do not hold the same images.
    """
    # Parts are in upper case, which sorts before "without".
    paths = sorted(folder.glob("*.csv"), key=lambda path: path.stem)
    if not paths:
        raise InputError(f"{folder} holds no prediction table: run `dvc repro transfer`")
    tables = {path: read_predictions(path) for path in paths}
    shared = {
        path: table.drop(columns=["logit", "probability"]).sort_values("image", ignore_index=True)
        for path, table in tables.items()
    }
    for path in paths[1:]:
        if not shared[path].equals(shared[paths[0]]):
            raise InputError(
                f"{path} and {paths[0]} differ in their images, splits or labels: run "
                "`dvc repro transfer`"
            )
    present = sorted(tables[paths[0]]["body_part"].unique())
    return {network_named(path.stem, present): table for path, table in tables.items()}


def evaluated_studies(network: Network, images: pd.DataFrame, evaluate: Settings) -> pd.DataFrame:
    """The studies of test with the network's threshold.

    It is chosen on the val studies of the parts that the network was trained on, and is one for all
    parts for any `evaluate.threshold_per`: of a new body part there are no val studies.

    Returns:
        See `ulna.core.predictions.by_study`, with a column threshold.

    Raises:
        InputError: The rule of the threshold cannot be applied.
    """
    studies = by_study(images, evaluate.aggregation)
    val = studies[(studies["split"] == "val") & studies["body_part"].isin(network.parts)]
    threshold = choose_threshold(
        evaluate.threshold, val["label"], val["probability"], evaluate.min_sensitivity
    )
    test = studies[studies["split"] == "test"].reset_index(drop=True)
    return test.assign(threshold=threshold)


def cross_part_table(
    tests: Mapping[Network, pd.DataFrame], replicates: Replicates, min_patients: int
) -> pd.DataFrame:
    """Evaluate every network on its `evaluated_studies` of every body part, and of all together.

    Returns:
        One row per network and body part, columns `COLUMNS`, of studies with 95% CIs; tested_on is
        a body part, or `OVERALL` as the last of each network. note is the reason why numbers are
        NaN: too_few (patients, in all or of a class) or one_class.
    """
    cells = [
        {"trained_on": network.name, "tested_on": name}
        | _evaluate(part, replicates, min_patients)
        | {"threshold": test["threshold"].iloc[0]}
        for network, test in tests.items()
        for name, part in [*test.groupby("body_part", sort=True), (OVERALL, test)]
    ]
    return pd.DataFrame(cells)[list(COLUMNS)]


def seen_and_unseen(
    network: Network, test: pd.DataFrame, replicates: Replicates, min_patients: int
) -> dict[str, Any]:
    """Evaluate a network on the parts it was trained on and on all others, and their difference.

    The difference is paired: in each replicate both sides are of the same patients. A part can also
    be harder than another for every network, seen or not: the difference includes that.

    Returns:
        threshold; seen and unseen, each with the columns of `cross_part_table`; and
        seen_minus_unseen with auroc and kappa, their `_low` and `_high`, and a note.
    """
    trained = test["body_part"].isin(network.parts)
    sides = {"seen": test[trained], "unseen": test[~trained]}
    metrics = {name: _evaluate(side, replicates, min_patients) for name, side in sides.items()}
    seen, unseen = (bootstrap_metrics(side, replicates) for side in sides.values())
    difference = estimates_with_ci(
        {name: metrics["seen"][name] - metrics["unseen"][name] for name in MEASURES},
        {name: seen[name] - unseen[name] for name in MEASURES},
    )
    for name in MEASURES:
        # A side without a value can have replicates with one.
        if np.isnan(difference[name]):
            difference |= dict.fromkeys(ci_columns([name]), np.nan)
    # Two sides with a value can have too few replicates in common.
    note = metrics["seen"]["note"] or metrics["unseen"]["note"] or _too_few(difference)
    return {
        "threshold": float(test["threshold"].iloc[0]),
        **metrics,
        "seen_minus_unseen": difference | {"note": note},
    }


def _evaluate(studies: pd.DataFrame, replicates: Replicates, min_patients: int) -> dict[str, Any]:
    """`SIZES`, `INTERVALS` and note of some studies."""
    metrics = metrics_with_ci(studies, replicates, min_patients)
    one_class = metrics["patients"] >= min_patients and studies["label"].nunique() == 1
    note: CellNote = "one_class" if one_class else _too_few(metrics)
    sizes = dict(zip(SIZES, (metrics[name] for name in ("patients", "n", "abnormal")), strict=True))
    return sizes | {name: metrics[name] for name in INTERVALS} | {"note": note}


def _too_few(values: Mapping[str, Any]) -> CellNote:
    # Enough patients, but hardly any of one class, are too few as well.
    return "too_few" if any(np.isnan(values[name]) for name in INTERVALS) else ""

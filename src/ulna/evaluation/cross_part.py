"""Prediction tables of `ulna.data.cross_part` -> how each network does on each body part."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ulna.core import InputError
from ulna.core.params import Evaluate
from ulna.core.predictions import by_study, read_predictions
from ulna.data.cross_part import Network, network_named
from ulna.evaluation.bootstrap import (
    Replicates,
    bootstrap_metrics,
    ci_columns,
    metrics_with_ci,
    percentile_ci,
)
from ulna.evaluation.comparison import OVERALL
from ulna.evaluation.thresholds import choose_threshold

MEASURES = ("auroc", "kappa")
CellNote = Literal["", "too_few", "one_class"]
INTERVALS = ci_columns(MEASURES)
SIZES = ("patients", "studies", "abnormal")
COLUMNS = ("trained_on", "tested_on", *SIZES, *INTERVALS, "threshold", "note")


def read_tables(folder: Path) -> dict[Network, pd.DataFrame]:
    """Read the prediction tables of all networks.

    Args:
        folder: `{name of the network}.csv`, see `ulna.core.predictions.read_predictions`.

    Returns:
        Network -> prediction table, in the order of `plan`.

    Raises:
        InputError: There is none, one breaks a rule, or two do not hold the same images.
    """
    # Parts are written in capitals, which sort before "without".
    paths = sorted(folder.glob("*.csv"), key=lambda path: path.stem)
    if not paths:
        raise InputError(f"{folder} holds no prediction table: run `dvc repro transfer`")
    tables = {path: read_predictions(path) for path in paths}
    judged = {
        path: table.drop(columns=["logit", "probability"]).sort_values("image", ignore_index=True)
        for path, table in tables.items()
    }
    for path in paths[1:]:
        if not judged[path].equals(judged[paths[0]]):
            raise InputError(
                f"{path} and {paths[0]} differ in their images, splits or labels: run "
                "`dvc repro transfer`"
            )
    present = sorted(tables[paths[0]]["body_part"].unique())
    return {network_named(path.stem, present): table for path, table in tables.items()}


def evaluated_studies(network: Network, images: pd.DataFrame, evaluate: Evaluate) -> pd.DataFrame:
    """Test studies with the network's threshold.

    The threshold is chosen on the val studies of the parts that the network was trained on, and is
    one for all parts whatever `evaluate.threshold_per`: who meets a body part for the first time
    has no val studies of it.

    Args:
        network: Which network.
        images: Its prediction table.
        evaluate: How views become a study, and the rule of the threshold.

    Returns:
        See `ulna.core.predictions.by_study`, split test alone, with the column threshold.

    Raises:
        InputError: The rule cannot be applied.
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
    """Judge every network on every body part, and on all together.

    Args:
        tests: Network -> its test studies, see `evaluated_studies`.
        replicates: Draws of the test patients.
        min_patients: A body part with fewer gets no numbers.

    Returns:
        One row a network and body part, columns COLUMNS; the numbers are of studies, intervals
        of 95%; tested_on is a body part, or `OVERALL` as the last of each network. note says why
        numbers are NaN: too_few (patients, of both classes or of one) or one_class.
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
    """Judge a network on the parts it was trained on, on all others, and take the difference.

    The difference is paired: in each draw both of its sides are of the same patients. A part can
    also be harder than another for every network, seen or not: the difference holds that too.

    Args:
        network: Which network.
        test: Its test studies, see `evaluated_studies`.
        replicates: Draws of the test patients.
        min_patients: A side with fewer gets no numbers.

    Returns:
        threshold; seen and unseen, each with the columns of `cross_part_table`; and seen_minus_unseen with
        auroc and kappa, their `_low` and `_high`, and a note.
    """
    trained = test["body_part"].isin(network.parts)
    sides = {"seen": test[trained], "unseen": test[~trained]}
    judged = {name: _evaluate(side, replicates, min_patients) for name, side in sides.items()}
    seen, unseen = (bootstrap_metrics(side, replicates) for side in sides.values())
    difference: dict[str, Any] = {}
    for name in MEASURES:
        value = judged["seen"][name] - judged["unseen"][name]
        low, high = percentile_ci(seen[name] - unseen[name])
        # A side without a number can have draws with one; two with numbers can share too few draws.
        if np.isnan(value) or np.isnan(low):
            value = low = high = np.nan
        difference |= {name: value, f"{name}_low": low, f"{name}_high": high}
    note = judged["seen"]["note"] or judged["unseen"]["note"] or _too_few(difference)
    return {
        "threshold": float(test["threshold"].iloc[0]),
        **judged,
        "seen_minus_unseen": difference | {"note": note},
    }


def _evaluate(studies: pd.DataFrame, replicates: Replicates, min_patients: int) -> dict[str, Any]:
    """SIZES, INTERVALS and note of some studies."""
    judged = metrics_with_ci(studies, replicates, min_patients)
    one_class = judged["patients"] >= min_patients and studies["label"].nunique() == 1
    note: CellNote = "one_class" if one_class else _too_few(judged)
    sizes = {"patients": judged["patients"], "studies": judged["n"], "abnormal": judged["abnormal"]}
    return sizes | {name: judged[name] for name in INTERVALS} | {"note": note}


def _too_few(values: Mapping[str, Any]) -> CellNote:
    """Enough patients, but hardly any of one class, are too few as well."""
    return "too_few" if any(np.isnan(values[name]) for name in INTERVALS) else ""

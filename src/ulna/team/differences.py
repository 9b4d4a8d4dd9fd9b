"""Paired differences between revisions, what follows from them, and ranks: as numbers and codes."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ulna.core import InputError
from ulna.evaluation import AT_CHANCE, LEVELS, NAMES
from ulna.evaluation.bootstrap import (
    METRICS,
    bootstrap_weights,
    differences,
    metrics_with_ci,
    table_metrics,
    too_few_studies,
)
from ulna.evaluation.evaluate import conclude_performance
from ulna.evaluation.thresholds import apply_thresholds
from ulna.team.revisions import Revision, show

# Codes of a difference, in the order in which they are listed; and of a rank.
SIGNIFICANT, NOT_SIGNIFICANT, NO_INTERVAL = "significant", "not_significant", "no_interval"
BEST, OTHER_TEST = "best", "other_test"
HEADLINE = "auroc"
AREAS = ("auroc", "auprc")  # metrics of the ranking, without a threshold


def differing_images(before: pd.DataFrame, after: pd.DataFrame, split: str) -> int:
    """Count the images of a split that only one has, or that have another label or study."""
    columns = ["image", "patient", "study", "body_part", "label"]
    one, two = (table.loc[table["split"] == split, columns] for table in (before, after))
    merged = one.merge(two, how="outer", indicator=True)
    return int(merged.loc[merged["_merge"] != "both", "image"].nunique())


def evaluated(revision: Revision, network: str, level: str, split: str) -> pd.DataFrame:
    """Rows of a split with their thresholds, in an order that all revisions share."""
    table, _ = apply_thresholds(revision.tables[network], level, revision.evaluate)
    return table[table["split"] == split].sort_values(level, ignore_index=True)


def compare_network(
    before: Revision, after: Revision, network: str, levels: Sequence[str], seed: int
) -> pd.DataFrame:
    """Paired differences of a network between two revisions with the same test set.

    Returns:
        One row per level and metric: network, level, n, patients, metric, before, after, difference
        (after less before), low, high, significance; few, whether val or test of one has too few
        studies of a class to conclude; chance, whether neither is better than chance by its AUROC;
        threshold_before, threshold_after (the mean of the rows). Numbers are NaN where undefined.
        The bootstrap follows the section evaluate of `after`.
    """
    rows = list[dict[str, Any]]()
    splits = product((before, after), ("val", "test"))
    few = too_few_studies(*(evaluated(each, network, "study", split) for each, split in splits))
    for level in levels:
        old, new = (evaluated(each, network, level, "test") for each in (before, after))
        replicates = bootstrap_weights(new["patient"], after.evaluate.bootstrap_replicates, seed)
        least = after.evaluate.min_patients
        paired = differences(new, old, replicates, least)
        was, now = table_metrics(old), table_metrics(new)
        scores = [metrics_with_ci(table, replicates, least) for table in (old, new)]
        shared = {
            "network": network,
            "level": level,
            "n": paired["n"],
            "patients": paired["patients"],
            "few": few,
            "chance": all(map(at_chance, scores)),
            "threshold_before": old["threshold"].mean(),
            "threshold_after": new["threshold"].mean(),
        }
        for metric in METRICS:
            row = shared | {"metric": metric, "before": was[metric], "after": now[metric]}
            rows.append(row | paired[metric] | {"significance": significance(paired[metric])})
    table = pd.DataFrame(rows)
    table.loc[table["difference"].isna(), ["before", "after"]] = np.nan
    return table


def at_chance(scores: Mapping[str, float]) -> bool:
    """Whether a network is no better than chance, by its AUROC."""
    return conclude_performance(scores) in AT_CHANCE


def significance(difference: Mapping[str, float]) -> str:
    """The code of a difference: whether its interval excludes 0."""
    low, high = difference["low"], difference["high"]
    if np.isnan([low, high]).any():
        return NO_INTERVAL
    return NOT_SIGNIFICANT if low <= 0 <= high else SIGNIFICANT


def notes(revisions: Sequence[Revision]) -> list[str]:
    """Networks that are left out: stale ones, and those of which a revision has no predictions."""
    lines = []
    for each in revisions:
        for network, old in each.stale.items():
            made = ", ".join(f"{name} {show(value)}" for name, value in old.items())
            lines.append(
                f"{NAMES[network]} of {each.name} is left out: made with {made}, not run since"
            )
    known = set[str]().union(*(each.tables for each in revisions))
    return lines + [
        f"{NAMES[network]} is left out: {each.name} has no predictions of it"
        for each in revisions
        for network in NAMES
        if network in known - each.tables.keys()
    ]


def fresh_tables(revisions: Sequence[Revision]) -> list[str]:
    """The networks of which every revision has predictions, none of them stale; at least one."""
    usable = [each.tables.keys() - each.stale.keys() for each in revisions]
    networks = [network for network in NAMES if all(network in each for each in usable)]
    if not networks:
        why = "; ".join(notes(revisions))
        raise InputError(
            f"no network has predictions in all revisions ({why}): run `dvc repro` there"
        )
    return networks


def compare_revisions(
    before: Revision, after: Revision, levels: Sequence[str] = LEVELS
) -> pd.DataFrame:
    """All differences between two revisions, see `compare_network`.

    Significant ones come first, the largest at the top, then the others, then those without an
    interval. Stale predictions are left out; different test sets are an InputError.
    """
    compared = []
    for network in fresh_tables([before, after]):
        if count := differing_images(before.tables[network], after.tables[network], "test"):
            problem = f"{before.name} and {after.name} have different test sets, in {count} images"
            raise InputError(f"{problem}: take the same data and the same data.body_parts")
        compared.append(compare_network(before, after, network, levels, after.seed))
    rows = pd.concat(compared, ignore_index=True)
    order = rows["significance"].map({SIGNIFICANT: 0, NOT_SIGNIFICANT: 1, NO_INTERVAL: 2})
    size = -rows["difference"].abs().fillna(0)
    return rows.iloc[np.lexsort((size, order))].reset_index(drop=True)


def conclude(rows: pd.DataFrame, seed_alone: bool = False) -> str:
    """The code of differences of one level, of `ulna.team.compare.CONCLUSIONS`: by the AUROC.

    Too few studies tell nothing, and networks no better than chance in both do not count. Where
    nothing but the seed differs, neither is better.
    """
    known = rows[rows["significance"] != NO_INTERVAL]
    if known.empty:
        return "no_interval"
    if not known[["difference", "low", "high"]].any(axis=None):
        return "same"
    if known["few"].any():
        return "too_few"
    known = known[~known["chance"]]
    if known.empty:
        return "chance"
    differ = known[known["significance"] == SIGNIFICANT]
    signs = set(np.sign(differ["difference"][differ["metric"] == headline(rows)]))
    if signs:
        # A kappa that moves against the AUROC is no gain.
        signs |= set(np.sign(differ["difference"][differ["metric"] == "kappa"]))
        side = "mixed" if len(signs) > 1 else "better" if signs == {1.0} else "worse"
        return "seed" if seed_alone else side
    if differ.empty:
        return "not_significant"
    return "seed" if seed_alone else "auprc" if set(differ["metric"]) & set(AREAS) else "threshold"


def headline(rows: pd.DataFrame) -> str:
    """The metric that decides: the AUROC, unless --metric chose another one."""
    return HEADLINE if HEADLINE in set(rows["metric"]) else str(rows["metric"].iloc[0])


def rank(revisions: Sequence[Revision], network: str, level: str, metric: str) -> pd.DataFrame:
    """Rank revisions by a metric on val, and compare each with the first on test.

    The choice is made on val, so it does not flatter the test score of the first.

    Returns:
        The best on val first: name, val, test, low, high (its 95% interval), behind, behind_low,
        behind_high (test less that of the first, with its paired interval), significance (`BEST`,
        `OTHER_TEST` where nothing can be compared), other_val (its val is not that of the first),
        chance (it is no better than chance on test, by the AUROC).
    """
    val = {
        each.name: table_metrics(evaluated(each, network, level, "val"))[metric]
        for each in revisions
    }
    order = sorted(revisions, key=lambda each: -np.nan_to_num(val[each.name], nan=-np.inf))
    best, rows = order[0], []
    for each in order:
        test, evaluate = evaluated(each, network, level, "test"), each.evaluate
        replicates = bootstrap_weights(test["patient"], evaluate.bootstrap_replicates, each.seed)
        result = metrics_with_ci(test, replicates, evaluate.min_patients)
        tables = best.tables[network], each.tables[network]
        other_test = differing_images(*tables, "test") > 0
        behind = [np.nan, np.nan, np.nan, OTHER_TEST if other_test else BEST]
        if each is not best and not other_test:
            paired = compare_network(best, each, network, [level], best.seed).set_index("metric")
            behind = paired.loc[metric, ["difference", "low", "high", "significance"]].tolist()
        test_ci = [result[f"{metric}{suffix}"] for suffix in ("", "_low", "_high")]
        other_val = differing_images(*tables, "val") > 0
        rows.append([each.name, val[each.name], *test_ci, *behind, other_val, at_chance(result)])
    columns = "name val test low high behind behind_low behind_high significance other_val chance"
    return pd.DataFrame(rows, columns=columns.split())

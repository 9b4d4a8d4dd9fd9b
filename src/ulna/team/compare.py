"""Tell which differences between revisions are significant, and rank three or more.

    ulna compare main                          the workspace against the branch main
    ulna compare main brave-newt               the experiment brave-newt against it
    ulna compare HEAD --format markdown        for a pull request
    ulna compare $(dvc exp list --name-only)   the best on val first, with its test score

`dvc metrics diff` gives two numbers. Here each difference has its 95% interval: both revisions are
evaluated on the same test patients, which the bootstrap replicates in pairs. A difference whose
interval includes 0 is not significant. Each revision's thresholds are chosen on its own val.
"""

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate  # type: ignore[import-untyped]  # DVC's own

from ulna.core import InputError
from ulna.evaluation.bootstrap import METRICS, bootstrap_weights, metrics_with_ci
from ulna.evaluation.comparison import differences
from ulna.evaluation.conclusions import METRICS as METRIC_NAMES
from ulna.evaluation.conclusions import NAMES
from ulna.evaluation.metrics import compute_metrics
from ulna.evaluation.thresholds import LEVELS, apply_thresholds
from ulna.team.revisions import WORKSPACE, Revision, different_code, open_repo, read_revision, show

# Codes of a difference, in the order in which they are listed; and of a rank.
SIGNIFICANT, NOT_SIGNIFICANT, NO_INTERVAL = "significant", "not_significant", "no_interval"
BEST, OTHER_TEST = "best", "other_test"
HEADLINE = "auroc"
STYLES = {True: "github", False: "plain"}  # of a table as Markdown, or for a terminal
# Code of a conclusion -> its sentence.
CONCLUSIONS = {
    "better": "{after} is better than {before}",
    "worse": "{after} is worse than {before}",
    "mixed": "{after} is better than {before} in some, worse in others",
    "seed": "{after} differs from {before}, by the seed alone",
    "not_significant": "no significant difference between {after} and {before}",
    "same": "{after} scores as {before} does",
    "no_interval": "too few patients, or no variation: no difference has an interval",
}
LIMITS = (
    "Intervals are over test patients, of these networks as they are trained, and not adjusted for "
    "the number of comparisons: of twenty between equally good ones about one excludes 0. What "
    "another seed of training would change is not in them: train both with several seeds."
)


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


def scores(table: pd.DataFrame) -> Mapping[str, float]:
    """Each metric of such rows."""
    return compute_metrics(table["label"], table["probability"], table["threshold"])


def compare_network(
    before: Revision, after: Revision, network: str, levels: Sequence[str], seed: int
) -> pd.DataFrame:
    """Paired differences of a network between two revisions with the same test set.

    Returns:
        One row per level and metric: network, level, n, patients, metric, before, after, difference
        (after less before), low, high, significance; numbers are NaN where undefined. The bootstrap
        follows the section evaluate of `after`.
    """
    rows = list[dict[str, Any]]()
    for level in levels:
        old, new = (evaluated(each, network, level, "test") for each in (before, after))
        replicates = bootstrap_weights(new["patient"], after.evaluate.bootstrap_replicates, seed)
        paired = differences(new, old, replicates, after.evaluate.min_patients)
        was, now = scores(old), scores(new)
        for metric in METRICS:
            row = {"network": network, "level": level, "metric": metric, "n": paired["n"]}
            row |= {"patients": paired["patients"], "before": was[metric], "after": now[metric]}
            rows.append(row | paired[metric] | {"significance": significance(paired[metric])})
    table = pd.DataFrame(rows)
    table.loc[table["difference"].isna(), ["before", "after"]] = np.nan
    return table


def significance(difference: Mapping[str, float]) -> str:
    """The code of a difference: whether its interval excludes 0."""
    low, high = difference["low"], difference["high"]
    if np.isnan([low, high]).any():
        return NO_INTERVAL
    return NOT_SIGNIFICANT if low <= 0 <= high else SIGNIFICANT


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
    """The code of `CONCLUSIONS` for differences of one level: by the AUROC, without a threshold.

    Where nothing but the seed differs, neither is better.
    """
    known = rows[rows["significance"] != NO_INTERVAL]
    if known.empty:
        return "no_interval"
    if not known[["difference", "low", "high"]].any(axis=None):
        return "same"
    headline = known[known["metric"] == HEADLINE]
    headline = known if headline.empty else headline  # --metric chose another one
    signs = set(np.sign(headline["difference"][headline["significance"] == SIGNIFICANT]))
    if seed_alone or not signs:
        return "seed" if signs else "not_significant"
    return "mixed" if len(signs) > 1 else "better" if signs == {1.0} else "worse"


def rank(revisions: Sequence[Revision], network: str, level: str, metric: str) -> pd.DataFrame:
    """Rank revisions by a metric on val, and compare each with the first on test.

    The choice is made on val, so it does not flatter the test score of the first.

    Returns:
        The best on val first: name, val, test, low, high (its 95% interval), behind, behind_low,
        behind_high (test less that of the first, with its paired interval), significance (`BEST`,
        `OTHER_TEST` where nothing can be compared), other_val (its val is not that of the first).
    """
    val = {each.name: scores(evaluated(each, network, level, "val"))[metric] for each in revisions}
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
        rows.append([each.name, val[each.name], *test_ci, *behind, other_val])
    columns = "name val test low high behind behind_low behind_high significance other_val"
    return pd.DataFrame(rows, columns=columns.split())


def changed_params(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Parameters that differ: dotted name, value before, value after."""
    from dvc.utils.flatten import flatten

    old, new = flatten(before), flatten(after)
    return [
        (name, show(old.get(name)), show(new.get(name)))
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]


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


def _with_ci(value: float, low: float, high: float, sign: str = "") -> str:
    if np.isnan(low):
        return "" if np.isnan(value) else f"{value:{sign}.3f}"
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def render(
    rows: pd.DataFrame, pair: Sequence[Revision], code: Sequence[str], markdown: bool = False
) -> str:
    """A comparison as text: what differs in parameters and in files of code, tables, limits."""
    before, after = pair[0].name, pair[1].name
    params = changed_params(pair[0].params, pair[1].params)
    seed_alone = [name for name, *_ in params] == ["seed"] and not code
    lines = [f"- {name}: {old} -> {new}" for name, old, new in params] or ["No parameter differs."]
    lines += [f"- {len(code)} files of code or data: {', '.join(code[:5])}"] if code else []
    lines += [f"- {note}." for note in notes(pair)]
    for level, part in rows.groupby("level", sort=False):
        conclusion = CONCLUSIONS[conclude(part, seed_alone)].format(before=before, after=after)
        size = f"n = {part['n'].iloc[0]}, {part['patients'].iloc[0]} patients of the test split"
        cells = [
            [NAMES[row.network], METRIC_NAMES[row.metric], f"{row.before:.3f}", f"{row.after:.3f}",
             _with_ci(row.difference, row.low, row.high, "+z"), row.significance.replace("_", " ")]
            for row in part.itertuples()
        ]  # fmt: skip
        header = ["network", "metric", before, after, "difference (95% interval)", ""]
        lines += ["", f"Per {level}: {conclusion} ({size})", ""]
        lines.append(tabulate(cells, header, STYLES[markdown], disable_numparse=True))
    return "\n".join([*lines, "", LIMITS if markdown else textwrap.fill(LIMITS, 100)])


def render_ranking(rows: pd.DataFrame, title: str, markdown: bool = False) -> str:
    """The ranking as text, what it is worth, and what to do next."""
    cells = [
        [row.name, f"{row.val:.3f}{' (other val)' if row.other_val else ''}",
         _with_ci(row.test, row.low, row.high),
         _with_ci(row.behind, row.behind_low, row.behind_high, "+z"),
         row.significance.replace("_", " ")]
        for row in rows.itertuples()
    ]  # fmt: skip
    header = ["revision", "val", "test (95% interval)", "behind the first on test", ""]
    count = rows["significance"].isin([NOT_SIGNIFICANT, NO_INTERVAL]).sum()
    worth = (
        f"{count} of {len(rows) - 1} cannot be told from the first on test. Taking the best on "
        "test instead flatters it by the choice. Another seed of training is not in the intervals."
    )
    if rows["other_val"].any():
        worth += (
            " Another val, as of another seed, split.val_fraction or data.body_parts, cannot be "
            "ranked with the others: the easiest may come first."
        )
    table = tabulate(cells, header, STYLES[markdown], disable_numparse=True)
    worth = worth if markdown else textwrap.fill(worth, 100)
    return f"Ranked by {title} on val:\n\n{table}\n\n{worth}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ulna compare`."""
    what = "commit, branch, tag, experiment or workspace"
    parser.add_argument("revisions", nargs="+", metavar="REV", help=what)
    parser.add_argument("--format", choices=("terminal", "markdown"), default="terminal")
    parser.add_argument("--level", choices=LEVELS, default="study", help="(%(default)s)")
    parser.add_argument("--metric", choices=METRICS, help="this one; of a ranking else auroc")
    parser.add_argument("--network", choices=NAMES, help="this one alone")


def run(arguments: argparse.Namespace) -> None:
    """Print the comparison of two, or the ranking of more."""
    names = list(dict.fromkeys(arguments.revisions))
    names += [WORKSPACE] if len(names) == 1 else []
    networks = [arguments.network] if arguments.network else NAMES
    with open_repo() as repo:
        revisions = [read_revision(repo, name, networks) for name in names]
    markdown, metric = arguments.format == "markdown", arguments.metric or HEADLINE
    if len(revisions) > 2:
        network = fresh_tables(revisions)[0]
        title = f"{METRIC_NAMES[metric]} of {NAMES[network]} per {arguments.level}"
        rows = rank(revisions, network, arguments.level, metric)
        print(render_ranking(rows, title, markdown))
        return
    before, after = revisions
    rows = compare_revisions(before, after, LEVELS if markdown else [arguments.level])
    if arguments.metric:
        rows = rows[rows["metric"] == metric]
    print(render(rows, revisions, different_code(before.commit, after.commit), markdown))

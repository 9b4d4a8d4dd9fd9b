"""Say which differences between two revisions are more than chance.

    ulna compare main                          the workspace against the branch main
    ulna compare main brave-newt               the experiment brave-newt against it
    ulna compare HEAD --format markdown        for a pull request

`dvc metrics diff` gives two numbers. Here each difference has its 95% interval: both revisions
judge the same test patients, and patients are drawn anew in pairs. A difference whose interval
holds 0 is noise. Each revision's thresholds are chosen on its own val, by its own `evaluate`. What
another seed of training would change is not in the intervals: train several.
"""

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ulna.errors import InputError
from ulna.judging.bootstrap import METRICS, resample
from ulna.judging.comparison import differences
from ulna.judging.evaluation import LEVELS, decided
from ulna.judging.metrics import score
from ulna.judging.names import METRICS as METRIC_NAMES
from ulna.judging.names import NAMES
from ulna.params import Evaluate
from ulna.team.overrides import flatten
from ulna.team.planner import show
from ulna.team.revisions import (
    NETWORKS,
    WORKSPACE,
    Revision,
    different_code,
    open_repo,
    read_revision,
    resolve,
)

COLUMNS = (
    "network",
    "level",
    "metric",
    "before",
    "after",
    "difference",
    "low",
    "high",
    "n",
    "patients",
    "found",
)
# What can be found of a difference, in the order in which they are listed.
REAL, NOISE, UNKNOWN = "beyond noise", "noise", "no interval"
HEADLINE = "auroc"
LIMITS = (
    "Intervals are over test patients, of these networks as they are trained, and each holds for "
    "itself: of twenty between equally good ones about one misses 0. What another seed of training "
    "would change is not in them: before a small difference is called an effect, train both with "
    "several seeds."
)
# What of a table must be the same for two revisions to be comparable.
SAME = ("patient", "study", "body_part", "label")


def check_same_test(before: pd.DataFrame, after: pd.DataFrame, names: tuple[str, str]) -> None:
    """Refuse two prediction tables of different test sets.

    Args:
        before: A checked prediction table.
        after: Another.
        names: Of the two revisions.

    Raises:
        InputError: Their test rows differ in images, patients, studies or labels; says in how many.
    """
    first, second = (
        table[table["split"] == "test"].set_index("image")[list(SAME)] for table in (before, after)
    )
    only = [len(one.index.difference(two.index)) for one, two in ((first, second), (second, first))]
    shared = first.index.intersection(second.index)
    unequal = int((first.loc[shared] != second.loc[shared]).any(axis=1).sum())
    if any(only) or unequal:
        faults = [
            f"{count} are only in {name}" for name, count in zip(names, only, strict=True) if count
        ]
        if unequal:
            faults.append(f"{unequal} have another patient, study or label")
        raise InputError(
            f"{names[0]} and {names[1]} judge different test sets ({len(first)} and {len(second)} "
            f"images): {', '.join(faults)}. Their scores cannot be compared: take the same data "
            "and the same data.body_parts"
        )


def compare_tables(
    before: tuple[pd.DataFrame, Evaluate],
    after: tuple[pd.DataFrame, Evaluate],
    seed: int,
    levels: Sequence[str] = LEVELS,
) -> pd.DataFrame:
    """How far a network of one revision is above that of another.

    Args:
        before: A checked prediction table, and how its revision judges.
        after: The same of the other revision, of the same test set; its section says also how many
            draws there are, and how few patients are too few.
        seed: Of the draws of patients.
        levels: study, image or both.

    Returns:
        One row a level and metric, columns `COLUMNS` but network: before and after are the values,
        difference is after less before, found is `REAL` where its interval does not hold 0, `NOISE`
        where it does, `UNKNOWN` where there is none.
    """
    rows = []
    for level in levels:
        old, new = (_test(table, level, evaluate) for table, evaluate in (before, after))
        resamples = resample(new["patient"], after[1].bootstrap_draws, seed)
        found = differences(new, old, resamples, after[1].min_patients)
        values = [score(t["label"], t["probability"], t["threshold"]) for t in (old, new)]
        for metric in METRICS:
            known = not np.isnan(found[metric]["difference"])
            rows.append(
                {"level": level, "metric": metric}
                | {
                    name: value[metric] if known else np.nan
                    for name, value in zip(("before", "after"), values, strict=True)
                }
                | found[metric]
                | {"n": found["n"], "patients": found["patients"]}
                | {"found": what_is(found[metric])}
            )
    return pd.DataFrame(rows, columns=list(COLUMNS[1:]))


def _test(images: pd.DataFrame, level: str, evaluate: Evaluate) -> pd.DataFrame:
    """The test rows in an order that both revisions share."""
    table, _ = decided(images, level, evaluate)
    return table[table["split"] == "test"].sort_values(level, ignore_index=True)


def what_is(difference: Mapping[str, float]) -> str:
    """Whether a difference is more than chance.

    Example:
        >>> what_is({"difference": 0.04, "low": 0.01, "high": 0.07})
        'beyond noise'
    """
    low, high = difference["low"], difference["high"]
    if np.isnan(low) or np.isnan(high):
        return UNKNOWN
    return NOISE if low <= 0 <= high else REAL


def compare_revisions(
    before: Revision, after: Revision, levels: Sequence[str] = LEVELS
) -> pd.DataFrame:
    """All differences between two revisions, the most telling first.

    Args:
        before: What is compared with.
        after: What is compared.
        levels: study, image or both.

    Returns:
        One row a network that both have, level and metric, columns `COLUMNS`: those beyond noise,
        the largest first, then noise, then those without an interval. Predictions that are stale
        are left out.

    Raises:
        InputError: The test sets differ, or no network has predictions in both.
    """
    shared = [network for network in before.tables if network in after.tables]
    if not shared:
        raise InputError(
            f"{before.name} has predictions of {', '.join(before.tables)} alone, {after.name} of "
            f"{', '.join(after.tables)}: there is no network to compare"
        )
    shared = [net for net in shared if net not in before.stale and net not in after.stale]
    if not shared:
        raise InputError(f"{stale_sentences(before, after)[0]} Run `dvc repro` there")
    found = []
    for network in shared:
        tables = before.tables[network], after.tables[network]
        check_same_test(*tables, (before.name, after.name))
        pair = (tables[0], before.evaluate), (tables[1], after.evaluate)
        found.append(compare_tables(*pair, after.seed, levels).assign(network=network))
    return ranked(pd.concat(found, ignore_index=True)[list(COLUMNS)])


def ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Beyond noise before noise before those without an interval, the largest first."""
    order = rows["found"].map({REAL: 0, NOISE: 1, UNKNOWN: 2})
    size = -rows["difference"].abs().fillna(0)
    return rows.iloc[np.lexsort((size, order))].reset_index(drop=True)


def verdict(rows: pd.DataFrame, names: tuple[str, str], seed_alone: bool = False) -> str:
    """What is to be said of two revisions: by the AUROC, as it hangs on no threshold.

    Args:
        rows: Differences of one level, see `compare_revisions`.
        names: Of the revisions: what is compared with, and what is compared.
        seed_alone: Nothing but the seed differs, so that neither is better.

    Returns:
        One or two sentences.
    """
    before, after = names
    per = f"per {rows['level'].iloc[0]}"
    known = rows[rows["found"] != UNKNOWN]
    if known.empty:
        return (
            f"{after} cannot be told apart from {before}: no difference has an interval, as there "
            "are too few patients or all draws of them give the same."
        )
    if not known[["difference", "low", "high"]].to_numpy().any():
        return f"{after} scores as {before} does, in all of {len(known)} numbers {per}."
    headline = known[known["metric"] == HEADLINE]
    # Of one other metric alone, that one.
    headline = known if headline.empty else headline
    real = headline[headline["found"] == REAL]
    shown = headline if real.empty else real
    spans = "; ".join(
        f"{METRIC_NAMES[row['metric']]} of {NAMES.get(row['network'], row['network'])} {_span(row)}"
        for row in shown.to_dict("records")
    )
    ways = {value > 0 for value in real["difference"]}
    found = {
        frozenset[bool](): f"{after} cannot be told apart from {before}",
        frozenset({True}): f"{after} is better than {before}",
        frozenset({False}): f"{after} is worse than {before}",
    }.get(frozenset(ways), f"{after} is better than {before} in some, worse in others")
    if seed_alone and ways:
        found = f"{after} differs from {before}, by the seed alone"
    beyond = int((known["found"] == REAL).sum())
    return (
        f"{found}: {spans}. Of {len(known)} numbers {per} {beyond} differ by more than another "
        "draw of test patients explains, for these networks as they are trained."
    )


def _span(row: Mapping[str, Any]) -> str:
    return f"{row['difference']:+z.3f} ({row['low']:+z.3f} to {row['high']:+z.3f})"


def changed_params(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Parameters that differ: dotted name, value before, value after."""
    old, new = flatten(before), flatten(after)
    return [
        (name, show(old.get(name)), show(new.get(name)))
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]


def _cells(row: Any) -> list[str]:
    name = NAMES.get(row["network"], row["network"]), METRIC_NAMES[row["metric"]]
    if row["found"] == UNKNOWN:
        return [*name, *(_number(row[key]) for key in ("before", "after")), UNKNOWN, ""]
    return [*name, f"{row['before']:.3f}", f"{row['after']:.3f}", _span(row), row["found"]]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def only_the_seed(before: Revision, after: Revision, code: Sequence[str]) -> bool:
    """Whether two revisions differ in their seed and nothing else."""
    changed = [name for name, *_ in changed_params(before.params, after.params)]
    return changed == ["seed"] and not code


def notes(before: Revision, after: Revision, code: Sequence[str]) -> list[str]:
    """What else a reader of the numbers must know: one sentence each."""
    found = []
    changed = [name for name, *_ in changed_params(before.params, after.params)]
    if only_the_seed(before, after, code):
        found.append("Only the seed differs: differences of this size come from it alone.")
    elif "seed" in changed:
        found.append("The seed differs too: a part of each difference may be its work.")
    data = [file for file in code if file.endswith(".dvc")]
    for what, files in (("Code", [file for file in code if file not in data]), ("Data", data)):
        if files:
            found.append(f"{what} differs in {len(files)} files: {', '.join(files[:5])}.")
    found += [f"Left out. {sentence}" for sentence in stale_sentences(before, after)]
    for network in NETWORKS:
        having = [revision.name for revision in (before, after) if network in revision.tables]
        if len(having) == 1:
            found.append(f"Only {having[0]} has predictions of {NAMES[network]}.")
    return found


def stale_sentences(*revisions: Revision) -> list[str]:
    """Which predictions are stale, and by what."""
    return [
        f"{NAMES.get(network, network)} of {revision.name} was made with "
        f"{', '.join(f'{name} {show(value)}' for name, value in old.items())}, and not again since "
        "that changed."
        for revision in revisions
        for network, old in revision.stale.items()
    ]


def render(
    rows: pd.DataFrame,
    revisions: tuple[Revision, Revision],
    code: Sequence[str],
    level: str = "study",
    markdown: bool = False,
) -> str:
    """A comparison as text.

    Args:
        rows: See `compare_revisions`.
        revisions: What is compared with, and what is compared.
        code: Files of code and `.dvc` files that differ.
        level: What stands in the table; in Markdown the other is folded below it.
        markdown: For a pull request; otherwise for a terminal.

    Returns:
        Verdict, parameters that differ, table, limits.
    """
    names = revisions[0].name, revisions[1].name
    shown = rows[rows["level"] == level]
    seed_alone = only_the_seed(*revisions, code)
    said = verdict(shown, names, seed_alone)
    stale = {network for revision in revisions for network in revision.stale}
    if stale:
        left = [NAMES[network] for network in NETWORKS if network in stale]
        said += f" Without {' and '.join(left)}, see below."
    params = changed_params(revisions[0].params, revisions[1].params)
    sizes = f"{shown['n'].iloc[0]} {_plural(level)} of {shown['patients'].iloc[0]} patients"
    header = ["network", "metric", *names, "difference (95% interval)", ""]
    table = [_cells(row) for row in shown.to_dict("records")]
    if markdown:
        lines = [f"**{said}**", ""]
        lines += [f"- `{name}`: {old} → {new}" for name, old, new in params] or [
            "No parameter differs."
        ]
        lines += ["", f"Per {level}, {sizes} of the test split:", "", *_piped(header, table), ""]
        lines += [f"{note}\n" for note in notes(*revisions, code)]
        lines += ["<details><summary>Details</summary>", "", LIMITS, ""]
        for other in LEVELS:
            more = rows[(rows["level"] == other) & (other != level)]
            if len(more):
                cells = [_cells(row) for row in more.to_dict("records")]
                judged = verdict(more, names, seed_alone)
                lines += [f"Per {other}: {judged}", "", *_piped(header, cells), ""]
        return "\n".join([*lines, "</details>"])
    lines = [*textwrap.wrap(said, 100), ""]
    lines += [f"  {name}: {old} -> {new}" for name, old, new in params] or ["No parameter differs."]
    lines += ["", f"Per {level}, {sizes} of the test split:", *_columns([header, *table]), ""]
    for note in [*notes(*revisions, code), LIMITS]:
        lines += textwrap.wrap(note, 100)
    return "\n".join(lines)


def _plural(level: str) -> str:
    return {"study": "studies", "image": "images"}[level]


def _piped(header: Sequence[str], table: Sequence[Sequence[str]]) -> list[str]:
    rows = [header, ["---", "---", "--:", "--:", "--:", "---"], *table]
    return [f"| {' | '.join(row)} |" for row in rows]


def _columns(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ulna compare`."""
    parser.add_argument("before", metavar="REV_A", help="commit, branch, tag or experiment")
    parser.add_argument(
        "after", nargs="?", default=WORKSPACE, metavar="REV_B", help="another (workspace)"
    )
    parser.add_argument("--format", choices=("terminal", "markdown"), default="terminal")
    parser.add_argument("--level", choices=LEVELS, default="study", help="(%(default)s)")
    parser.add_argument("--metric", choices=METRICS, help="this one alone")
    parser.add_argument("--network", choices=NETWORKS, help="this one alone")


def run(arguments: argparse.Namespace) -> None:
    """Print the comparison."""
    networks = (arguments.network,) if arguments.network else NETWORKS
    with open_repo() as repo:
        names = arguments.before, arguments.after
        commits = [name if name == WORKSPACE else resolve(repo, name) for name in names]
        before, after = (read_revision(repo, name, networks) for name in names)
    rows = compare_revisions(before, after)
    if arguments.metric:
        rows = rows[rows["metric"] == arguments.metric]
    # git compares the workspace with a commit, not the other way round; files are the same.
    old, new = commits if commits[0] != WORKSPACE else commits[::-1]
    code = [] if old == new else different_code(old, new)
    markdown = arguments.format == "markdown"
    print(render(rows, (before, after), code, arguments.level, markdown))

"""Tell which differences between revisions are significant, and rank three or more.

    ulna compare main                          the workspace against the branch main
    ulna compare main brave-newt               the experiment brave-newt against it
    ulna compare HEAD --format markdown        for a pull request
    ulna compare $(dvc exp list --name-only)   the best on val first, with its test score

`dvc metrics diff` gives two numbers. Here each difference has its 95% interval: both revisions are
evaluated on the same test patients, which the bootstrap replicates in pairs. A difference whose
interval includes 0 is not significant. Each revision's thresholds are chosen on its own val. A
network that is at chance in both decides nothing. Of the workspace only what dvc.lock names is
compared, and only what was run since its parameters, code and data changed.
"""

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate  # type: ignore[import-untyped]  # DVC's own

from ulna.evaluation import LEVELS, METRIC_NAMES, NAMES
from ulna.team.baseline import machine_note, read_environments
from ulna.team.differences import (
    HEADLINE,
    NO_INTERVAL,
    NOT_SIGNIFICANT,
    SIGNIFICANT,
    compare_revisions,
    conclude,
    fresh_tables,
    headline,
    notes,
    rank,
)
from ulna.team.revisions import WORKSPACE, Revision, different_code, open_repo, read_revision, show

STYLES = {True: "github", False: "plain"}  # of a table as Markdown, or for a terminal
WIDTH = 118  # characters of a line
# Code of a conclusion -> its sentence.
CONCLUSIONS = {
    "better": "{after} is better than {before} by {metric}",
    "worse": "{after} is worse than {before} by {metric}",
    "mixed": "{after} is better than {before} in some, worse in others",
    "seed": "{after} differs from {before}, by the seed alone",
    "threshold": "{after} ranks as well as {before}, but decides otherwise",
    "not_significant": "no significant difference between {after} and {before}",
    "auprc": "no significant difference in {metric} between {after} and {before}",
    "same": "{after} scores as {before} does",
    "chance": "no network is better than chance in either of {before} and {after}",
    "too_few": "too few studies to tell which is better",
    "no_interval": "too few patients, or no variation: no difference has an interval",
}
LIMITS = (
    "Intervals are over test patients, of these networks as they are trained, and not adjusted for "
    "the number of comparisons: of twenty between equally good ones about one excludes 0. What "
    "another seed of training would change is not in them: train both with several seeds."
)


def changed_params(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Parameters that differ: dotted name, value before, value after."""
    from dvc.utils.flatten import flatten

    old, new = flatten(before), flatten(after)
    return [
        (name, show(old.get(name)), show(new.get(name)))
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]


def state(rows: pd.DataFrame, names: Sequence[str], seed_alone: bool = False) -> str:
    """The conclusion on differences of one level as a sentence; networks at chance are named."""
    code, metric = conclude(rows, seed_alone), METRIC_NAMES[headline(rows)]
    sentence = CONCLUSIONS[code].format(before=names[0], after=names[1], metric=metric)
    if code == "threshold":
        differ = rows[(rows["significance"] == SIGNIFICANT) & ~rows["chance"]]
        moved = differ[differ["threshold_before"] != differ["threshold_after"]]
        shown = ", ".join(
            f"{NAMES[row.network]} {row.threshold_before:.3f} -> {row.threshold_after:.3f}"
            for row in moved.drop_duplicates("network").itertuples()
        )
        sentence += f": the threshold moved, {shown}" if shown else ", at the same threshold"
    idle = [NAMES[network] for network in rows.loc[rows["chance"], "network"].unique()]
    if idle and code not in ("chance", "same", "too_few"):
        sentence += f"; no better than chance in both, so without a say: {', '.join(idle)}"
    return sentence


def _with_ci(value: float, low: float, high: float, sign: str = "") -> str:
    if np.isnan(low):
        return "" if np.isnan(value) else f"{value:{sign}.3f}"
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def _wrap(text: str, markdown: bool) -> str:
    if markdown:
        return text
    # A file's name may hold a hyphen.
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _short(name: str, width: int, markdown: bool) -> str:
    return name if markdown or len(name) <= width else f"{name[: width - 3]}..."


def render(
    rows: pd.DataFrame,
    pair: Sequence[Revision],
    code: Sequence[str],
    markdown: bool = False,
    machines: str = "",
) -> str:
    """A comparison as text: what differs in parameters and in files of code, tables, limits.

    machines: see `ulna.team.baseline.machine_note`.
    """
    names = [each.name for each in pair]
    params = changed_params(pair[0].params, pair[1].params)
    seed_alone = [name for name, *_ in params] == ["seed"] and not code
    lines = [f"- {name}: {old} -> {new}" for name, old, new in params] or ["No parameter differs."]
    lines += [f"- {len(code)} files of code or data: {', '.join(code[:5])}"] if code else []
    lines += [f"- {note}." for note in (*notes(pair), machines) if note]
    lines = [_wrap(line, markdown) for line in lines]
    for level, part in rows.groupby("level", sort=False):
        size = f"n = {part['n'].iloc[0]}, {part['patients'].iloc[0]} patients of the test split"
        cells = [
            [NAMES[row.network], METRIC_NAMES[row.metric], f"{row.before:.3f}", f"{row.after:.3f}",
             _with_ci(row.difference, row.low, row.high, "+z"), row.significance.replace("_", " ")]
            for row in part.itertuples()
        ]  # fmt: skip
        shown = [_short(name, 20, markdown) for name in names]
        header = ["network", "metric", *shown, "difference (95% interval)", ""]
        conclusion = f"Per {level}: {state(part, names, seed_alone)} ({size})"
        lines += ["", _wrap(conclusion, markdown), ""]
        lines.append(tabulate(cells, header, STYLES[markdown], disable_numparse=True))
    return "\n".join([*lines, "", _wrap(LIMITS, markdown)])


def render_ranking(
    rows: pd.DataFrame, title: str, markdown: bool = False, machines: str = ""
) -> str:
    """The ranking as text, and what it is worth; machines as of `render`."""
    cells = [
        [_short(row.name, 28, markdown),
         f"{row.val:.3f}{' (other val)' if row.other_val else ''}",
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
    if idle := rows.loc[rows["chance"], "name"].tolist():
        worth += f" No better than chance on test: {', '.join(idle)}."
    worth += f" {machines}." if machines else ""
    table = tabulate(cells, header, STYLES[markdown], disable_numparse=True)
    return f"Ranked by {title} on val:\n\n{table}\n\n{_wrap(worth, markdown)}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ulna compare`."""
    what = "commit, branch, tag, experiment or workspace"
    parser.add_argument("revisions", nargs="+", metavar="REV", help=what)
    parser.add_argument("--format", choices=("terminal", "markdown"), default="terminal")
    parser.add_argument("--level", choices=LEVELS, default="study", help="(%(default)s)")
    parser.add_argument("--metric", choices=METRIC_NAMES, help="this one; of a ranking else auroc")
    parser.add_argument("--network", choices=NAMES, help="this one alone")


def run(arguments: argparse.Namespace) -> None:
    """Print the comparison of two, or the ranking of more."""
    names = list(dict.fromkeys(arguments.revisions))
    names += [WORKSPACE] if len(names) == 1 else []
    networks = [arguments.network] if arguments.network else NAMES
    with open_repo() as repo:
        revisions = [read_revision(repo, name, networks) for name in names]
    markdown, metric = arguments.format == "markdown", arguments.metric or HEADLINE
    environments = [read_environments(each.commit) for each in revisions]
    notes_of_machines = (
        machine_note((names[0], name), environments[0], other)
        for name, other in zip(names[1:], environments[1:], strict=True)
    )
    machines = next(filter(None, notes_of_machines), "")
    if len(revisions) > 2:
        network = fresh_tables(revisions)[0]
        title = f"{METRIC_NAMES[metric]} of {NAMES[network]} per {arguments.level}"
        rows = rank(revisions, network, arguments.level, metric)
        print(render_ranking(rows, title, markdown, machines))
        return
    before, after = revisions
    rows = compare_revisions(before, after, LEVELS if markdown else [arguments.level])
    if arguments.metric:
        rows = rows[rows["metric"] == metric]
    code = different_code(before.commit, after.commit)
    print(render(rows, revisions, code, markdown, machines))

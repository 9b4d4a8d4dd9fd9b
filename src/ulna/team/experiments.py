"""List experiments in 120 columns: loss, AUROC and kappa of each network, what was changed.

    ulna experiments                           those made from the last commit
    ulna experiments -A                        of all commits
    ulna experiments --sort-by cnn.auroc --sort-order desc

Made of `dvc exp show`, which has a column for each metric and parameter: some 130, of which a
terminal shows the first. Scores are of test studies; `ulna compare` tells which differences are
significant.
"""

import argparse
import csv
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from tabulate import tabulate  # type: ignore[import-untyped]  # DVC's own

from ulna.core import InputError
from ulna.core.params import Params
from ulna.evaluation import NETWORKS
from ulna.team.revisions import WORKSPACE

WIDTH = 120
SCORE = re.compile(r"\w+\.(auroc|kappa|sensitivity|specificity|n)(_low|_high)?")
NOTE = "= : as in the commit that it was made from, perhaps because it was not evaluated again."
Row = Mapping[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define those options of `dvc exp show` that choose or sort rows; they are passed on."""
    parser.add_argument("-a", "--all-branches", action="store_true", help="of all branches")
    parser.add_argument("-A", "--all-commits", action="store_true", help="of all commits")
    parser.add_argument("-n", "--num", metavar="N", help="of the last N commits")
    parser.add_argument("--rev", help="of this commit, branch or tag")
    parser.add_argument("--sort-by", metavar="COLUMN", help="such as cnn.auroc or loss")
    parser.add_argument("--sort-order", choices=("asc", "desc"), help="asc if not given")


def run(arguments: argparse.Namespace) -> None:
    """Ask DVC for the table, show what fits."""
    words = []
    for name, value in vars(arguments).items():
        if name != "command" and value:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
    command = [sys.executable, "-m", "dvc", "exp", "show", "--csv", *words]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise InputError(" ".join(done.stderr.split()))
    # Then another commit than the workspace's may come first.
    chosen = arguments.rev or arguments.all_branches or arguments.all_commits
    print(show_rows(list(csv.DictReader(done.stdout.splitlines())), head_first=not chosen))


def show_rows(rows: Sequence[Row], head_first: bool = True) -> str:
    """Lay out rows of `dvc exp show --csv` as a table of at most `WIDTH` columns.

    head_first: Whether HEAD, which the workspace was made from, is the first commit of the rows.
    """
    pairs = list(_with_base(rows, head_first))
    networks = [name for name in NETWORKS if any(row.get(f"{name}.auroc") for row in rows)]
    header = ["experiment", "created", "loss"]
    header += [title for name in networks for title in (f"{NETWORKS[name]}\nAUROC", "\nkappa")]
    cells = [
        [_name(row), row["State"] if row.get("State") else row["Created"][:16].replace("T", " ")]
        + [row.get("loss", "")]
        + [_score(row, base, f"{name}.{key}") for name in networks for key in ("auroc", "kappa")]
        for row, base in pairs
    ]
    lines = tabulate(cells, header, "plain", disable_numparse=True).splitlines()
    used = max(map(len, lines))
    changes = [_changes(row, base) for row, base in pairs]
    wrapped = [textwrap.fill(text, max(20, WIDTH - used - 2)) for text in changes]
    table = [[*row, text] for row, text in zip(cells, wrapped, strict=True)]
    shown = tabulate(table, [*header, "changed"], "plain", disable_numparse=True)
    return f"{shown}\n{NOTE}" if any("=" in row for row in cells) else shown


def _with_base(rows: Sequence[Row], head_first: bool) -> Iterator[tuple[Row, Row]]:
    """Each row with that of the commit it was made from; a commit with itself."""
    head = rows[1] if head_first and len(rows) > 1 else None
    base: Row = {}
    for row in rows:
        if row["typ"] == "baseline":
            base = head if head and row["rev"] == WORKSPACE else row
        yield row, base


def _name(row: Row) -> str:
    name = row["Experiment"] or row["rev"]
    return name if row["typ"] == "baseline" else f"- {name}"


def _score(row: Row, base: Row, column: str) -> str:
    value = row.get(column)
    if not value or value == "!":  # a file of metrics that is missing or broken
        return value or "-"
    return "=" if row is not base and value == base.get(column) else f"{float(value):.3f}"


def _changes(row: Row, base: Row) -> str:
    """The parameters that differ from those of the commit, without the loss."""
    return " ".join(
        f"{name}={value}"
        for name, value in row.items()
        if name.split(".")[0] in Params.model_fields
        and name != "loss"
        and not SCORE.fullmatch(name)
        and value != base.get(name)
    )

"""Show the headline of the last run, and where to read on: how `make repro` ends.

AUROC, with its 95% CI, and Cohen's kappa of each network per study of the test split; what the
first network finds and misses; and whether HEAD's results come from another machine.
"""

import argparse
import textwrap

from ulna.core import paths
from ulna.core.io import read_json
from ulna.core.params import load_params
from ulna.evaluation import NAMES
from ulna.evaluation.conclusions import Numbers, by_finding, found_and_false, number
from ulna.team.baseline import other_machine

REPORT = paths.PLOTS / "report.html"
WIDTH = 118


def headline(scores: Numbers) -> list[str]:
    """Say AUROC and kappa of each network, network -> scores per study of the test split."""
    n = next(iter(scores.values()))["n"]
    aurocs = [f"{NAMES.get(name, name)} {_auroc(row)}" for name, row in scores.items()]
    kappas = [f"{NAMES.get(name, name)} {number(row['kappa'], 2)}" for name, row in scores.items()]
    return [
        f"AUROC of the {n} test studies (95% CI): {', '.join(aurocs)}",
        f"Cohen's kappa: {', '.join(kappas)}",
    ]


def _auroc(row: Numbers) -> str:
    value, low, high = (number(row[name], 2) for name in ("auroc", "auroc_low", "auroc_high"))
    return value if row["auroc"] is None else f"{value} ({low} to {high})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`ulna summary` has no arguments."""


def run(arguments: argparse.Namespace) -> None:
    """Print it."""
    networks = load_params(paths.PARAMS).networks
    scores: dict[str, Numbers] = {}
    for name in (*networks, paths.ENSEMBLE):
        scores |= read_json(paths.metrics(name))
    details = read_json(paths.details(networks[0]))
    name = NAMES[networks[0]]
    lines = [
        *headline(scores),
        f"{name}: {found_and_false(details['study'])} {by_finding(details['by_finding'])}",
        f"How sure that is, and what speaks against it: open {REPORT}",
        *([note] if (note := other_machine()) else []),
    ]
    print("\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines))

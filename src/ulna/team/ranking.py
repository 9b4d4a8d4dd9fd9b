"""Rank runs by a metric, and tell the distance from the best from noise."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ulna.errors import InputError
from ulna.judging.bootstrap import METRICS
from ulna.judging.evaluation import LEVELS, decided
from ulna.judging.metrics import score
from ulna.team.compare import NOISE, UNKNOWN, check_same_test, compare_tables
from ulna.team.revisions import NETWORKS, WORKSPACE, Revision

BEST = "best"


@dataclass(frozen=True)
class Metric:
    """A number of `metrics/<network>.json`.

    Example:
        >>> str(Metric.parse("cnn:study.auroc"))
        'cnn:study.auroc'
    """

    network: str
    level: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "Metric":
        """Read one from the command line; an unknown one is an InputError."""
        found = re.fullmatch(r"(\w+):(\w+)\.(\w+)", text)
        if found:
            network, level, name = found.groups()
            if network in NETWORKS and level in LEVELS and name in METRICS:
                return cls(network, level, name)
        raise InputError(
            f"--metric {text} is unknown: expected NETWORK:LEVEL.METRIC, as in cnn:study.auroc, of "
            f"{', '.join(NETWORKS)}; {', '.join(LEVELS)}; {', '.join(METRICS)}"
        )

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.network}:{self.level}.{self.name}"

    def read(self, text: str) -> tuple[float, float, float]:
        """The value and its interval from `metrics/<network>.json`, NaN where there is none."""
        scores = json.loads(text)[self.level]
        value, low, high = (scores[f"{self.name}{end}"] for end in ("", "_low", "_high"))
        return tuple(np.nan if number is None else float(number) for number in (value, low, high))  # type: ignore[return-value]


def rank(
    metric: Metric, results: Mapping[str, tuple[float, float, float]], held: Mapping[str, Revision]
) -> pd.DataFrame:
    """Rank by a metric, and tell the distance from the best from noise.

    Args:
        metric: Higher is better, as of all metrics.
        results: Name -> value, low and high of the test split; NaN where undefined.
        held: Name -> its predictions, of those that have them.

    Returns:
        One row a name, the best first: name, value, low, high, val (the metric on val, NaN without
        predictions), behind, behind_low, behind_high (value less the best, with its paired 95%
        interval), found (see `ulna.team.compare`; of the best: `BEST`).
    """
    order = sorted(results, key=lambda name: -np.nan_to_num(results[name][0], nan=-np.inf))
    best = order[0]
    rows = []
    for name in order:
        value, low, high = results[name]
        row = {"name": name, "value": value, "low": low, "high": high, "val": np.nan}
        row |= {"behind": value - results[best][0], "behind_low": np.nan, "behind_high": np.nan}
        row["found"] = BEST if name == best else UNKNOWN
        if name in held:
            row["val"] = val_score(held[name], metric)
            if name != best and best in held:
                pair = [(held[each].tables[metric.network], held[each].evaluate)
                        for each in (best, name)]  # fmt: skip
                check_same_test(pair[0][0], pair[1][0], (best, name))
                compared = compare_tables(pair[0], pair[1], held[best].seed, [metric.level])
                found = compared[compared["metric"] == metric.name].iloc[0]
                row |= {"behind_low": found["low"], "behind_high": found["high"]}
                row["found"] = found["found"]
        rows.append(row)
    return pd.DataFrame(rows)


def val_score(revision: Revision, metric: Metric) -> float:
    """A metric on val: what a choice may look at."""
    table, _ = decided(revision.tables[metric.network], metric.level, revision.evaluate)
    val = table[table["split"] == "val"]
    return float(score(val["label"], val["probability"], val["threshold"])[metric.name])


def render(
    rows: pd.DataFrame, metric: Metric, labels: Mapping[str, str], failed: Sequence[str]
) -> str:
    """The ranking for a terminal, and what to do next."""
    width = max(len(labels[name]) for name in rows["name"])
    names = max(map(len, rows["name"]))
    lines = [f"Ranked by {metric} of the test split (95% interval over patients):"]
    for row in rows.to_dict("records"):
        span = f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        behind = f"{row['behind']:+z.3f} ({row['behind_low']:+z.3f} to {row['behind_high']:+z.3f})"
        said = row["found"] if row["found"] in (BEST, UNKNOWN) else f"{behind} {row['found']}"
        val = f"val {row['val']:.3f}"
        lines.append(
            f"{labels[row['name']]:<{width}}  {row['name']:<{names}}  {span:<24}  {val:<9}  {said}"
        )
    alike = rows[rows["found"].isin([NOISE, UNKNOWN])]
    first = labels[rows["name"].iloc[0]]
    lines.append("")
    if len(rows) > 1:
        verdict = (
            f"{len(alike)} of {len(rows) - 1} others cannot be told apart from {first}."
            if len(alike)
            else f"{first} is better than all others by more than noise."
        )
        lines += textwrap.wrap(
            f"{verdict} The best of {len(rows)} on test is flattered by having been chosen there: "
            "to report a test score, choose by val. Another seed of training is not in the "
            "intervals.",
            100,
        )
    best = next((name for name in rows["name"] if name != WORKSPACE), None)
    if best:
        lines.append(
            f"`dvc exp apply {best}` brings that into the workspace, `dvc exp branch {best} NAME` "
            f"makes it a branch, `ulna compare HEAD {best}` says more."
        )
    if failed:
        lines.append(f"{len(failed)} failed: {', '.join(failed)}.")
    return "\n".join(lines)

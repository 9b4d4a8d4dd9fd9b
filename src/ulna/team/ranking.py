"""Rank runs by a metric on val, and tell on test the distance from the first from noise."""

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
from ulna.team.compare import NOISE, SAME, UNKNOWN, compare_tables
from ulna.team.revisions import NETWORKS, WORKSPACE, Revision

BEST = "best"
OTHER_TEST = "another test set"


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
    """Rank by a metric on val, and tell on test the distance from the first from noise.

    The choice is made on val; so the test score of the first is not flattered by it.

    Args:
        metric: Higher is better, as of all metrics.
        results: Name -> value, low and high of the test split; NaN where undefined.
        held: Name -> its predictions, of those that have them.

    Returns:
        One row a name, the best on val first and those without predictions last: name, value, low,
        high, val (NaN without predictions), other_val (whether its val is not that of the first),
        behind, behind_low, behind_high (value less that of the first, with its paired 95%
        interval), found (see `ulna.team.compare`; of the first: `BEST`; where nothing can be
        compared: `OTHER_TEST`).
    """
    val = {name: val_score(held[name], metric) if name in held else np.nan for name in results}

    def keys(name: str) -> tuple[float, float]:
        first, second = np.nan_to_num([val[name], results[name][0]], nan=-np.inf)
        return -first, -second

    order = sorted(results, key=keys)
    best = order[0]
    rows = []
    for name in order:
        value, low, high = results[name]
        row = {"name": name, "value": value, "low": low, "high": high, "val": val[name]}
        row |= {"behind": value - results[best][0], "behind_low": np.nan, "behind_high": np.nan}
        row |= {"other_val": False, "found": BEST if name == best else UNKNOWN}
        if name in held and best in held and name != best:
            pair = [(held[each].tables[metric.network], held[each].evaluate)
                    for each in (best, name)]  # fmt: skip
            row["other_val"] = not _same(pair[0][0], pair[1][0], "val")
            if _same(pair[0][0], pair[1][0], "test"):
                compared = compare_tables(pair[0], pair[1], held[best].seed, [metric.level])
                found = compared[compared["metric"] == metric.name].iloc[0]
                row |= {"behind_low": found["low"], "behind_high": found["high"]}
                row["found"] = found["found"]
            else:
                row |= {"behind": np.nan, "found": OTHER_TEST}
        rows.append(row)
    return pd.DataFrame(rows)


def _same(first: pd.DataFrame, second: pd.DataFrame, split: str) -> bool:
    """Whether two prediction tables judge the same images in a split."""
    one, two = (
        table[table["split"] == split].set_index("image")[list(SAME)].sort_index()
        for table in (first, second)
    )
    return bool(one.equals(two))


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
    lines = [f"Ranked by {metric} on val; beside it on test (95% interval over patients):"]
    for row in rows.to_dict("records"):
        span = f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        behind = f"{row['behind']:+z.3f} ({row['behind_low']:+z.3f} to {row['behind_high']:+z.3f})"
        compared = row["found"] not in (BEST, UNKNOWN, OTHER_TEST)
        said = f"{behind} {row['found']}" if compared else row["found"]
        val = f"val {row['val']:.3f}{'*' if row['other_val'] else ''}"
        lines.append(
            f"{labels[row['name']]:<{width}}  {row['name']:<{names}}  {val:<10}  {span:<24}  {said}"
        )
    alike = rows[rows["found"].isin([NOISE, UNKNOWN])]
    others = int((~rows["found"].isin([BEST, OTHER_TEST])).sum())
    first = labels[rows["name"].iloc[0]]
    lines.append("")
    if rows["other_val"].any():
        lines += textwrap.wrap(
            f"* On other val patients than {first}, as after a change of seed, split.val_fraction "
            "or data.body_parts: the easiest val may rank first, so do not choose by this ranking.",
            100,
        )
    if len(strangers := rows[rows["found"] == OTHER_TEST]):
        lines += textwrap.wrap(
            f"{len(strangers)} have another test set than {first}: their scores cannot be compared "
            "with its.",
            100,
        )
    if others:
        verdict = (
            f"{len(alike)} of {others} others cannot be told apart from {first} on test."
            if len(alike)
            else f"On test the {others} others differ from {first} by more than noise."
        )
        lines += textwrap.wrap(
            f"{verdict} Who takes the best on test instead of the first here is flattered by the "
            "choice. Another seed of training is not in the intervals.",
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

"""Try a grid of parameters and rank what comes of it.

    ulna grid -S 'loss=bce,focal' -S 'cnn.learning_rate=0.001,0.002' --jobs 2 evaluate@cnn

Every combination is checked before the first is queued; what the workspace or an experiment of this
commit has already is not run again. The rest is DVC's: `dvc exp run --queue`, `dvc queue start`.
Each run happens in a copy of its own, from the workspace as it was when the run was queued. In the
end all are ranked by a metric of the test split, and the distance of each from the best is told
from noise as `ulna compare` does.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ulna import paths
from ulna.errors import InputError
from ulna.judging.bootstrap import METRICS
from ulna.judging.evaluation import LEVELS, decided
from ulna.judging.metrics import score
from ulna.params import Params, load_params, parse_params
from ulna.team.compare import UNKNOWN, check_same_test, compare_tables
from ulna.team.overrides import check_overrides, points, read_raw
from ulna.team.plan import plan
from ulna.team.revisions import (
    LOCK,
    NETWORKS,
    WORKSPACE,
    Revision,
    different_code,
    git_text,
    open_repo,
    read_revision,
    resolve,
    stale_params,
)

DVC = (sys.executable, "-m", "dvc")
# Of a failed run, what is repeated.
LAST_LINES = 12
SECONDS_BETWEEN_LOOKS = 2.0
# DVC's workers take a few seconds to start. Runs that wait so long while none works have no worker.
SECONDS_WITHOUT_WORKER = 90.0


@dataclass(frozen=True)
class Point:
    """A combination of parameters.

    Attributes:
        words: What `-S` would say.
        params: All parameters with it.
    """

    words: tuple[str, ...]
    params: Params

    def __str__(self) -> str:
        """As it is typed."""
        return " ".join(self.words)


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


def check_points(words: Sequence[str]) -> list[Point]:
    """Every combination, checked.

    Args:
        words: What stands after each `-S`, sweeps among them.

    Returns:
        All combinations, those that are twice there too.

    Raises:
        InputError: A combination is refused by `ulna.params`; it is named.
    """
    found = []
    for chosen in points(words):
        try:
            found.append(Point(tuple(chosen), check_overrides(chosen)))
        except InputError as error:
            raise InputError(f"{' '.join(chosen)}: {error}. Nothing was queued") from None
    return found


def sort_out(
    wanted: Sequence[Point], known: Mapping[str, Params]
) -> tuple[list[Point], dict[str, Point], list[str]]:
    """Part what is to be run from what there is already.

    Args:
        wanted: The points of the grid.
        known: Name of an experiment, or workspace -> its parameters.

    Returns:
        The points to run, each once; name -> the point that it holds already; and a sentence for
        each point that is not run.
    """
    new: list[Point] = []
    there: dict[str, Point] = {}
    said = []
    for point in wanted:
        name = next((name for name, params in known.items() if params == point.params), None)
        twin = next((other for other in new if other.params == point.params), None)
        if name is not None:
            if name in there:
                said.append(f"{point} is the same as {there[name]}: tried once")
            else:
                there[name] = point
                what = "the workspace as it is" if name == WORKSPACE else f"experiment {name}"
                said.append(f"{point} is {what}: not run again")
        elif twin is not None:
            said.append(f"{point} is the same as {twin}: tried once")
        else:
            new.append(point)
    return new, there, said


def known_results(repo: Any, metric: Metric, targets: Sequence[str]) -> dict[str, Params]:
    """What need not be run: the workspace and experiments of this commit, as far as they are done.

    Args:
        repo: See `open_repo`.
        metric: What is wanted of them.
        targets: Stages that the grid stops at.

    Returns:
        Name -> parameters, of those with the code of the workspace and a metric made with these
        parameters; the workspace comes first.
    """
    found = {}
    todo = [planned for planned in plan((), targets).stages if planned.verdict != "does not run"]
    if not todo and paths.metrics(metric.network).exists():
        found[WORKSPACE] = load_params(paths.PARAMS)
    for experiments in repo.experiments.ls(rev="HEAD").values():
        for name, commit in experiments:
            if different_code(commit, WORKSPACE):
                continue
            params = _params_of(commit)
            raw, lock = (read_raw(git_text(commit, f) or "{}") for f in (paths.PARAMS, Path(LOCK)))
            path = paths.metrics(metric.network)
            if params and not stale_params(lock.get("stages", {}), path, raw):
                found[name] = params
    return found


def _params_of(commit: str) -> Params | None:
    """Parameters of a commit; None of another form."""
    try:
        return parse_params(read_raw(git_text(commit, paths.PARAMS) or ""), source=commit)
    except InputError:
        return None


def waiting_in_queue(repo: Any) -> dict[str, Params]:
    """Name -> parameters of what DVC's queue holds and has not finished."""
    queue = repo.experiments.celery_queue
    found = {}
    for entry in [*queue.iter_active(), *queue.iter_queued()]:
        if params := _params_of(entry.stash_rev):
            found[entry.name] = params
    return found


def environment() -> dict[str, str]:
    """DVC starts `dvc` and `python`: they must be those that run this."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return os.environ | {"PATH": path}


def call_dvc(*arguments: str) -> str:
    """What a command of DVC prints; a failure is an InputError with its last lines."""
    # Files, not pipes: workers that it starts keep them open, and a pipe would be read to its end.
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(
            [*DVC, *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=errors,
            check=False,
        )
        said.seek(0)
        errors.seek(0)
        if done.returncode:
            last = [line.strip() for line in errors if line.strip()][-LAST_LINES:]
            raise InputError(f"`dvc {' '.join(arguments)}` failed: {' '.join(last)}")
        return said.read()


def queue(point: Point, targets: Sequence[str]) -> str:
    """Queue a point as an experiment, and return the name that DVC gave it."""
    overrides = [word for override in point.words for word in ("-S", override)]
    said = call_dvc("exp", "run", "--queue", *overrides, *targets)
    name = re.search(r"Queued experiment '([^']+)'", said)
    if name is None:
        raise InputError(f"`dvc exp run --queue` gave no name: {said.strip()}")
    return name.group(1)


def wait(repo: Any, named: Mapping[str, Point]) -> list[str]:
    """Wait until the queue has finished runs, and say how far it is.

    Args:
        repo: See `open_repo`.
        named: Name of each -> its point.

    Returns:
        The names of those that failed.

    Raises:
        InputError: Runs wait, and there is no worker that works.
    """
    began = changed = time.monotonic()
    before: dict[str, str] = {}
    while True:
        tasks = repo.experiments.celery_queue.status()
        now = {task["name"]: task["status"] for task in tasks if task["name"] in named}
        for name, status in now.items():
            if status != before.get(name) and status != "Queued":
                changed = time.monotonic()
                done = sum(status in ("Success", "Failed") for status in now.values())
                print(
                    f"{changed - began:5.0f} s  {done} of {len(named)} done, {name} "
                    f"({named[name]}): {status.lower()}",
                    flush=True,
                )
        before = now
        if all(now.get(name) in ("Success", "Failed") for name in named):
            return [name for name in named if now[name] == "Failed"]
        idle = "Running" not in now.values() and not any(
            task["status"] == "Running" for task in tasks
        )
        if idle and time.monotonic() - changed > SECONDS_WITHOUT_WORKER:
            raise InputError(
                f"runs wait and none has begun for {SECONDS_WITHOUT_WORKER:.0f} s: "
                "`dvc queue status` shows them, `dvc queue start` starts workers"
            )
        time.sleep(SECONDS_BETWEEN_LOOKS)


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
        interval), found (see `ulna.team.compare`; of the best: best).
    """
    order = sorted(results, key=lambda name: -np.nan_to_num(results[name][0], nan=-np.inf))
    best = order[0]
    rows = []
    for name in order:
        value, low, high = results[name]
        row = {"name": name, "value": value, "low": low, "high": high, "val": np.nan}
        row |= {"behind": value - results[best][0], "behind_low": np.nan, "behind_high": np.nan}
        row["found"] = "best" if name == best else UNKNOWN
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
        said = row["found"] if row["found"] in ("best", UNKNOWN) else f"{behind} {row['found']}"
        val = f"val {row['val']:.3f}"
        lines.append(
            f"{labels[row['name']]:<{width}}  {row['name']:<{names}}  {span:<24}  {val:<9}  {said}"
        )
    alike = rows[rows["found"].isin(["noise", UNKNOWN])]
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ulna grid`."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="stages to stop at; all")
    parser.add_argument(
        *("-S", "--set-param"),
        action="append",
        required=True,
        metavar="KEY=VALUE,VALUE",
        help="values of a parameter, as for `dvc exp run --queue -S`; may be repeated",
    )
    parser.add_argument(
        "--metric", default="cnn:study.auroc", help="NETWORK:LEVEL.METRIC (%(default)s)"
    )
    parser.add_argument("--jobs", "-j", type=int, default=1, help="runs at once (%(default)s)")
    parser.add_argument("--queue-only", action="store_true", help="queue them and start none")


def run(arguments: argparse.Namespace) -> None:
    """Queue, run, rank."""
    metric = Metric.parse(arguments.metric)
    if arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs}: expected 1 or more")
    wanted = check_points(arguments.set_param)
    with open_repo() as repo:
        known = known_results(repo, metric, arguments.targets)
        waiting = waiting_in_queue(repo)
        new, there, said = sort_out(wanted, known | waiting)
        print("\n".join([f"{len(wanted)} points, {len(new)} to run", *said]), flush=True)
        named = {queue(point, arguments.targets): point for point in new}
        # Those that somebody queued before are waited for too.
        named |= {name: point for name, point in there.items() if name in waiting}
        done = {name: point for name, point in there.items() if name not in waiting}
        for name, point in named.items():
            print(f"queued as {name}: {point}", flush=True)
        if arguments.queue_only:
            print("`dvc queue start` runs them; this command again, without --queue-only, ranks.")
            return
        failed: list[str] = []
        if named:
            others = len(waiting) - sum(name in named for name in waiting)
            if others:
                print(f"{others} other runs in DVC's queue are started with them")
            call_dvc("queue", "start", "--jobs", str(arguments.jobs))
            try:
                failed = wait(repo, named)
            except KeyboardInterrupt:
                print(
                    "\nThe runs go on without this command. `dvc queue status` shows them, "
                    "`dvc queue stop --kill` ends them, this command again ranks them.",
                    file=sys.stderr,
                )
                raise
        for name in failed:
            print(f"\n{name} ({named[name]}) failed. The last it said:\n{log_of(name)}")
        show = done | {name: point for name, point in named.items() if name not in failed}
        results: dict[str, tuple[float, float, float]] = {}
        held: dict[str, Revision] = {}
        for name in show:
            result = read_metric(repo, name, metric)
            if result is not None:
                results[name] = result
                held |= predictions_of(repo, name, metric)
    if not results:
        raise InputError("no run has a result")
    labels = {name: str(point) for name, point in show.items()}
    print("\n" + render(rank(metric, results, held), metric, labels, failed))
    if failed:
        raise SystemExit(1)


def log_of(name: str) -> str:
    """The last lines that a run printed."""
    try:
        lines = call_dvc("queue", "logs", name).splitlines()
    except InputError as error:
        lines = [str(error)]
    return "\n".join(f"  {line}" for line in lines[-LAST_LINES:])


def read_metric(repo: Any, name: str, metric: Metric) -> tuple[float, float, float] | None:
    """A metric of the workspace or an experiment; None where it has none."""
    path = paths.metrics(metric.network)
    if name == WORKSPACE:
        text: str | None = path.read_text(encoding="utf-8")
    else:
        text = git_text(resolve(repo, name), path)
    return metric.read(text) if text else None


def predictions_of(repo: Any, name: str, metric: Metric) -> dict[str, Revision]:
    """The predictions of one network, if they are here."""
    try:
        return {name: read_revision(repo, name, [metric.network])}
    except InputError:
        return {}

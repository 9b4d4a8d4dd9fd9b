"""Try a grid of parameters and rank what comes of it.

    ulna grid -S 'loss=bce,focal' -S 'cnn.learning_rate=0.001,0.002' --jobs 2 evaluate@cnn

Every combination is checked before the first is queued; what the workspace or an experiment of this
commit has already is not run again. The rest is DVC's: `dvc exp run --queue`, `dvc queue start`.
Each run happens in a copy of its own, from the workspace as it was when the run was queued. In the
end all are ranked by a metric on val, with the test score beside, whose distance from that of the
first is told from noise as `ulna compare` does. A grid over seed, split.val_fraction or
data.body_parts gives runs other val patients, of whom the easiest may rank first: it says so.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ulna import paths
from ulna.errors import InputError
from ulna.params import Params, load_params, parse_params
from ulna.team.overrides import check_overrides, points, read_raw
from ulna.team.planner import Planned, plan
from ulna.team.ranking import Metric, rank, render
from ulna.team.revisions import (
    LOCK,
    WORKSPACE,
    Revision,
    different_code,
    find_stale,
    git_text,
    open_repo,
    producer,
    read_revision,
    resolve,
)

DVC = (sys.executable, "-m", "dvc")
# Of a failed run, what is repeated.
LAST_LINES = 12
SECONDS_BETWEEN_LOOKS = 2.0
# DVC's workers take a few seconds to start, on a busy machine more. Runs that wait so long while
# none works have no worker.
SECONDS_WITHOUT_WORKER = 300.0


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


def check_made(repo: Any, metric: Metric, stages: Sequence[str]) -> None:
    """Refuse a grid that would be ranked by a metric that its runs do not make.

    Args:
        repo: See `open_repo`.
        metric: What the grid is ranked by.
        stages: All that a run goes through.

    Raises:
        InputError: None of them makes it; says which stage does.
    """
    path = paths.metrics(metric.network)
    makers = [
        stage.addressing
        for stage in repo.index.stages
        if any(Path(out.fs_path) == Path(repo.root_dir) / path for out in stage.outs)
    ]
    if not set(makers) & set(stages):
        raise InputError(
            f"these runs do not make {path}, by which they are to be ranked: add the target "
            f"{' or '.join(makers) or 'that does'}, or give the --metric of another network"
        )


def known_results(repo: Any, metric: Metric, stages: Sequence[Planned]) -> dict[str, Params]:
    """What need not be run: the workspace and experiments of this commit, as far as they are done.

    Args:
        repo: See `open_repo`.
        metric: What is wanted of them.
        stages: What would become of those of a run in the workspace.

    Returns:
        Name -> parameters, of those with the code of the workspace and a metric made with these
        parameters; the workspace comes first.
    """
    found = {}
    todo = [planned for planned in stages if planned.verdict != "does not run"]
    if not todo and paths.metrics(metric.network).exists():
        found[WORKSPACE] = load_params(paths.PARAMS)
    for experiments in repo.experiments.ls(rev="HEAD").values():
        commits = dict(experiments)
        for name, params in with_this_code(commits).items():
            if is_made(commits[name], metric):
                found[name] = params
    return found


def is_made(commit: str, metric: Metric) -> bool:
    """Whether a commit's metric was made with the parameters and files that it has."""
    raw, lock = (
        read_raw(git_text(commit, file) or "", f"{file} of {commit}")
        for file in (paths.PARAMS, Path(LOCK))
    )
    stages, path = lock.get("stages", {}), paths.metrics(metric.network)
    return producer(stages, path.as_posix()) is not None and not find_stale(stages, path, raw)


def _params_of(commit: str) -> Params | None:
    """Parameters of a commit; None of another form."""
    try:
        return parse_params(read_raw(git_text(commit, paths.PARAMS) or "", commit), source=commit)
    except InputError:
        return None


def in_queue(repo: Any) -> dict[str, str]:
    """Name -> commit of what DVC's queue holds and has not finished."""
    tasks = repo.experiments.celery_queue
    return {entry.name: entry.stash_rev for entry in [*tasks.iter_active(), *tasks.iter_queued()]}


def with_this_code(commits: Mapping[str, str]) -> dict[str, Params]:
    """Name -> parameters, of those commits that have the code of the workspace."""
    found = {}
    for name, commit in commits.items():
        params = _params_of(commit)
        if params and not different_code(commit, WORKSPACE):
            found[name] = params
    return found


def environment() -> dict[str, str]:
    """DVC starts `dvc` and `python`: they must be those that run this."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return os.environ | {"PATH": path}


def call_dvc(*arguments: str) -> str:
    """What a command of DVC prints; a failure is an InputError with its last lines.

    Ctrl-C does not reach it: in the midst of its work DVC may leave an edit in `git stash`. It is
    waited for.
    """
    # Files, not pipes: workers that it starts keep them open, and a pipe would be read to its end.
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [*DVC, *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=errors,
            start_new_session=True,
        )
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise
        said.seek(0)
        errors.seek(0)
        if process.returncode:
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


def queue_all(wanted: Sequence[Point], targets: Sequence[str]) -> dict[str, Point]:
    """Queue points, and return the name of each; Ctrl-C lets DVC end what it is at."""
    named: dict[str, Point] = {}
    try:
        for point in wanted:
            named[queue(point, targets)] = point
    except KeyboardInterrupt:
        print(
            f"\nStopped: of {len(wanted)} runs at most {len(named) + 1} are queued, and none is "
            "started. `dvc queue status` shows them, `dvc queue remove --queued` takes all out, "
            "this command again goes on.",
            file=sys.stderr,
        )
        raise
    return named


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
        idle = all(task["status"] != "Running" for task in tasks)
        if idle and time.monotonic() - changed > SECONDS_WITHOUT_WORKER:
            raise InputError(
                f"runs wait and none has begun for {SECONDS_WITHOUT_WORKER:.0f} s: "
                "`dvc queue status` shows them, `dvc queue start` starts workers"
            )
        time.sleep(SECONDS_BETWEEN_LOOKS)


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
    stages = plan((), arguments.targets).stages
    with open_repo() as repo:
        check_made(repo, metric, [planned.stage for planned in stages])
        known = known_results(repo, metric, stages)
        before = in_queue(repo)
        waiting = with_this_code(before)
        new, there, said = sort_out(wanted, known | waiting)
        print("\n".join([f"{len(wanted)} points, {len(new)} to run", *said]), flush=True)
        named = queue_all(new, arguments.targets)
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
            if others := sum(name not in named for name in before):
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
            if result is None:
                print(
                    f"{name} ({show[name]}) has not made {paths.metrics(metric.network)}: left out"
                )
            else:
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
    """A metric of the workspace or an experiment; None where it has not made it."""
    path = paths.metrics(metric.network)
    if name == WORKSPACE:
        text: str | None = path.read_text(encoding="utf-8")
    else:
        commit = resolve(repo, name)
        text = git_text(commit, path) if is_made(commit, metric) else None
    return metric.read(text) if text else None


def predictions_of(repo: Any, name: str, metric: Metric) -> dict[str, Revision]:
    """The predictions of one network, if they are here."""
    try:
        return {name: read_revision(repo, name, [metric.network])}
    except InputError:
        return {}

"""Run independent stages side by side: what `make repro JOBS=2` does.

DVC runs one stage after the other. Here every stage that may have to run is handed to a
`dvc repro --single-item` of its own as soon as all that it waits for has ended; DVC's locks keep
these apart. A plain `dvc repro` in the end finds what is left, as a rule nothing: no result hangs
on what stands here.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import psutil

LOCK = Path("dvc.lock")
# Stages with a network: they take longest and need most memory, so they go first, and only as many
# at once as fit into it. All others stay below 0.3 GiB.
HEAVY = ("train", "predict", "transfer", "learning_curve", "explain")
GIB = 2**30
# Of a stage with a network. Training and explaining DenseNet169 took most, 1.4 at 96 px with 32
# images a batch; as much again is left to larger images.
STAGE_GIB = 3.0
# What is repeated of a stage that failed: its last lines may stand among those of another.
LAST_LINES = 12
DVC = (sys.executable, "-m", "dvc")
# The same, but a DVC that ends when this process is killed, and with it the stage that it runs.
WATCHED_DVC = (
    sys.executable,
    "-c",
    "import psutil, sys; from ulna.processes import end_with; end_with(psutil.Process().parent()); "
    "from dvc.cli import main; sys.exit(main(sys.argv[1:]))",
)
# How long stages may take to end once they are asked to.
SECONDS_TO_END = 10.0

# Stage -> the stages that it waits for; those waited for come first, as `dvc repro` would run them.
Needs = dict[str, frozenset[str]]


def is_heavy(stage: str) -> bool:
    """Whether a stage, such as `train@cnn`, has a network."""
    return stage.split("@")[0] in HEAVY


def may_run(needs: Needs, changed: Collection[str]) -> Needs:
    """The part of a pipeline that may have to run.

    Args:
        needs: The whole pipeline.
        changed: Stages whose inputs, outputs or commands differ from dvc.lock.

    Returns:
        These and all that follow from them, which wait for one another only.

    Example:
        >>> chain = {"a": frozenset(), "b": frozenset({"a"}), "c": frozenset({"b"})}
        >>> may_run(chain, {"b"})
        {'b': frozenset(), 'c': frozenset({'b'})}
    """
    found: Needs = {}
    for stage, upstream in needs.items():
        if stage in changed or upstream & found.keys():
            found[stage] = upstream.intersection(found)
    return found


def by_priority(needs: Needs) -> list[str]:
    """Heavy stages first, and of these the ones that most others wait for, directly or not."""
    followers: dict[str, set[str]] = {stage: set() for stage in needs}
    for stage in reversed(needs):
        for upstream in needs[stage]:
            followers[upstream] |= {stage} | followers[stage]
    return sorted(needs, key=lambda stage: (not is_heavy(stage), -len(followers[stage])))


def choose(
    waiting: Sequence[str],
    needs: Needs,
    done: Collection[str],
    running: Collection[str],
    jobs: int,
    heavy_jobs: int,
) -> list[str]:
    """Which stages to start now.

    Args:
        waiting: Those not started, the most urgent first.
        needs: What each waits for.
        done: Those that ended well.
        running: Those that have not ended.
        jobs: How many may run at once.
        heavy_jobs: How many of these may be heavy.

    Returns:
        The ones to start; never so many that there are more than `jobs`.
    """
    chosen: list[str] = []
    for stage in waiting:
        together = [*running, *chosen]
        if len(together) == jobs:
            break
        if is_heavy(stage) and sum(map(is_heavy, together)) >= heavy_jobs:
            continue
        if needs[stage] <= set(done):
            chosen.append(stage)
    return chosen


def order_of_lock(
    recorded: Sequence[str], before: Sequence[str], order: Sequence[str]
) -> list[str]:
    """The order in which `dvc repro` would have left the stages of dvc.lock.

    Args:
        recorded: All that stand in it now.
        before: Those that stood in it at first: each keeps its place.
        order: The order in which `dvc repro` runs them: new ones are added in that order.

    Returns:
        `recorded`, put in order.

    Example:
        >>> order_of_lock(["b", "d", "c", "a"], before=["b"], order=["a", "b", "c", "d"])
        ['b', 'a', 'c', 'd']
    """
    kept = [stage for stage in recorded if stage in before]
    return kept + sorted((s for s in recorded if s not in before), key=list(order).index)


@dataclass
class Job:
    """A stage that was started: its process, and its last lines."""

    process: subprocess.Popen[str]
    said: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))


def run_all(
    needs: Needs, command: Callable[[str], Sequence[str]], jobs: int, heavy_jobs: int
) -> dict[str, Job]:
    """Run stages, each once all that it waits for has ended well.

    Lines that they print are passed on behind the stage's name. After a failure nothing new is
    started, and what runs is let end. Whatever ends this function ends all that it started.

    Args:
        needs: What to run, and what each waits for.
        command: Of a stage.
        jobs: How many run at once.
        heavy_jobs: How many of these may be heavy.

    Returns:
        Those that failed.
    """
    width = max(map(len, needs), default=0)
    waiting = by_priority(needs)
    running: dict[str, Job] = {}
    done: set[str] = set()
    failed: dict[str, Job] = {}
    ended: SimpleQueue[str] = SimpleQueue()

    def pass_on(stage: str, job: Job) -> None:
        try:
            with job.process as process:
                for line in process.stdout or ():
                    job.said.append(line.rstrip())
                    # In one piece: lines of two stages must not mix.
                    sys.stdout.write(f"{stage:<{width}} | {line.rstrip()}\n")
                    sys.stdout.flush()
        finally:
            # Even if nobody reads what is printed: the loop below waits for it.
            ended.put(stage)

    try:
        while True:
            if not failed:
                for stage in choose(waiting, needs, done, running, jobs, heavy_jobs):
                    waiting.remove(stage)
                    running[stage] = Job(start(command(stage)))
                    threading.Thread(
                        target=pass_on, args=(stage, running[stage]), daemon=True
                    ).start()
            if not running:
                return failed
            stage = ended.get()
            job = running.pop(stage)
            if job.process.returncode:
                failed[stage] = job
            else:
                done.add(stage)
    finally:
        end([job.process for job in running.values()])


def start(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a process whose output can be read, as the head of a group: it is ended as one."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )


def end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End processes and all that these started: first as Ctrl-C does, then by force."""

    def tell(number: int) -> None:
        for process in processes:
            # The group may outlive its head, and be gone as well.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)

    try:
        tell(signal.SIGINT)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
    finally:
        tell(signal.SIGKILL)


@contextlib.contextmanager
def ending_as_by_hand() -> Iterator[None]:
    """Let the signals that end a process do so through `finally`, as Ctrl-C does."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signals = (signal.SIGTERM, signal.SIGHUP)
    former = {number: signal.signal(number, leave) for number in signals}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def read_pipeline() -> tuple[Needs, set[str]]:
    """Ask DVC for the stages of dvc.yaml in the order in which it runs them, and which changed."""
    from dvc.repo import Repo, lock_repo
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    with Repo(_wait_for_lock=True) as repo, lock_repo(repo):
        graph = get_active_graph(repo.index.graph)
        needs = {
            stage.addressing: frozenset(upstream.addressing for upstream in graph.successors(stage))
            for stage in plan_repro(graph, collect_stages(repo, ["dvc.yaml"]))
        }
        return needs, set(repo.status())


def stages_in_lock() -> list[str]:
    """The stages of dvc.lock, in its order; none where it is missing."""
    from dvc.utils.serialize import load_yaml

    return list(load_yaml(LOCK).get("stages", {})) if LOCK.exists() else []


def put_lock_in_order(before: Sequence[str], order: Sequence[str]) -> None:
    """Give the stages of dvc.lock the order that `dvc repro` gives them."""
    from dvc.repo import Repo, lock_repo
    from dvc.utils.serialize import modify_yaml

    recorded = stages_in_lock()
    wanted = order_of_lock(recorded, before, order)
    if wanted == recorded:
        return
    with Repo(_wait_for_lock=True) as repo, lock_repo(repo), repo.scm_context() as git:
        with modify_yaml(LOCK) as lock:
            lock["stages"] = {stage: lock["stages"][stage] for stage in wanted}
        # The last dvc to write it added it to git, if core.autostage says so.
        git.track_file(str(LOCK))


def heavy_jobs(jobs: int, stage_gib: float, free_bytes: float) -> int:
    """How many heavy stages fit into the free memory: at least one, at most `jobs`."""
    return max(1, min(jobs, int(free_bytes / GIB / stage_gib)))


def repro(jobs: int, stage_gib: float) -> int:
    """Bring the pipeline up to date.

    Args:
        jobs: How many stages run at once.
        stage_gib: Memory that a stage with a network needs.

    Returns:
        Exit code: of `dvc repro`, or 1 if a stage failed before it.
    """
    from dvc.exceptions import DvcException

    try:
        before = stages_in_lock()
        needs, changed = read_pipeline()
    except DvcException:
        # Such as a fault in dvc.yaml: `dvc repro` names it.
        return subprocess.run([*DVC, "repro"], check=False).returncode
    todo = may_run(needs, changed)
    free = psutil.virtual_memory().available
    heavy = heavy_jobs(jobs, stage_gib, free)
    if todo:
        print(
            f"side by side: {len(todo)} of {len(needs)} stages may have to run, {jobs} at once; of "
            f"those with a network {heavy}: {free / GIB:.1f} GiB are free, each needs "
            f"{stage_gib:g}",
            flush=True,
        )
    try:
        failed = run_all(
            todo,
            lambda stage: [*WATCHED_DVC, "--wait-for-lock", "repro", "--single-item", stage],
            jobs,
            heavy,
        )
    finally:
        put_lock_in_order(before, list(needs))
    for stage, job in failed.items():
        print(f"\n{stage} failed. The last it said:", *job.said, sep="\n  ", file=sys.stderr)
    if failed:
        return 1
    return subprocess.run([*DVC, "repro"], check=False).returncode


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", type=int, help="how many stages run at once")
    parser.add_argument(
        "--stage-gib",
        type=float,
        default=STAGE_GIB,
        help="memory that a stage with a network needs (%(default)s)",
    )
    arguments = parser.parse_args()
    if arguments.jobs < 1 or arguments.stage_gib <= 0:
        parser.error("at least one job, and more than 0 GiB")
    try:
        with ending_as_by_hand():
            code = repro(arguments.jobs, arguments.stage_gib)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    sys.exit(code)


if __name__ == "__main__":
    main()

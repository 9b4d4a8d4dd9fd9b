"""Run independent stages in parallel: what `make repro JOBS=2` does.

Each stage that may have to run gets a `dvc repro --single-item` once all that it waits for has
ended; DVC's locks keep these apart. A plain `dvc repro` in the end finds what is left.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, STDOUT
from threading import Thread

import networkx as nx  # type: ignore[import-untyped]  # DVC's own
import psutil
from dvc.repo import Repo
from dvc.utils.serialize import load_yaml, modify_yaml

# Stages that depend on this folder take longest and need most memory: they start first, and only as
# many at once as fit. Training DenseNet169 took 1.4 GiB at 96 px with 32 images per batch; as much
# again is left to larger images. All others stay below 0.3 GiB.
NETWORKS, LOCK, STAGE_GIB = Path("src/ulna/networks"), Path("dvc.lock"), 3.0
# A DVC that ends when this process is killed, and with it the stage that it runs.
WATCHED = (
    "import psutil, sys; from ulna.core.stage import exit_with; "
    "exit_with(psutil.Process().parent()); from dvc.cli import main; "
    "sys.exit(main(['--wait-for-lock', 'repro', '--single-item', *sys.argv[1:]]))"
)
Needs = dict[str, set[str]]  # stage -> those that it waits for
Started = tuple[subprocess.Popen[str], Thread]


def read_pipeline() -> tuple[nx.DiGraph, set[str], set[str]]:
    """Ask DVC for its graph (stage -> what it waits for), the heavy and the changed stages.

    Of what `dvc repro` runs: the stages of dvc.yaml, and those .dvc files that they wait for.
    """
    with Repo(_wait_for_lock=True) as repo:
        networks, whole = Path(repo.root_dir, NETWORKS), repo.index.graph
        here = [stage for stage in whole if Path(stage.path) == Path(repo.root_dir, "dvc.yaml")]
        wanted = set(here).union(*(nx.descendants(whole, stage) for stage in here))
        heavy = {
            stage.addressing
            for stage in wanted
            if any(Path(dep.fs_path).is_relative_to(networks) for dep in stage.deps)
        }
        graph = nx.relabel_nodes(whole.subgraph(wanted), lambda stage: stage.addressing)
        return graph, heavy, graph.nodes & repo.status().keys()


def may_run(graph: nx.DiGraph, heavy: set[str], changed: set[str]) -> Needs:
    """The changed stages and all that follow: heavy ones first, then those that most wait for."""
    todo = changed.union(*(nx.ancestors(graph, stage) for stage in changed))
    urgent = sorted(todo, key=lambda one: (one not in heavy, -len(nx.ancestors(graph, one)), one))
    return {stage: todo.intersection(graph.successors(stage)) for stage in urgent}


def choose(waiting: list[str], needs: Needs, done: Collection[str], full: set[str]) -> list[str]:
    """Stages whose upstream stages are done, without those in `full`."""
    return [stage for stage in waiting if needs[stage] <= set(done) and stage not in full]


def run_all(
    needs: Needs, heavy: set[str], command: Sequence[str], jobs: int, slots: int
) -> dict[str, int]:
    """Run `command STAGE` for each, at most `jobs` at once, `slots` heavy ones; the failed ones.

    After a failure nothing new is started. Whatever ends this function ends all that it started.
    """
    waiting, codes, running = list(needs), dict[str, int](), dict[str, Started]()
    try:
        while running or waiting:
            full = heavy if len(heavy & running.keys()) >= slots else set[str]()
            for stage in choose(waiting, needs, codes, full)[: min(jobs - len(running), 1)]:
                waiting.remove(stage)
                running[stage] = start([*command, stage], stage.ljust(max(map(len, needs))))
            time.sleep(0.02)
            codes |= reap(running)
            if any(codes.values()):
                waiting.clear()
    finally:
        end(running)
    return {stage: code for stage, code in codes.items() if code}


def start(command: Sequence[str], label: str) -> Started:
    """Start a process, and a thread that prints its lines behind a label until it ends."""
    # The head of a group, which is ended as one: DVC is deaf to SIGINT, its stage is not.
    process = subprocess.Popen(
        command, stdout=PIPE, stderr=STDOUT, text=True, errors="replace", start_new_session=True
    )

    def pass_on() -> None:
        with process:
            for line in process.stdout or ():
                print(f"{label} | {line.rstrip()}\n", end="", flush=True)  # in one piece

    thread = Thread(target=pass_on, daemon=True)
    thread.start()
    return process, thread


def reap(running: dict[str, Started]) -> dict[str, int]:
    """Take out those that ended: stage -> exit code."""
    ended = [stage for stage, (_, thread) in running.items() if not thread.is_alive()]
    return {stage: running.pop(stage)[0].wait() for stage in ended}


def end(running: dict[str, Started]) -> None:
    """End processes and all that these started: as Ctrl-C does, and after ten seconds by force."""
    for number in (signal.SIGINT, signal.SIGKILL):
        for process, _ in running.values():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
        for process, _ in running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)


def repro(jobs: int, stage_gib: float) -> int:
    """Bring the pipeline up to date; 1 if a stage failed, else the exit code of `dvc repro`."""
    before = load_yaml(LOCK)["stages"] if LOCK.exists() else {}
    graph, heavy, changed = read_pipeline()
    needs = may_run(graph, heavy, changed)
    slots = max(1, min(jobs, int(psutil.virtual_memory().available / 2**30 / stage_gib)))
    print(f"{len(needs)} stages may have to run, {slots} at once with a network", flush=True)
    try:
        failed = run_all(needs, heavy, [sys.executable, "-c", WATCHED], jobs, slots)
    finally:
        put_lock_in_order([*before, *nx.dfs_postorder_nodes(graph)])
    for stage, code in failed.items():
        print(f"{stage} ended with code {code}: see its output above", file=sys.stderr)
    return 1 if failed else subprocess.run([sys.executable, "-m", "dvc", "repro"]).returncode


def put_lock_in_order(order: list[str]) -> None:
    """Order dvc.lock as `dvc repro` leaves it: old stages in their places, then as it runs them."""
    stages = load_yaml(LOCK)["stages"] if LOCK.exists() else {}
    if list(stages) != (wanted := sorted(stages, key=order.index)):
        with Repo(_wait_for_lock=True) as repo, repo.lock, repo.scm_context() as git:
            with modify_yaml(LOCK) as lock:
                lock["stages"] = {stage: lock["stages"][stage] for stage in wanted}
            git.track_file(str(LOCK))  # added to git, if core.autostage says so


def main() -> None:
    """Read jobs and GiB per stage with a network; SIGTERM ends what was started, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    jobs, gib = int(sys.argv[1]), float(sys.argv[2]) if sys.argv[2:] else STAGE_GIB
    sys.exit(repro(max(1, jobs), gib))


if __name__ == "__main__":
    main()

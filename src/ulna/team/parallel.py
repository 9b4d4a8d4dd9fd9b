"""Run independent stages in parallel: what `make repro JOBS=2` does.

Every stage that may have to run is handed to a `dvc repro --single-item` of its own once all that
it waits for has ended; DVC's locks keep these apart. A plain `dvc repro` in the end finds what is
left, as a rule nothing: no result depends on what stands here.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, STDOUT
from threading import Thread

import networkx as nx  # type: ignore[import-untyped]  # DVC's own
import psutil

# A stage that depends on this folder or a file in it runs a network. These take longest and need
# most memory, so they go first, and only as many at once as fit. All others stay below 0.3 GiB.
NETWORKS = Path("src/ulna/networks")
# Training and explaining DenseNet169 took most, 1.4 GiB at 96 px with 32 images per batch; as much
# again is left to larger images.
STAGE_GIB = 3.0
LOCK = Path("dvc.lock")
DVC = (sys.executable, "-m", "dvc")
# A DVC that ends when this process is killed, and with it the stage that it runs.
WATCHED_DVC = (
    sys.executable,
    "-c",
    "import psutil, sys; from ulna.processes import end_with; end_with(psutil.Process().parent()); "
    "from dvc.cli import main; sys.exit(main(sys.argv[1:]))",
)


def read_pipeline() -> tuple[nx.DiGraph, set[str], set[str]]:
    """Ask DVC for its graph (stage -> what it waits for), the heavy and the changed stages."""
    from dvc.repo import Repo

    with Repo(_wait_for_lock=True) as repo:
        networks = Path(repo.root_dir, NETWORKS)
        heavy = {
            stage.addressing
            for stage in repo.index.stages
            if any(Path(dep.fs_path).is_relative_to(networks) for dep in stage.deps)
        }
        graph = nx.relabel_nodes(repo.index.graph, lambda stage: stage.addressing)
        return graph, heavy, set(repo.status())


def may_run(graph: nx.DiGraph, heavy: set[str], changed: set[str]) -> dict[str, set[str]]:
    """The changed stages and all that follow, each with those among them that it waits for.

    Heavy ones come first, and of these the ones that most others wait for, directly or not.
    """
    todo = changed.union(*(nx.ancestors(graph, stage) for stage in changed))
    urgent = sorted(todo, key=lambda one: (one not in heavy, -len(nx.ancestors(graph, one)), one))
    return {stage: todo.intersection(graph.successors(stage)) for stage in urgent}


def run_all(
    needs: dict[str, set[str]], heavy: set[str], command: Sequence[str], jobs: int, slots: int
) -> dict[str, int]:
    """Run `command STAGE` for each, at most `jobs` at once and `slots` heavy ones.

    After a failure nothing new is started, and what runs is let end. Whatever ends this function
    ends all that it started. Returns the exit codes of those that failed.
    """
    waiting, done, failed = list(needs), set[str](), dict[str, int]()
    running: dict[str, tuple[subprocess.Popen[str], Thread]] = {}
    try:
        while running or (waiting and not failed):
            full = len(heavy & running.keys()) >= slots
            ready = [one for one in waiting if needs[one] <= done and not (full and one in heavy)]
            if ready and not failed and len(running) < jobs:
                waiting.remove(ready[0])
                label = ready[0].ljust(max(map(len, needs)))
                running[ready[0]] = start([*command, ready[0]], label)
                continue
            time.sleep(0.05)
            for stage in [one for one, (_, thread) in running.items() if not thread.is_alive()]:
                code = running.pop(stage)[0].wait()
                failed |= {stage: code} if code else {}
                done.add(stage)
    finally:
        end([process for process, _ in running.values()])
    return failed


def start(command: Sequence[str], label: str) -> tuple[subprocess.Popen[str], Thread]:
    """Start a process, and a thread that prints its lines behind a label until it ends."""
    # The head of a group, which is ended as one: DVC is deaf to SIGINT, its stage is not.
    process = subprocess.Popen(
        command, stdout=PIPE, stderr=STDOUT, text=True, errors="replace", start_new_session=True
    )

    def pass_on() -> None:
        for line in process.stdout or ():
            print(f"{label} | {line.rstrip()}\n", end="", flush=True)  # in one piece

    thread = Thread(target=pass_on, daemon=True)
    thread.start()
    return process, thread


def end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End processes and all that these started: as Ctrl-C does, and after ten seconds by force."""
    for number in (signal.SIGINT, signal.SIGKILL):
        for process in processes:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)


def repro(jobs: int, stage_gib: float) -> int:
    """Bring the pipeline up to date; 1 if a stage failed, else the exit code of `dvc repro`."""
    from dvc.utils.serialize import load_yaml

    before = list(load_yaml(LOCK)["stages"]) if LOCK.exists() else []
    graph, heavy, changed = read_pipeline()
    needs = may_run(graph, heavy, changed)
    slots = max(1, min(jobs, int(psutil.virtual_memory().available / 2**30 / stage_gib)))
    print(f"{len(needs)} stages may have to run, {slots} at once with a network", flush=True)
    command = [*WATCHED_DVC, "--wait-for-lock", "repro", "--single-item"]
    try:
        failed = run_all(needs, heavy, command, jobs, slots)
    finally:
        put_lock_in_order([*before, *nx.dfs_postorder_nodes(graph)])
    for stage, code in failed.items():
        print(f"{stage} ended with code {code}: see its lines above", file=sys.stderr)
    return 1 if failed else subprocess.run([*DVC, "repro"], check=False).returncode


def put_lock_in_order(order: list[str]) -> None:
    """Order dvc.lock as `dvc repro` leaves it: old stages in their places, then as it runs them."""
    from dvc.repo import Repo
    from dvc.utils.serialize import load_yaml, modify_yaml

    stages = load_yaml(LOCK)["stages"] if LOCK.exists() else {}
    if list(stages) != (wanted := sorted(stages, key=order.index)):
        with Repo(_wait_for_lock=True) as repo, repo.lock, repo.scm_context() as git:
            with modify_yaml(LOCK) as lock:
                lock["stages"] = {stage: lock["stages"][stage] for stage in wanted}
            git.track_file(str(LOCK))  # added to git, if core.autostage says so


def main() -> None:
    """Read the command line; SIGTERM ends what was started, as Ctrl-C does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", type=int, help="how many stages run at once")
    parser.add_argument("--stage-gib", type=float, default=STAGE_GIB, help="(%(default)s)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(repro(max(1, arguments.jobs), arguments.stage_gib))


if __name__ == "__main__":
    main()

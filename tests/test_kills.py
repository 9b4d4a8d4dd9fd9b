"""DVC killed at random moments, time and again: what is there is whole, and the end is the same."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from ruamel.yaml import YAMLError
from tiny_pipeline import checkout, committed_lock, dvc, environment, read_yaml
from voluptuous import Invalid

pytestmark = pytest.mark.slow

# Stage -> how often it is killed.
KILLS = {"prepare": 5, "preprocess": 5, "train@cnn": 7, "evaluate@cnn": 5}
# Training is killed within so many seconds of the end of one of its first epochs; the others within
# the second half of their time, since the first half goes to imports.
SECONDS_AFTER_EPOCH = 0.3
# Taken from the first run: they are code that is killed elsewhere.
TAKEN = ("python -m stages.phantom", "python -m stages.predict cnn")
SECONDS_TO_END = 10.0


@pytest.fixture(scope="module")
def killed(built, tmp_path_factory) -> tuple[Path, list[str], list[str]]:
    """A second clone after all kills, what was seen half-written, and what each stage said."""
    clone = checkout(tmp_path_factory.mktemp("killed") / "ulna")
    shutil.copytree(built / ".dvc/cache", clone / ".dvc/cache", copy_function=os.link)
    for runs in (clone / ".dvc/cache/runs").glob("*/*"):
        if read_yaml(next(runs.iterdir()))["cmd"] not in TAKEN:
            shutil.rmtree(runs)
    draw = random.Random(7)
    torn: list[str] = []
    said: list[str] = []
    for stage, kills in KILLS.items():
        upstream = {"prepare": ("phantom",), "evaluate@cnn": ("predict@cnn", "audit")}.get(stage)
        if upstream:
            dvc(clone, "repro", *upstream)
        trains = stage == "train@cnn"
        longest = SECONDS_AFTER_EPOCH if trains else seconds_of(clone, stage)
        done = 0
        for _ in range(6 * kills):
            wait = draw.uniform(0.0 if trains else longest / 2, longest)
            landed, lines = kill(clone, stage, draw.randint(0, 2) if trains else 0, wait)
            done += landed
            if not landed:
                # The machine has become faster: it had ended by then.
                longest *= 0.8
            said += lines
            torn += half_written(clone, built)
            if done == kills:
                break
        assert done == kills, f"{stage} was too fast to be killed, or did not run: {said[-9:]}"
        # Forced: else DVC would take what an attempt that was too late to be killed has made.
        said += dvc(clone, "repro", "--force", "--single-item", stage).splitlines()
    return clone, torn, said


def start(folder: Path, stage: str) -> subprocess.Popen[str]:
    """Let DVC run a stage, even if nothing has changed."""
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--force", "--single-item", stage],
        cwd=folder,
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def seconds_of(folder: Path, stage: str) -> float:
    """How long a stage runs, and DVC stores what it made, if nobody kills it."""
    began = None
    with start(folder, stage) as process:
        for line in process.stdout:
            if line.startswith("Running stage"):
                began = time.monotonic()
    return time.monotonic() - began


def kill(folder: Path, stage: str, epochs: int, seconds: float) -> tuple[bool, list[str]]:
    """Start a stage with DVC and kill DVC alone; wait until the stage ends of its own.

    Args:
        folder: The clone.
        stage: Run even if nothing has changed.
        epochs: How many epochs to let it train first.
        seconds: How much longer to let it live.

    Returns:
        Whether it was alive when it was killed, and what it had said.
    """
    lines = []
    lock = folder / "dvc.lock"
    before = lock.read_text()
    with start(folder, stage) as process:
        running = False
        for line in process.stdout:
            lines.append(line)
            running = running or line.startswith("Running stage")
            epochs -= line.startswith("scratch epoch")
            if running and epochs <= 0:
                break
        time.sleep(seconds)
        alive = process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True) if alive else []
        process.send_signal(signal.SIGKILL)
        process.wait()
    psutil.wait_procs(children, SECONDS_TO_END)
    left = [child for child in children if is_alive(child)]
    assert not left, f"{stage} goes on without its DVC: {left}"
    remove_broken_note(folder)
    if not is_whole(lock, before):
        lock.write_text(before)
    return alive, lines


def is_whole(lock: Path, before: str) -> bool:
    """Whether dvc.lock, which DVC writes in place, still knows the stages that it knew."""
    try:
        known = COMPILED_LOCKFILE_SCHEMA(read_yaml(lock.read_text()))["stages"]
    except (YAMLError, Invalid, TypeError, KeyError):
        return False
    return set(read_yaml(before)["stages"]) <= set(known)


def remove_broken_note(folder: Path) -> None:
    """As docs/reliability.md says: DVC does not write by renaming the note of files it uses."""
    note = folder / ".dvc/tmp/rwlock"
    try:
        json.loads(note.read_text() if note.exists() else "{}")
    except ValueError:
        note.unlink()


def is_alive(process: psutil.Process) -> bool:
    """Neither gone nor only unburied."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def outputs(folder: Path) -> list[Path]:
    """Every file that a stage has published."""
    return [
        path.relative_to(folder)
        for top in ("data", "models", "metrics", "plots")
        for path in (folder / top).rglob("*")
        if path.is_file()
        and not any(part.startswith(".partial-") for part in path.relative_to(folder).parts)
        and path.name != ".gitignore"
    ]


def half_written(folder: Path, whole: Path) -> list[str]:
    """What differs from the same file of a run that was never killed.

    The training curves are written anew after each epoch: they have to be its first lines.
    """
    found = []
    for path in outputs(folder):
        ours, theirs = (place / path for place in (folder, whole))
        if path.parent.name == "history":
            rows = [file.read_text().splitlines() for file in (ours, theirs)]
            # The last column says which epoch is the best so far.
            first, second = ([row.rpartition(",")[0] for row in lines] for lines in rows)
            if first != second[: len(first)] or not ours.read_text().endswith("\n"):
                found.append(str(path))
        elif ours.read_bytes() != theirs.read_bytes():
            found.append(str(path))
    return found


@pytest.mark.promise("C18")
def test_what_was_killed_at_random_moments_ends_in_the_bytes_of_what_was_not(built, killed):
    clone, _, _ = killed
    assert sum(KILLS.values()) >= 20
    ours = read_yaml((clone / "dvc.lock").read_text())["stages"]
    theirs = read_yaml(committed_lock(built))["stages"]
    assert set(KILLS) <= set(ours)
    for stage, recorded in ours.items():
        assert recorded == theirs[stage], stage
    assert half_written(clone, built) == []


@pytest.mark.promise("C19")
def test_no_half_written_output_was_ever_seen(killed):
    _, torn, _ = killed
    assert torn == []


@pytest.mark.promise("C18")
def test_training_did_not_begin_anew_each_time(killed):
    _, _, said = killed
    # Of a run that is killed before its first epoch nobody has read this line.
    assert any(line.startswith("resuming from epoch") for line in said)


def test_nothing_of_the_kills_is_left(killed):
    clone, _, _ = killed
    assert not list((clone / ".checkpoints").glob("*/*"))
    assert not [path for path in clone.rglob(".partial-*") if ".dvc" not in path.parts]

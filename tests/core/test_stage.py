"""Stages as processes: how they end, and locks; with real ones."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import zc.lockfile

from ulna.core import InputError, stage
from ulna.core.stage import exclusive_lock

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
# What a stage does first, and then a long time of work.
STAGE = (
    "import os, sys, time; from ulna.core.stage import exit_with_dvc; exit_with_dvc(); "
    "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
)
# The same, whose imports take half a second.
STAGE_SLOW_TO_START = (
    "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(0.5); "
    "from ulna.core.stage import exit_with_dvc; exit_with_dvc(); time.sleep(60)"
)
# What DVC does: start a shell with the command, and wait.
DVC = "import subprocess, sys; subprocess.run(sys.argv[1], shell=True)"
HOLDER = (
    "import sys, time; from pathlib import Path; from ulna.core.stage import exclusive_lock\n"
    "with exclusive_lock(Path(sys.argv[1]), 'train cnn'):\n"
    "    print('held', flush=True); time.sleep(60)"
)


def wait_for(condition, seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("shell", ["replaced", "waits"])
@pytest.mark.parametrize("started_by_dvc", [True, False])
@pytest.mark.parametrize("killed", ["at work", "while it starts"])
@pytest.mark.promise("C21")
def test_a_stage_ends_once_its_dvc_is_killed_and_only_then(tmp_path, shell, started_by_dvc, killed):
    note = tmp_path / "pid"
    program = STAGE if killed == "at work" else STAGE_SLOW_TO_START
    command = f'"{sys.executable}" -c "{program}" "{note}"' + ("; true" if shell == "waits" else "")
    env = os.environ | {"PYTHONPATH": SOURCE}
    if started_by_dvc:
        env["DVC_STAGE"] = "train@cnn"
    # A session of its own, as a terminal has.
    dvc = subprocess.Popen([sys.executable, "-c", DVC, command], env=env, start_new_session=True)
    assert wait_for(lambda: note.exists() and note.read_text())
    stage = int(note.read_text())
    if killed == "at work":
        time.sleep(0.2)
    assert alive(stage)
    dvc.send_signal(signal.SIGKILL)
    dvc.wait()
    try:
        assert wait_for(lambda: not alive(stage), 20.0 if started_by_dvc else 1.0) == started_by_dvc
    finally:
        if alive(stage):
            os.kill(stage, signal.SIGKILL)


@pytest.mark.promise("C21")
def test_the_second_run_of_a_stage_is_refused_with_the_number_of_the_first(tmp_path):
    lock = tmp_path / "locks" / "train-cnn.lock"
    env = os.environ | {"PYTHONPATH": SOURCE}
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], env=env, stdout=subprocess.PIPE, text=True
    )
    with first:
        assert first.stdout.readline() == "held\n"
        expected = rf"PID {first.pid} on .+train cnn"
        with (
            pytest.raises(InputError, match=expected),
            exclusive_lock(lock, "train cnn", seconds=0.2),
        ):
            pass
        first.send_signal(signal.SIGKILL)
    with exclusive_lock(lock, "train cnn", seconds=0.2):
        pass


def test_the_second_run_goes_on_when_the_first_ends_in_time(tmp_path):
    lock = tmp_path / "train-cnn.lock"
    program = HOLDER.replace("sleep(60)", "sleep(0.5)")
    env = os.environ | {"PYTHONPATH": SOURCE}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], env=env, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        with exclusive_lock(lock, "train cnn", seconds=10.0):
            assert wait_for(lambda: first.poll() == 0)


def test_a_lock_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(path, content_template):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zc.lockfile, "LockFile", full)
    lock = tmp_path / "train-cnn.lock"
    expected = f"{lock}.*No space left on device"
    with pytest.raises(InputError, match=expected), exclusive_lock(lock, "train cnn"):
        pass


def test_a_disk_without_locks_is_named_at_once(tmp_path, monkeypatch):
    def unknown(path, content_template):
        try:
            raise OSError(38, "Function not implemented")
        except OSError:
            # As it does for any fault.
            raise zc.lockfile.LockError("Couldn't lock") from None

    monkeypatch.setattr(zc.lockfile, "LockFile", unknown)
    with (
        pytest.raises(InputError, match="train-cnn.lock.*Function not implemented"),
        exclusive_lock(tmp_path / "train-cnn.lock", "train cnn"),
    ):
        pass


def test_bad_input_ends_in_its_message_and_exit_code_1(capsys):
    def prepare() -> None:
        raise InputError("a.csv, line 3: expected 0 or 1, received 2")

    with pytest.raises(SystemExit) as caught:
        stage.run(prepare)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "prepare: a.csv, line 3: expected 0 or 1, received 2\n"


def test_a_fault_of_ours_keeps_its_traceback():
    def prepare() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        stage.run(prepare)


def test_wrong_arguments_print_the_usage(capsys):
    def train(arch: str) -> None:
        raise AssertionError

    with pytest.raises(SystemExit) as caught:
        stage.run(train)
    assert caught.value.code == 2
    assert "usage: python -m stages.train ARCH" in capsys.readouterr().err


def test_help_shows_what_a_stage_does(capsys):
    def train(arch: str) -> None:
        """Train a network."""

    with pytest.raises(SystemExit) as caught:
        stage.run(train, "--help")
    assert caught.value.code == 0
    assert capsys.readouterr().out == "usage: python -m stages.train ARCH\n\nTrain a network.\n"

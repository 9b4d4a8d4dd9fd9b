import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulna.side_by_side import (
    HEAVY,
    Needs,
    by_priority,
    choose,
    heavy_jobs,
    is_heavy,
    may_run,
    order_of_lock,
    run_all,
)

ROOT = Path(__file__).resolve().parents[1]
NOTHING: frozenset[str] = frozenset()
# A small pipeline in the order of `dvc repro`.
NEEDS: Needs = {
    "prepare": NOTHING,
    "audit": frozenset({"prepare"}),
    "transfer": frozenset({"prepare"}),
    "train@cnn": frozenset({"prepare"}),
    "train@densenet169": frozenset({"prepare"}),
    "predict@cnn": frozenset({"train@cnn"}),
    "predict@densenet169": frozenset({"train@densenet169"}),
    "compare": frozenset({"predict@cnn", "predict@densenet169"}),
}


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


@st.composite
def pipelines(draw) -> Needs:
    """Stages in an order in which each waits for earlier ones only, some of them heavy."""
    names = [
        f"{draw(st.sampled_from(['train', 'plot']))}@{number}"
        for number in range(draw(st.integers(1, 12)))
    ]
    return {
        name: frozenset(draw(st.sets(st.sampled_from(names[:place])))) if place else NOTHING
        for place, name in enumerate(names)
    }


def test_both_networks_are_trained_at_once_and_before_light_stages():
    waiting = by_priority(NEEDS)
    waiting.remove("prepare")
    assert choose(waiting, NEEDS, {"prepare"}, [], 2, 2) == ["train@cnn", "train@densenet169"]
    # Where memory has room for one network, light work goes beside it.
    assert choose(waiting, NEEDS, {"prepare"}, [], 2, 1) == ["train@cnn", "audit"]
    assert choose(waiting, NEEDS, {"prepare"}, ["train@cnn", "audit"], 2, 2) == []


@settings(deadline=None, max_examples=30)
@given(pipelines(), st.integers(1, 4), st.integers(1, 4), st.data())
def test_whatever_ends_first_every_stage_runs_once_after_all_that_it_waits_for(
    needs, jobs, heavy, data
):
    waiting, running, done = by_priority(needs), [], []
    while waiting or running:
        for stage in choose(waiting, needs, done, running, jobs, heavy):
            assert needs[stage] <= set(done)
            waiting.remove(stage)
            running.append(stage)
        # Something runs as long as there is something to run.
        assert 0 < len(running) <= jobs
        assert sum(map(is_heavy, running)) <= heavy
        ended = data.draw(st.sampled_from(running))
        running.remove(ended)
        done.append(ended)
    assert sorted(done) == sorted(needs)


@settings(deadline=None, max_examples=30)
@given(pipelines(), st.data())
def test_what_may_run_is_what_changed_and_all_that_follows(needs, data):
    changed = data.draw(st.sets(st.sampled_from(list(needs))))

    def follows(stage: str) -> bool:
        return stage in changed or any(map(follows, needs[stage]))

    found = may_run(needs, changed)
    assert list(found) == [stage for stage in needs if follows(stage)]
    for stage, upstream in found.items():
        assert upstream == needs[stage] & set(found)


@settings(deadline=None, max_examples=30)
@given(pipelines(), st.data())
def test_the_lock_is_in_the_order_in_which_stages_one_by_one_would_have_left_it(needs, data):
    order = list(needs)
    before = data.draw(st.lists(st.sampled_from(order), unique=True))
    by_hand = dict.fromkeys(before) | dict.fromkeys(order)
    # What DVC leaves: those there keep their place, others come as they end.
    ended = data.draw(st.permutations(order))
    recorded = list(dict.fromkeys(before) | dict.fromkeys(ended))
    assert order_of_lock(recorded, before, order) == list(by_hand)


def test_a_stage_that_was_taken_out_of_the_pipeline_keeps_its_place_in_the_lock():
    assert order_of_lock(["old", "b", "a"], ["old"], ["a", "b"]) == ["old", "a", "b"]


def test_as_many_networks_as_fit_into_the_free_memory():
    gib = 2**30
    assert heavy_jobs(2, 3.0, 8 * gib) == 2
    assert heavy_jobs(2, 3.0, 5.9 * gib) == 1
    assert heavy_jobs(4, 3.0, 9.1 * gib) == 3
    assert heavy_jobs(2, 3.0, 1 * gib) == 1  # one must run, as in `dvc repro`


def test_heavy_stages_are_those_that_configure_tensorflow():
    scripts = sorted((ROOT / "stages").glob("[a-z]*.py"))
    assert {path.stem for path in scripts if "import runtime" in path.read_text()} == set(HEAVY)


def test_two_stages_run_at_once_and_a_third_after_both(tmp_path, capfd):
    # Each waits until the other is there.
    meet = "touch {0}; for i in $(seq 500); do [ -e {1} ] && exit 0; sleep 0.02; done; exit 1"
    needs = {"a": NOTHING, "b": NOTHING, "c": frozenset({"a", "b"})}
    scripts = {
        "a": meet.format(tmp_path / "a", tmp_path / "b"),
        "b": meet.format(tmp_path / "b", tmp_path / "a"),
        "c": f"ls {tmp_path}",
    }
    assert run_all(needs, lambda stage: shell(scripts[stage]), jobs=2, heavy_jobs=2) == {}
    assert capfd.readouterr().out == "c | a\nc | b\n"


def test_lines_tell_which_stage_they_are_of(capfd):
    needs = {"plot": NOTHING, "train@cnn": NOTHING}
    run_all(needs, lambda stage: shell(f"echo it is {stage}; echo oh >&2"), 2, 2)
    lines = capfd.readouterr().out.splitlines()
    assert sorted(lines) == [
        "plot      | it is plot",
        "plot      | oh",
        "train@cnn | it is train@cnn",
        "train@cnn | oh",
    ]


def test_after_a_failure_what_runs_is_finished_and_nothing_else_is_started(tmp_path):
    needs = {"a": NOTHING, "b": NOTHING, "c": frozenset({"a"}), "d": NOTHING}
    scripts = dict.fromkeys("cd", f"touch {tmp_path}/started")
    scripts["a"] = "echo no such loss >&2; exit 3"
    scripts["b"] = f"sleep 0.5; touch {tmp_path}/finished"
    failed = run_all(needs, lambda stage: shell(scripts[stage]), jobs=2, heavy_jobs=2)
    assert list(failed) == ["a"]
    assert failed["a"].process.returncode == 3
    assert list(failed["a"].said) == ["no such loss"]
    assert [path.name for path in tmp_path.iterdir()] == ["finished"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whatever_ends_it_ends_all_that_it_started(tmp_path, number):
    program = (
        "import signal, ulna.side_by_side as s\n"
        # A job in the background of a script is deaf to it, and so are its children.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with s.ending_as_by_hand():\n"
        "    s.run_all({'a': set(), 'b': set()}, lambda stage: ['sh', '-c',\n"
        # A process of a process, as a stage is of DVC.
        f"        f'sleep 60 & echo $! > {tmp_path}/{{stage}}; wait'], 2, 2)\n"
    )
    ours = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while len(started := [p.read_text() for p in tmp_path.iterdir()]) < 2 or "" in started:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        ours.send_signal(number)
        ours.wait(30)
    finally:
        ours.kill()
    assert ours.returncode != 0
    for pid in map(int, started):
        while is_running(pid):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Not gone, and not only unburied."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return shown.stdout.strip()[:1] not in ("", "Z")


STAGES = """stages:
  wait:
    cmd: python -c "import os, time; open('pid', 'w').write(str(os.getppid())); time.sleep(60)"
    outs: [pid]
"""


@pytest.mark.promise("C21")
def test_no_dvc_that_it_started_outlives_it(tmp_path):
    """Killed, it can end nothing: its children have to see to that."""
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text(STAGES)
    with subprocess.Popen(
        [sys.executable, "-m", "ulna.side_by_side", "2"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.DEVNULL,
    ) as ours:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pid").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        started = psutil.Process(ours.pid).children(recursive=True)
        dvcs = [process for process in started if "dvc.cli" in " ".join(process.cmdline())]
        ours.kill()
    assert dvcs
    while any(is_running(process.pid) for process in dvcs):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for process in started:
        # The stage is none of ours: it does not watch its DVC.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()

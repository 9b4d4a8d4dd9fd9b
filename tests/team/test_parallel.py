"""Stages in parallel: each once, after all that it waits for; what ends it ends its children."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import networkx as nx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_pipeline import environment

from ulna.team.parallel import may_run, run_all

ROOT = Path(__file__).resolve().parents[2]
# Writes its beginning and its end, as one argument is a stage's name.
STAGE = "import sys, time; log = open('log', 'a'); name = sys.argv[-1]; {body}"
LOGGED = STAGE.format(
    body="log.write(f'+{name}\\n'); log.flush(); time.sleep(0.3); log.write(f'-{name}\\n')"
)


@st.composite
def graphs(draw) -> nx.DiGraph:
    """Stage -> what it waits for, without circles."""
    graph = nx.DiGraph()
    for number in range(draw(st.integers(1, 12))):
        upstream = draw(st.sets(st.sampled_from(sorted(graph)))) if graph else set()
        graph.add_node(f"s{number:02}")
        graph.add_edges_from((f"s{number:02}", one) for one in upstream)
    return graph


@settings(deadline=None, max_examples=50)
@given(graphs(), st.data())
def test_what_may_run_is_what_changed_and_all_that_follows(graph, data):
    changed = data.draw(st.sets(st.sampled_from(sorted(graph))))
    heavy = data.draw(st.sets(st.sampled_from(sorted(graph))))

    def follows(stage: str) -> bool:
        return stage in changed or any(map(follows, graph.successors(stage)))

    needs = may_run(graph, heavy, changed)
    assert set(needs) == {stage for stage in graph if follows(stage)}
    for stage, upstream in needs.items():
        assert upstream == set(graph.successors(stage)) & needs.keys()
    # Heavy ones come first.
    assert sorted(needs, key=lambda stage: stage not in heavy) == list(needs)


def started_and_ended(needs, heavy, jobs, slots) -> list[str]:
    assert run_all(needs, heavy, [sys.executable, "-c", LOGGED], jobs, slots) == {}
    return Path("log").read_text().split()


@pytest.mark.parametrize(("jobs", "slots"), [(2, 2), (2, 1), (3, 1)])
def test_every_stage_runs_once_after_what_it_waits_for(tmp_path, monkeypatch, jobs, slots):
    monkeypatch.chdir(tmp_path)
    needs = {"train": {"prepare"}, "explain": {"train"}, "transfer": {"prepare"},
             "prepare": set(), "audit": {"prepare"}, "plot": {"explain", "audit"}}  # fmt: skip
    heavy = {"train", "explain", "transfer"}
    log = started_and_ended(needs, heavy, jobs, slots)
    assert Counter(log) == Counter(f"{sign}{stage}" for stage in needs for sign in "+-")
    running: set[str] = set()
    most = 0
    for line in log:
        sign, stage = line[0], line[1:]
        if sign == "+":
            assert all(f"-{one}" in log[: log.index(line)] for one in needs[stage])
            running.add(stage)
        else:
            running.remove(stage)
        most = max(most, len(running))
        assert len(running) <= jobs and len(running & heavy) <= slots
    assert most == 2 or jobs == 3


def test_after_a_failure_what_runs_is_finished_and_nothing_else_is_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    needs = {"a": set(), "b": set(), "c": {"a"}, "d": set()}
    # Long enough for b to have begun: Python starts in less than the 20 ms between two looks.
    body = "time.sleep(2 if name == 'b' else 0.5); sys.exit(3) if name == 'a' else log.write(name)"
    command = [sys.executable, "-c", STAGE.format(body=body)]
    assert run_all(needs, set(), command, 2, 2) == {"a": 3}
    assert Path("log").read_text() == "b"


def test_lines_tell_which_stage_they_are_of(capfd):
    program = "import sys; print(f'it is {sys.argv[1]}'); print('oh', file=sys.stderr)"
    command = [sys.executable, "-c", program]
    run_all({"plot": set(), "train@cnn": set()}, set(), command, 2, 2)
    assert sorted(capfd.readouterr().out.splitlines()) == [
        "plot      | it is plot",
        "plot      | oh",
        "train@cnn | it is train@cnn",
        "train@cnn | oh",
    ]


STAGES = {
    "stages": {
        name: {
            "cmd": "python -c 'import os, time; "
            f'open("{name}", "w").write(str(os.getpid())); time.sleep(60)\'',
            "outs": [name],
        }
        for name in ("a", "b")
    }
}


@pytest.mark.slow
@pytest.mark.promise("C21")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_that_it_started_outlives_it(tmp_path, number):
    """Killed, it can end nothing: its DVC has to see to that, and a stage ends with its DVC."""
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(STAGES))
    ours = subprocess.Popen(
        [sys.executable, "-m", "ulna.team.parallel", "2"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT / "src")),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    pids = [tmp_path / name for name in "ab"]
    try:
        while not all(path.exists() and path.read_text() for path in pids):
            assert time.monotonic() < deadline and ours.poll() is None
            time.sleep(0.02)
        children = [int(path.read_text()) for path in pids]
        if number == signal.SIGKILL:
            # A stage of ulna's ends by itself; this one does not, but its DVC does.
            children = [parent_of(pid) for pid in children]
        ours.send_signal(number)
        assert ours.wait(60) != 0
    finally:
        ours.kill()
    while any(map(is_running, children)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def parent_of(pid: int) -> int:
    """The DVC of a stage, past the shell that some start."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    words = Path(f"/proc/{parent}/cmdline").read_bytes()
    return parent if b"dvc.cli" in words else parent_of(parent)


def is_running(pid: int) -> bool:
    """Not gone, and not only unburied."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_dvc_lock_is_that_of_a_serial_run(tmp_path):
    """New stages stand in the order in which `dvc repro` runs them, whichever ends first."""
    wait = {"a": 2, "b": 0, "c": 1}
    stages = {
        name: {"cmd": f"sleep {seconds}; echo {name} > {name}", "outs": [name]}
        for name, seconds in wait.items()
    }
    stages["d"] = {"cmd": "cat a b c > d", "deps": list("abc"), "outs": ["d"]}
    locks = []
    for command in ("ulna.team.parallel 3", "dvc repro"):
        folder = tmp_path / command.split()[0]
        folder.mkdir()
        for start in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "-q"]):
            subprocess.run(start, cwd=folder, check=True)
        (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        subprocess.run(
            [sys.executable, "-m", *command.split()],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            check=True,
        )
        locks.append((folder / "dvc.lock").read_bytes())
    assert locks[0] == locks[1]


@pytest.mark.slow
def test_data_that_no_stage_reads_are_left_alone(tmp_path):
    """As by `dvc repro`: of what `dvc add` keeps, only what the pipeline reads is taken in anew."""
    start_here = [["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "-q"]]
    for command in (*start_here, [sys.executable, "-m", "dvc", "add", "-q", "read", "other"]):
        for name in ("read", "other"):
            (tmp_path / name).write_text("before")
        subprocess.run(command, cwd=tmp_path, check=True)
    stages = {"prepare": {"cmd": "cp read prepared", "deps": ["read"], "outs": ["prepared"]}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    before = {}
    for name in ("read", "other"):
        before[name] = (tmp_path / f"{name}.dvc").read_text()
        (tmp_path / name).unlink()
        (tmp_path / name).write_text("after")
    subprocess.run(
        [sys.executable, "-m", "ulna.team.parallel", "2"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        check=True,
    )
    assert (tmp_path / "prepared").read_text() == "after"
    assert (tmp_path / "read.dvc").read_text() != before["read"]
    assert (tmp_path / "other.dvc").read_text() == before["other"]

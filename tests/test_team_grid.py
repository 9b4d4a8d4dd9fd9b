"""A grid before its runs: which points to run, and which are there already."""

import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_team_overrides import PARAMS

from ulna.errors import InputError
from ulna.params import load_params
from ulna.team import grid
from ulna.team.grid import call_dvc, check_made, check_points, is_made, queue_all, sort_out, wait
from ulna.team.ranking import Metric


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "params.yaml").write_bytes(PARAMS.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.promise("C23")
def test_one_wrong_value_refuses_the_whole_grid():
    with pytest.raises(InputError) as refused:
        check_points(["loss=bce,focall", "seed=1,2"])
    assert str(refused.value) == (
        "loss=focall seed=1: params.yaml: loss is 'focall', expected 'bce', 'weighted_bce' or "
        "'focal': did you mean focal?. Nothing was queued"
    )


def test_points_that_are_there_already_are_not_run_again():
    now = load_params(PARAMS)
    rate = now.cnn.learning_rate
    # One rate in two forms.
    wanted = check_points([f"loss={now.loss},focal", f"cnn.learning_rate={rate},{rate:e},0.003"])
    assert len(wanted) == 6
    focal = now.model_copy(update={"loss": "focal"})
    new, there, said = sort_out(wanted, {"workspace": now, "brave-newt": focal})
    assert [point.words for point in new] == [
        (f"loss={now.loss}", "cnn.learning_rate=0.003"),
        ("loss=focal", "cnn.learning_rate=0.003"),
    ]
    assert {name: str(point) for name, point in there.items()} == {
        "workspace": f"loss={now.loss} cnn.learning_rate={rate}",
        "brave-newt": f"loss=focal cnn.learning_rate={rate}",
    }
    assert said == [
        f"loss={now.loss} cnn.learning_rate={rate} is the workspace as it is: not run again",
        f"loss={now.loss} cnn.learning_rate={rate} is the same as "
        f"loss={now.loss} cnn.learning_rate={rate}: tried once",
        f"loss=focal cnn.learning_rate={rate} is experiment brave-newt: not run again",
        f"loss=focal cnn.learning_rate={rate} is the same as "
        f"loss=focal cnn.learning_rate={rate}: tried once",
    ]


def test_points_that_are_one_another_are_run_once():
    new, there, said = sort_out(check_points(["cnn.dropout=0.2,0.20"]), {})
    assert (len(new), there) == (1, {})
    assert said == ["cnn.dropout=0.2 is the same as cnn.dropout=0.2: tried once"]


CNN = Metric.parse("cnn:study.auroc")


def test_a_grid_that_does_not_make_its_metric_is_refused():
    stages = [
        SimpleNamespace(addressing=f"evaluate@{network}", outs=[SimpleNamespace(fs_path=path)])
        for network, path in (("cnn", "/r/metrics/cnn.json"), ("dense", "/r/metrics/dense.json"))
    ]
    repo = SimpleNamespace(root_dir="/r", index=SimpleNamespace(stages=stages))
    check_made(repo, CNN, ["prepare", "evaluate@cnn"])
    with pytest.raises(InputError) as refused:
        check_made(repo, CNN, ["prepare", "evaluate@dense"])
    assert str(refused.value) == (
        "these runs do not make metrics/cnn.json, by which they are to be ranked: add the target "
        "evaluate@cnn, or give the --metric of another network"
    )


def test_a_metric_counts_only_if_it_was_made_from_what_there_is(monkeypatch):
    """As git holds it: it is there in each of the cases."""
    lock = """
stages:
  train: {params: {params.yaml: {loss: LOSS}}, outs: [{path: model, md5: MADE}]}
  evaluate: {deps: [{path: model, md5: aa}], outs: [{path: OUT}]}
"""

    def made(loss: str, digest: str, out: str = "metrics/cnn.json") -> bool:
        texts = {"params.yaml": "loss: focal"}
        texts["dvc.lock"] = lock.replace("LOSS", loss).replace("MADE", digest).replace("OUT", out)
        monkeypatch.setattr(grid, "git_text", lambda commit, path: texts[str(path)])
        return is_made("abc", CNN)

    assert made("focal", "aa")
    assert not made("bce", "aa")
    assert not made("focal", "bb")
    assert not made("focal", "aa", "metrics/densenet169.json")


# Meanwhile


# Ctrl-C reaches the command while it waits; DVC ends its work a second later.
INTERRUPTED = """
import os, pathlib, signal, time
os.kill(os.getppid(), signal.SIGINT)
time.sleep(1)
pathlib.Path("own_session").write_text(str(os.getsid(0) == os.getpid()))
"""


def test_ctrl_c_lets_dvc_end_what_it_is_at_and_says_what_is_queued(
    folder, monkeypatch, capsys, request
):
    monkeypatch.setattr(grid, "DVC", (sys.executable, "-c", INTERRUPTED))
    # A job in the background of a script is deaf to it.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, former))
    with pytest.raises(KeyboardInterrupt):
        call_dvc()
    assert (folder / "own_session").read_text() == "True"

    def queue(point: object, targets: object) -> str:
        if str(point) == "loss=focal":
            raise KeyboardInterrupt
        return "a"

    monkeypatch.setattr(grid, "queue", queue)
    with pytest.raises(KeyboardInterrupt):
        queue_all(check_points(["loss=bce,focal,weighted_bce"]), [])
    said = capsys.readouterr().err
    assert said.startswith("\nStopped: of 3 runs at most 2 are queued, and none is started.")


class Queue:
    """DVC's queue, as far as `wait` looks at it: one state after the other, the last for ever."""

    def __init__(self, *states: dict[str, str]) -> None:
        self.states = list(states)

    @property
    def experiments(self):
        return self

    celery_queue = experiments

    def status(self) -> list[dict[str, str]]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return [{"name": name, "status": status} for name, status in state.items()]


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr("ulna.team.grid.SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr("ulna.team.grid.SECONDS_WITHOUT_WORKER", 0.05)


def test_waiting_ends_with_the_last_run_and_names_those_that_failed(at_once, capsys):
    queue = Queue(
        {"a": "Queued", "b": "Queued", "stranger": "Queued"},
        {"a": "Running", "b": "Queued", "stranger": "Failed"},
        {"a": "Success", "b": "Running", "stranger": "Failed"},
        {"a": "Success", "b": "Failed", "stranger": "Failed"},
    )
    points = dict(zip("ab", check_points(["loss=bce,focal"]), strict=True))
    assert wait(queue, points) == ["b"]
    said = [line.split(" s  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "0 of 2 done, a (loss=bce): running",
        "1 of 2 done, a (loss=bce): success",
        "1 of 2 done, b (loss=focal): running",
        "2 of 2 done, b (loss=focal): failed",
    ]


def test_a_queue_without_a_worker_is_not_waited_for(at_once):
    points = {"a": check_points(["loss=focal"])[0]}
    with pytest.raises(InputError, match="`dvc queue start` starts workers"):
        wait(Queue({"a": "Queued"}), points)

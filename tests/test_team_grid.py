"""A grid before its runs: which points to run, and which are there already."""

from pathlib import Path

import pytest
from test_team_overrides import PARAMS

from ulna.errors import InputError
from ulna.params import load_params
from ulna.team.grid import check_points, sort_out, wait


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


# Meanwhile


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

"""A grid before its runs: which points to run, and which are there already."""

from pathlib import Path

import pytest
from test_team_overrides import PARAMS

from ulna.errors import InputError
from ulna.params import load_params
from ulna.team.grid import check_points, sort_out


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

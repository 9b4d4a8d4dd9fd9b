"""Revisions: which stage wrote a file, with which parameters, from which files; older ones."""

from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import PARAMS
from tiny_pipeline import run

from ulna.core import InputError, paths
from ulna.team import revisions
from ulna.team.revisions import (
    WORKSPACE,
    different_code,
    find_stale,
    parse_yaml,
    producers,
    read_revision,
)

ROOT = Path(__file__).resolve().parents[2]
STAGES = {
    "prepare": {"params": {"params.yaml": {"seed": 1}}, "outs": [{"path": "data/cache"}]},
    "train": {
        "deps": [{"path": "data/cache"}, {"path": "src/x.py"}],
        "params": {"params.yaml": {"loss": "bce", "cnn": {"epochs": 2, "dropout": 0.1}}},
        "outs": [{"path": "model"}],
    },
    "predict": {"deps": [{"path": "model"}], "outs": [{"path": "p.csv"}]},
    "other": {"params": {"params.yaml": {"loss": "older"}}, "outs": [{"path": "o.csv"}]},
}


def test_the_writer_of_a_file_is_found_also_of_a_folder_around_it():
    assert producers(STAGES, "data/cache/HAND.npy") == ["prepare"]
    assert producers(STAGES, "model") == ["train"]
    assert producers(STAGES, "modelling") == []


def test_parameters_of_all_stages_behind_a_file_are_held_against_params_yaml():
    now = {"seed": 1, "loss": "focal", "cnn": {"epochs": 3, "dropout": 0.1}}
    assert find_stale(STAGES, Path("p.csv"), now) == {"loss": "bce", "cnn.epochs": 2}
    assert find_stale(STAGES, Path("data/cache"), now) == {}
    assert find_stale(STAGES, Path("elsewhere.csv"), now) == {}


def test_a_file_from_an_older_model_is_stale_also_where_the_parameters_are_the_same():
    """As after `dvc exp run -S loss=focal train`, or a commit of that stage alone."""
    stages = deepcopy(STAGES)
    now = {"seed": 1, "loss": "bce", "cnn": {"epochs": 2, "dropout": 0.1}}
    stages["predict"]["deps"] = [{"path": "model", "md5": "aa"}, {"path": "src/y.py", "md5": "cc"}]
    stages["train"]["outs"] = [{"path": "model", "md5": "aa"}]
    assert find_stale(stages, Path("p.csv"), now) == {}
    stages["train"]["outs"] = [{"path": "model", "md5": "bb"}]
    assert find_stale(stages, Path("p.csv"), now) == {"model": "aa"}
    assert find_stale(stages, Path("model"), now) == {}


def test_a_file_made_from_a_folder_is_stale_once_another_file_lies_in_it():
    """The ensemble reads a folder that `predict` fills; DVC's own hash is the truth."""
    stages = parse_yaml((ROOT / "dvc.lock").read_text(), "dvc.lock")["stages"]
    now = parse_yaml((ROOT / "params.yaml").read_text(), "params.yaml")
    path = paths.predictions("ensemble")
    assert find_stale(stages, path, now) == {}
    assert set(find_stale(stages, path, now | {"loss": "focal"})) == {"loss"}
    table = next(out for out in stages["predict@cnn"]["outs"] if out["path"].endswith("/cnn.csv"))
    table["md5"] = "0" * 32
    assert set(find_stale(stages, path, now)) == {"data/predictions"}


def test_a_seed_that_is_none_is_refused_in_a_sentence(monkeypatch):
    params = parse_yaml(PARAMS.read_text(), "params.yaml") | {"seed": "abc"}
    texts = {"params.yaml": params, "dvc.lock": {}}
    monkeypatch.setattr(revisions, "_read_yaml", lambda repo, path, name: texts[str(path)])
    with pytest.raises(InputError, match="workspace: seed .* params.yaml"):
        read_revision(SimpleNamespace(switch=nullcontext), WORKSPACE, ["ensemble"])


def test_an_older_revision_is_read_with_its_names_and_places(monkeypatch):
    """Its evaluate.bootstrap_draws, and its ensemble beside the networks."""
    params = parse_yaml(PARAMS.read_text(), "params.yaml")
    params["evaluate"]["bootstrap_draws"] = params["evaluate"].pop("bootstrap_replicates")
    texts = {"params.yaml": params, "dvc.lock": {}}
    monkeypatch.setattr(revisions, "_read_yaml", lambda repo, path, name: texts[str(path)])
    tables = {"data/predictions/ensemble.csv": "old ensemble"}
    monkeypatch.setattr(revisions, "_read_table", lambda repo, path: tables.get(path.as_posix()))
    older = read_revision(SimpleNamespace(switch=nullcontext), WORKSPACE, ["ensemble"])
    assert older.tables == {"ensemble": "old ensemble"}
    assert older.evaluate.bootstrap_replicates == params["evaluate"]["bootstrap_draws"]
    tables["data/ensemble.csv"] = "new ensemble"
    assert read_revision(SimpleNamespace(switch=nullcontext), WORKSPACE, ["ensemble"]).tables == {
        "ensemble": "new ensemble"
    }


def test_data_that_dvc_add_keeps_is_told_as_different(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(tmp_path, "git", "init", "--quiet")
    files = ["data/mura.dvc", "top.dvc", "src/x.py", "notes.md", ".dvc/config"]
    for state in ("old", "new"):
        for name in files:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(state)
        run(tmp_path, "git", "add", "--all")
        run(tmp_path, "git", "commit", "--quiet", "--message", state)
    assert different_code("HEAD~1", "HEAD") == ["data/mura.dvc", "src/x.py", "top.dvc"]
    assert different_code("HEAD~1", WORKSPACE) == ["data/mura.dvc", "src/x.py", "top.dvc"]
    assert different_code("HEAD", WORKSPACE) == []
    with pytest.raises(InputError, match="nosuch"):
        different_code("nosuch", "HEAD")

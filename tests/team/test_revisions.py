"""Revisions: which stage wrote a file, with which parameters, from which files; older ones."""

from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import PARAMS
from small_repository import git, ulna
from tiny_pipeline import commit, dvc, run

from ulna.core import InputError, paths
from ulna.team import revisions
from ulna.team.revisions import (
    WORKSPACE,
    different_code,
    find_stale,
    open_repo,
    parse_yaml,
    producers,
    read_revision,
    read_stages,
    read_yaml,
    upstream_stages,
)
from ulna.team.verify import outputs

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


def read_as(monkeypatch, params: dict) -> None:
    """A revision with these parameters, of which no stage ran."""
    monkeypatch.setattr(revisions, "read_yaml", lambda *_: params)
    monkeypatch.setattr(revisions, "tracked_files", lambda *_: [])


def test_a_seed_that_is_none_is_refused_in_a_sentence(monkeypatch):
    params = parse_yaml(PARAMS.read_text(), "params.yaml") | {"seed": "abc"}
    read_as(monkeypatch, params)
    with pytest.raises(InputError, match="workspace: seed .* params.yaml"):
        read_revision(SimpleNamespace(switch=nullcontext), WORKSPACE, ["ensemble"])


def test_a_commit_without_params_yaml_is_refused_in_that_sentence(tmp_path, monkeypatch):
    """And a dvc.lock without its dvc.yaml is read as in the workspace."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "dvc.lock").write_text("stages:\n  draw:\n    outs:\n    - {path: set, md5: aa}\n")
    commit(tmp_path)
    with pytest.raises(InputError, match="HEAD: seed or .* params.yaml is missing"):
        read_revision(SimpleNamespace(switch=nullcontext), "HEAD", ["ensemble"])
    assert read_stages("HEAD") == read_stages() != {}
    with pytest.raises(InputError, match="nosuch"):
        read_yaml("params.yaml", "nosuch")


def test_an_older_revision_is_read_with_its_names_and_places(monkeypatch):
    """Its evaluate.bootstrap_draws, and its ensemble beside the networks."""
    params = parse_yaml(PARAMS.read_text(), "params.yaml")
    params["evaluate"]["bootstrap_draws"] = params["evaluate"].pop("bootstrap_replicates")
    read_as(monkeypatch, params)
    tables = {"data/predictions/ensemble.csv": "old ensemble"}
    monkeypatch.setattr(revisions, "_read_table", lambda *given: tables.get(given[-1].as_posix()))
    older = read_revision(SimpleNamespace(switch=nullcontext), "v1", ["ensemble"])
    assert older.tables == {"ensemble": "old ensemble"}
    assert older.evaluate.bootstrap_replicates == params["evaluate"]["bootstrap_draws"]
    tables["data/ensemble.csv"] = "new ensemble"
    assert read_revision(SimpleNamespace(switch=nullcontext), "v1", ["ensemble"]).tables == {
        "ensemble": "new ensemble"
    }


# One in a folder that runs at the root, one in a folder of its own; both make what the root reads.
PIPELINES = {
    "dvc.yaml": """\
stages:
  join:
    cmd: cat data/drawn/set own/copy > joined
    deps: [data/drawn/set, own/copy]
    params: [loss]
    outs: [joined]
""",
    "data/drawn/dvc.yaml": """\
stages:
  draw:
    wdir: ../..
    cmd: grep seed params.yaml > data/drawn/set
    params: [seed]
    outs: [data/drawn/set]
""",
    "own/dvc.yaml": """\
stages:
  copy:
    cmd: cp source copy
    deps: [source]
    outs: [copy]
""",
}


@pytest.mark.slow
def test_every_dvc_lock_is_read_wherever_its_stages_run(tmp_path, monkeypatch):
    """Names of stages and files are those of DVC, here, in a commit and in the manifest."""
    for name, text in PIPELINES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "params.yaml").write_text("seed: 1\nloss: bce\n")
    (tmp_path / "own/source").write_text("source")
    git(tmp_path, "init", "--quiet")
    dvc(tmp_path, "init", "--quiet")
    dvc(tmp_path, "repro", "--quiet")
    ulna(tmp_path, "verify", "--write")
    commit(tmp_path)
    monkeypatch.chdir(tmp_path)
    made = {
        "join": "joined",
        "data/drawn/dvc.yaml:draw": "data/drawn/set",
        "own/dvc.yaml:copy": "own/copy",
    }
    with open_repo() as repo:
        assert {stage.addressing for stage in repo.index.stages} == made.keys()
    for commit_of_it in (WORKSPACE, "HEAD"):
        stages = read_stages(commit_of_it)
        assert {name: stage["outs"][0]["path"] for name, stage in stages.items()} == made
        assert {output.path for output in outputs(commit_of_it)} == set(made.values())
        # A stage of another folder is behind the file, and its file is no other than was read.
        assert set(upstream_stages(stages, "joined")) == made.keys()
        assert find_stale(stages, Path("joined"), {"seed": 2, "loss": "bce"}) == {"seed": 1}
        assert find_stale(stages, Path("joined"), {"seed": 1, "loss": "bce"}) == {}
    assert ": 0 mismatches" in ulna(tmp_path, "verify")
    # A merge that was not ended is named by its file.
    lock = tmp_path / "data/drawn/dvc.lock"
    lock.write_text(f"<<<<<<< HEAD\n{lock.read_text()}=======\n")
    assert "data/drawn/dvc.lock holds both sides" in ulna(tmp_path, "verify", code=1)


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

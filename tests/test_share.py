"""A colleague trains nothing: the whole tiny pipeline and an experiment, sent and taken."""

import hashlib
import os
import sys
from pathlib import Path

import pytest
from small_repository import by_hand, git, ulna
from tiny_pipeline import ROOT, commit, copy_of, dvc, read_yaml, run

from ulna.team.share import outputs_at

pytestmark = pytest.mark.slow


def where_no_stage_runs(folder: Path) -> str:
    """A PATH on which every stage fails, as `python` does: no hash of a dependency changes."""
    folder.mkdir(exist_ok=True)
    refusing = folder / "python"
    refusing.write_text('#!/bin/sh\necho "refused: $*" >&2\nexit 99\n')
    refusing.chmod(0o755)
    return os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.fixture(scope="module")
def owner(built, tmp_path_factory) -> Path:
    """A finished clone with an experiment, a git remote and a data remote."""
    folder = tmp_path_factory.mktemp("share")
    clone = copy_of(built, folder / "owner" / "ulna")
    dvc(clone, "remote", "add", "--default", "team", str(folder / "team"))
    commit(clone)
    run(folder, "git", "init", "--quiet", "--bare", "origin.git")
    git(clone, "remote", "add", "origin", str(folder / "origin.git"))
    dvc(clone, "exp", "run", "evaluate@cnn", "--set-param", "loss=focal", "--name", "focal")
    git(clone, "checkout", "--quiet", "--", ".")
    dvc(clone, "checkout", "--force")
    return clone


def clone_of(owner: Path, folder: Path) -> Path:
    git(folder, "clone", "--quiet", str(owner.parents[1] / "origin.git"), "clone")
    return folder / "clone"


def test_dvc_push_alone_lets_a_colleague_train_the_experiment(owner, tmp_path):
    """Why there is `ulna share`: with this test the guard of the next one is seen to work."""
    git(owner, "push", "--quiet", "origin", "HEAD")
    dvc(owner, "remote", "add", "other", str(tmp_path / "other"))
    dvc(owner, "push", "--run-cache", "--remote", "other")
    git(owner, "checkout", "--quiet", "--", ".dvc/config")
    clone = clone_of(owner, tmp_path)
    dvc(clone, "remote", "modify", "team", "url", str(tmp_path / "other"))
    done = run(
        clone,
        *(sys.executable, "-m", "dvc", "exp", "run", "--pull", "--allow-missing"),
        *("--set-param", "loss=focal", "evaluate@cnn"),
        PATH=where_no_stage_runs(tmp_path / "bin"),
    )
    assert done.returncode != 0
    assert "refused: -m stages.train cnn" in done.stderr


@pytest.fixture(scope="module")
def said(owner) -> str:
    """What the first `./ulna share` said; it is committed and pushed as it asks for."""
    words = ulna(owner, "share")
    commit(owner)
    git(owner, "push", "--quiet", "origin", "HEAD")
    return words


def test_share_says_what_it_sends_and_what_is_left_to_do(said):
    assert "share: remote team has verify = true from now on (.dvc/config, commit it)" in said
    assert "and the records of all runs; to origin: 1 experiments (focal)" in said
    assert "share: commit .dvc/config, manifest.sha256; then `git push`" in said


def test_in_a_second_clone_no_stage_runs_for_what_was_shared(owner, said, tmp_path):
    """Neither the pipeline nor the focal experiment, asked for by its name or its parameter."""
    clone = clone_of(owner, tmp_path)
    path = where_no_stage_runs(tmp_path / "bin")
    dvc(clone, "repro", "--pull", "--allow-missing", PATH=path)
    assert git(clone, "status", "--porcelain") == ""

    words = dvc(
        clone,
        *("exp", "run", "--pull", "--allow-missing", "-S", "loss=focal", "evaluate@cnn"),
        PATH=path,
    )
    assert "Stage 'train@cnn' is cached - skipping run" in words
    ref = git(owner, "for-each-ref", "--format=%(refname)", "refs/exps").split()
    focal = next(name for name in ref if name.endswith("/focal"))
    for file in ("dvc.lock", "metrics/cnn.json"):
        assert (clone / file).read_text() == git(owner, "show", f"{focal}:{file}")

    git(clone, "checkout", "--quiet", "--", ".")
    dvc(clone, "exp", "pull", "origin", "focal", PATH=path)
    dvc(clone, "exp", "apply", "focal", PATH=path)
    assert (clone / "dvc.lock").read_text() == git(owner, "show", f"{focal}:dvc.lock")


def test_sharing_again_sends_nothing_and_sends_what_got_lost(owner, said, tmp_path):
    """DVC takes a folder for sent if its list is there."""
    arrays = sorted((owner / "data/cache").glob("*.npy"))[:2]
    digests = [hashlib.md5(array.read_bytes()).hexdigest() for array in arrays]
    lost, cut = (owner.parents[1] / "team/files/md5" / md5[:2] / md5[2:] for md5 in digests)
    lost.rename(tmp_path / "lost")
    cut.chmod(0o644)
    cut.write_bytes(cut.read_bytes()[:7])
    dvc(owner, "push")
    assert cut.stat().st_size == 7, "dvc push mends a truncated object now"
    words = ulna(owner, "share")
    assert ": 2 of 2" in words
    assert "share: sending the rest: 2 files" in words
    assert lost.read_bytes() == (tmp_path / "lost").read_bytes()
    assert cut.stat().st_size > 7


def test_an_experiment_of_the_same_name_is_not_overwritten(owner, said, tmp_path):
    refs = git(owner, "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps")
    ref, commit_of_it = next(line.split() for line in refs.splitlines() if "/focal " in line)
    git(owner, "push", "--quiet", "--force", "origin", f"HEAD:{ref}")
    words = ulna(owner, "share", code=1)
    assert "experiment focal is on origin as well, with another content" in words
    git(owner, "push", "--quiet", "--force", "origin", f"{commit_of_it}:{ref}")


def test_a_released_model_is_had_from_anywhere(owner, said, tmp_path):
    """By its name and version, with neither the repository's data nor its stages."""
    gto = Path(sys.executable).with_name("gto")
    done = run(owner, str(gto), "register", "cnn", "--version", "v1.0.0")
    assert done.returncode == 0, done.stderr
    git(owner, "push", "--quiet", "origin", "cnn@v1.0.0")
    origin = str(owner.parents[1] / "origin.git")
    dvc(tmp_path, "artifacts", "get", origin, "cnn", "--rev", "v1.0.0", "--out", "cnn")
    files = sorted((owner / "models/cnn").iterdir())
    assert [path.name for path in sorted((tmp_path / "cnn").iterdir())] == [f.name for f in files]
    for file in files:
        assert (tmp_path / "cnn" / file.name).read_bytes() == file.read_bytes()


def test_a_commit_whose_lock_cannot_be_read_is_named_and_left_out(tmp_path, monkeypatch, capsys):
    """Such as a conflict that was committed: `--all` would never get past it."""
    monkeypatch.chdir(by_hand(tmp_path))
    assert [output.path for output in outputs_at("HEAD")] == ["held"]
    (tmp_path / "dvc.lock").write_text("<<<<<<< HEAD\nstages: {}\n=======\n")
    commit(tmp_path)
    assert outputs_at("HEAD") == []
    assert "share: dvc.lock of HEAD is not YAML" in capsys.readouterr().out


def test_the_names_of_released_models_change_no_result():
    """dvc.lock knows stages only: `artifacts:` may be edited at will."""
    assert set(read_yaml((ROOT / "dvc.lock").read_text())) == {"schema", "stages"}
    pipeline = read_yaml((ROOT / "dvc.yaml").read_text())
    outs = {out for out in pipeline["stages"]["train"]["outs"] if isinstance(out, str)}
    for name, artifact in pipeline["artifacts"].items():
        assert artifact["path"] == f"models/{name}"
        assert "models/${item.arch}" in outs

"""A colleague trains nothing: a pipeline and an experiment, sent and taken."""

import hashlib
import os
import re
import sys
from pathlib import Path

import pytest
from small_repository import git, make, ulna
from tiny_pipeline import ROOT, commit, copy_of, dvc, read_yaml, run

from ulna.core import InputError
from ulna.team.share import experiments, push_experiments
from ulna.team.verify import outputs

pytestmark = pytest.mark.slow


def where_no_stage_runs(folder: Path) -> str:
    """A PATH on which every stage fails, as `python` does: no hash of a dependency changes."""
    folder.mkdir(exist_ok=True)
    refusing = folder / "python"
    refusing.write_text('#!/bin/sh\necho "refused: $*" >&2\nexit 99\n')
    refusing.chmod(0o755)
    return os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])


PIPELINE = """\
stages:
  train:
    cmd: python train.py
    deps: [train.py, data/set.bin]
    params: [loss]
    outs: [model]
  evaluate:
    cmd: python evaluate.py
    deps: [evaluate.py, model]
    outs: [curve.csv]
    metrics: [{metrics.json: {cache: false}}]
"""
TRAIN = """\
import hashlib, os
text = open("params.yaml").read() + str(open("data/set.bin", "rb").read())
os.makedirs("model")
for part in ("weights", "metadata"):
    open(f"model/{part}", "w").write(hashlib.sha256((part + text).encode()).hexdigest())
"""
EVALUATE = """\
score = int(open("model/weights").read()[:6], 16) / 16**6
open("metrics.json", "w").write(f'{{"score": {score}}}')
open("curve.csv", "w").write(f"score\\n{score}\\n")
"""


@pytest.fixture(scope="module")
def owner(tmp_path_factory) -> Path:
    """A finished clone with a git remote, a data remote and an experiment from before and after."""
    folder = tmp_path_factory.mktemp("share")
    clone = make(folder / "owner" / "ulna", large=0)
    for name, text in {"dvc.yaml": PIPELINE, "train.py": TRAIN, "evaluate.py": EVALUATE,
                       "params.yaml": "loss: bce\n"}.items():  # fmt: skip
        (clone / name).write_text(text)
    (clone / "dvc.lock").unlink()
    dvc(clone, "repro", "--quiet")
    commit(clone)
    experiment(clone, "early")
    dvc(clone, "remote", "add", "--default", "team", str(folder / "team"))
    commit(clone)
    run(folder, "git", "init", "--quiet", "--bare", "origin.git")
    git(clone, "remote", "add", "origin", str(folder / "origin.git"))
    experiment(clone, "focal")
    return clone


def experiment(clone: Path, name: str) -> None:
    """Run one of that loss and that name, and take it back."""
    dvc(clone, "exp", "run", "--set-param", f"loss={name}", "--name", name)
    git(clone, "checkout", "--quiet", "--", ".")
    dvc(clone, "checkout", "--force")


def ref_of(clone: Path, name: str) -> str:
    refs = git(clone, "for-each-ref", "--format=%(refname)", "refs/exps").split()
    return next(ref for ref in refs if ref.endswith(f"/{name}"))


def clone_of(owner: Path, folder: Path) -> Path:
    git(folder, "clone", "--quiet", str(owner.parents[1] / "origin.git"), "clone")
    return folder / "clone"


@pytest.fixture(scope="module")
def shared(owner) -> Path:
    """The owner's clone after the first `./ulna share`, committed and pushed as it asks for."""
    output_of_it = ulna(owner, "share")
    assert "given the .dvc/config of now: early\n" in output_of_it
    # What git does not have yet, nobody finds.
    assert "manifest.sha256" in re.split("[ ,;]+", output_of_it)
    assert "verify = true" in (owner / ".dvc/config").read_text()
    commit(owner)
    git(owner, "push", "--quiet", "origin", "HEAD")
    return owner


def test_in_a_second_clone_no_stage_runs_for_what_was_shared(shared, tmp_path):
    """Neither the pipeline nor the focal experiment, asked for by its name or its parameter."""
    clone = clone_of(shared, tmp_path)
    path = where_no_stage_runs(tmp_path / "bin")
    dvc(clone, "repro", "--pull", "--allow-missing", PATH=path)
    assert git(clone, "status", "--porcelain") == ""

    output_of_it = dvc(
        clone,
        *("exp", "run", "--pull", "--allow-missing", "-S", "loss=focal"),
        PATH=path,
    )
    assert "Stage 'train' is cached - skipping run" in output_of_it
    focal = ref_of(shared, "focal")
    for file in ("dvc.lock", "metrics.json"):
        assert (clone / file).read_text() == git(shared, "show", f"{focal}:{file}")

    git(clone, "checkout", "--quiet", "--", ".")
    dvc(clone, "exp", "pull", "origin", "focal", PATH=path)
    dvc(clone, "exp", "apply", "focal", PATH=path)
    assert (clone / "dvc.lock").read_text() == git(shared, "show", f"{focal}:dvc.lock")


def test_an_experiment_from_before_the_remote_leaves_a_colleague_the_remote(shared, tmp_path):
    """`dvc exp apply` takes all of an experiment's commit, its .dvc/config too."""
    clone, early = clone_of(shared, tmp_path), ref_of(shared, "early")
    path = where_no_stage_runs(tmp_path / "bin")
    dvc(clone, "exp", "pull", "origin", "early", PATH=path)
    dvc(clone, "exp", "apply", "early", PATH=path)
    assert (clone / ".dvc/config").read_text() == (shared / ".dvc/config").read_text()
    for file in ("dvc.lock", "params.yaml", "metrics.json"):
        assert (clone / file).read_text() == git(shared, "show", f"{early}:{file}")
    assert "loss: early" in (clone / "params.yaml").read_text()
    ulna(clone, "verify", "--write")
    assert ": 0 mismatches" in ulna(clone, "verify", "--remote")
    # Its author, message and first commit are as they were.
    assert git(shared, "log", "-1", "--format=%an %s", early).startswith("tests dvc: commit exp")
    assert git(shared, "log", "-1", "--format=%P", early).strip() in git(shared, "rev-list", "HEAD")


def test_one_that_was_sent_before_is_replaced_and_its_name_is_its_ref(shared, tmp_path):
    """As by `dvc exp push`, or by an older ulna."""
    copy = copy_of(shared, tmp_path / "copy")
    early = ref_of(copy, "early")
    config = copy / ".dvc/config"
    whole = config.read_text()
    config.write_text("[core]\n    autostage = false\n")
    experiment(copy, "late")
    late = ref_of(copy, "late")
    git(copy, "push", "--quiet", "origin", late)
    config.write_text(whole)
    assert "of now: late\n" in ulna(copy, "share")
    assert git(copy, "show", f"{late}:.dvc/config") == whole
    for ref in (early, late):
        assert git(copy, "rev-parse", ref).strip() in git(copy, "ls-remote", "origin", ref)


def test_who_applies_one_before_it_is_shared_is_told_how_to_get_the_remote_back(owner, tmp_path):
    copy = copy_of(owner, tmp_path / "copy")
    (copy / ".dvc/config").write_text("[core]\n    autostage = false\n")
    said = ulna(copy, "share", code=1)
    assert "`git checkout HEAD -- .dvc/config`" in said
    git(copy, "checkout", "HEAD", "--", ".dvc/config")
    assert "team" in dvc(copy, "remote", "list")


def test_sharing_again_sends_nothing_and_sends_what_got_lost(shared, tmp_path):
    """DVC takes a folder for sent if its list is there."""
    files = sorted((shared / "model").iterdir())
    digests = [hashlib.md5(file.read_bytes()).hexdigest() for file in files]
    lost, cut = (shared.parents[1] / "team/files/md5" / md5[:2] / md5[2:] for md5 in digests)
    lost.rename(tmp_path / "lost")
    cut.chmod(0o644)
    cut.write_bytes(cut.read_bytes()[:7])
    dvc(shared, "push")
    assert cut.stat().st_size == 7, "dvc push mends a truncated object now"
    ulna(shared, "share")
    assert lost.read_bytes() == (tmp_path / "lost").read_bytes()
    assert cut.stat().st_size > 7


def test_an_experiment_of_the_same_name_is_not_overwritten(shared, tmp_path):
    refs = git(shared, "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps")
    ref, commit_of_it = next(line.split() for line in refs.splitlines() if "/focal " in line)
    git(shared, "push", "--quiet", "--force", "origin", f"HEAD:{ref}")
    assert ref in ulna(shared, "share", code=1)
    assert ref in git(shared, "ls-remote", "origin", ref)
    assert commit_of_it not in git(shared, "ls-remote", "origin", ref)
    git(shared, "push", "--quiet", "--force", "origin", f"{commit_of_it}:{ref}")


def test_after_a_push_that_failed_the_next_one_sends_the_same(tmp_path, monkeypatch, capsys):
    """An experiment that was sent before the remote was set up, whose own .dvc/config was torn."""
    ref, config = f"refs/exps/aa/{'b' * 38}/early", tmp_path / "clone/.dvc/config"
    run(tmp_path, "git", "init", "--quiet", "--bare", "origin.git")
    run(tmp_path, "git", "init", "--quiet", "clone")
    monkeypatch.chdir(clone := tmp_path / "clone")
    git(clone, "remote", "add", "origin", "../origin.git")
    config.parent.mkdir()
    config.write_text("<<<<<<< HEAD\n=======\n>>>>>>> other\n")
    commit(clone)
    git(clone, "update-ref", ref, "HEAD")
    git(clone, "push", "--quiet", "origin", ref)
    config.write_text("[core]\n    remote = team\n['remote \"team\"']\n    url = /team\n")

    mine, hook = experiments(), tmp_path / "origin.git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(InputError, match="git push"):
        push_experiments(mine, "origin", "team")
    assert experiments() == mine and list(mine) == [ref]
    assert capsys.readouterr().out == ""
    hook.unlink()
    push_experiments(experiments(), "origin", "team")
    assert "team was set up as it is now, so given" in capsys.readouterr().out
    assert git(clone, "show", f"{ref}:.dvc/config") == config.read_text()
    assert experiments() != mine
    assert experiments()[ref] in git(clone, "ls-remote", "origin", ref)


def test_a_commit_whose_lock_cannot_be_read_is_left_out(tmp_path, monkeypatch, capsys):
    """Such as a conflict that was committed: `--all` would never get past it."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "set.dvc").write_text(f"outs:\n- {{md5: {'a' * 32}, path: set}}\n")
    (tmp_path / "dvc.lock").write_text("<<<<<<< HEAD\nstages: {}\n=======\n")
    commit(tmp_path)
    assert [output.path for output in outputs("HEAD")] == ["set"]
    assert "dvc.lock of HEAD" in capsys.readouterr().out


def test_the_names_of_released_models_change_no_result():
    """dvc.lock knows stages only: `artifacts:` may be edited at will."""
    assert set(read_yaml((ROOT / "dvc.lock").read_text())) == {"schema", "stages"}
    pipeline = read_yaml((ROOT / "dvc.yaml").read_text())
    assert pipeline["stages"]["bundle"]["outs"] == ["bundles/${item.arch}"]
    assert pipeline["stages"]["bundle_ensemble"]["outs"] == ["bundles/ensemble"]
    for name, artifact in pipeline["artifacts"].items():
        assert artifact["path"] == f"bundles/{name}"

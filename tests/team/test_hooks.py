"""The hooks before a commit, in a repository with one stage."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from small_repository import git, make
from tiny_pipeline import ROOT, commit, run

pytestmark = pytest.mark.slow

HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = make(tmp_path_factory.mktemp("hooks") / "repository", large=0)
    for name in (".pre-commit-config.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    commit(folder)
    return folder


@pytest.fixture(params=["with data", "without data"])
def clone(finished, tmp_path, request) -> Path:
    """The finished repository, or what git has of it."""
    if request.param == "with data":
        shutil.copytree(finished, tmp_path / "clone")
    else:
        git(tmp_path, "clone", "--quiet", str(finished), "clone")
    return tmp_path / "clone"


def test_dvc_lock_must_be_that_of_the_commit(clone):
    """DVC's exit code alone does not tell: it is 0 for a stale stage if the data are there."""
    entry = next(hook["entry"] for hook in HOOKS if hook["id"] == "dvc-lock")
    done = run(clone, *shlex.split(entry))
    assert done.returncode == 0, done.stdout
    (clone / "README.md").write_text("Another word.\n")
    assert run(clone, *shlex.split(entry)).returncode == 0
    pipeline = clone / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("echo {}", "echo {} "))
    done = run(clone, *shlex.split(entry))
    assert done.returncode == 1
    assert "copy" in done.stdout


def test_images_large_files_and_unformatted_code_are_stopped(finished, tmp_path):
    clone = shutil.copytree(finished, tmp_path / "clone")
    (clone / "wrist.PNG").write_bytes(b"\x89PNG")
    (clone / "notes.txt").write_bytes(b"0" * 1_100_000)
    (clone / "odd name.py").write_text("x=1\n")
    git(clone, "add", "--force", "wrist.PNG", "notes.txt", "odd name.py")
    home = {"PRE_COMMIT_HOME": str(tmp_path / "home"), "SKIP": "dvc-lock"}
    done = run(clone, sys.executable, "-m", "pre_commit", "run", **home)
    assert done.returncode == 1
    failed = {line.split("...")[0] for line in done.stdout.splitlines() if line.endswith("Failed")}
    names = {hook["name"] for hook in HOOKS if hook["id"] in
             ("ruff-format", "patient-data", "large-files")}  # fmt: skip
    assert names <= failed
    assert "wrist.PNG" in done.stdout and "notes.txt" in done.stdout

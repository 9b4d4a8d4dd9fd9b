"""A team's habits: hooks, workflow, dev container, guide and changelog are what they say."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from needs import require
from ruamel.yaml import YAML

from ulna.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()


def read_yaml(name: str) -> dict:
    return YAML(typ="safe", pure=True).load(ROOT / name)


WORKFLOW = read_yaml(".github/workflows/ci.yml")
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def is_patient_data(name: str) -> bool:
    """Whether the hook against images stops a commit with this file."""
    hooks = read_yaml(".pre-commit-config.yaml")["repos"][0]["hooks"]
    hook = next(hook for hook in hooks if hook["id"] == "patient-data")
    return bool(re.search(hook["files"], name) and not re.search(hook["exclude"], name))


def check_commands(text: str) -> int:
    """Hold `make TARGET`, `ulna COMMAND` and scripts against what there is; how many there were."""
    made = re.findall(r"(?<![\w-])make (\w+)", text)
    asked = re.findall(r"\./ulna (\w+)", text)
    scripts = re.findall(r"(?<![\w/])(\.ci/\w+)", text)
    assert set(made) <= TARGETS
    assert set(asked) <= set(COMMANDS)
    assert all((ROOT / name).is_file() for name in scripts)
    return len([*made, *asked, *scripts])


def test_every_action_is_pinned_by_its_commit_and_names_its_version():
    """A tag can be moved to other code; a hash cannot."""
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    used = re.findall(r"uses: (.*)", text)
    assert len(used) == len([step for step in STEPS if "uses" in step]) > 0
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


def test_the_workflow_reads_only_and_sees_the_whole_history():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW["concurrency"]["group"]
    for job in WORKFLOW["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 90
        assert "permissions" not in job
        checkout, second = job["steps"][:2]
        assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}
        if "container" in job:
            assert job["container"]["image"].startswith("python:3.11-")
            # test_remotes asks for it; no container has it by itself.
            assert job["container"]["options"] == "--cap-add DAC_READ_SEARCH"
        else:
            python = second["with"]
            assert (python["cache"], python["cache-dependency-path"]) == (
                "pip",
                "requirements.lock",
            )
            assert python["python-version"] == "3.11"


def test_the_workflow_runs_what_there_is():
    said = "\n".join(step["run"] for step in STEPS if "run" in step)
    assert check_commands(said) >= 5
    for wanted in ("make test", "./ulna check", "./ulna compare", "plots/report.md"):
        assert wanted in said
    # What others may name, such as a branch, reaches a shell as a variable only.
    assert "${{" not in said


@pytest.mark.parametrize(
    ("says", "code", "ends"),  # Of compare, and of the step.
    [
        ("", 0, 0),
        ("compare: the test sets differ", 1, 0),
        ("Traceback (most recent call last):", 1, 1),
    ],
)
def test_what_cannot_be_compared_is_said_and_stops_no_pull_request(says, code, ends, tmp_path):
    """Of a fork without credentials, or with other test data. A fault of ulna's does."""
    (step,) = (step for step in STEPS if step.get("name") == "What changed, with intervals")
    for name, lines in (
        ("dvc", "echo team"),
        ("git", "true"),
        ("ulna", f"echo differences; echo '{says}' >&2; exit {code}"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "GITHUB_STEP_SUMMARY": "summary",
            "BASE": "0",
        },
        check=False,
    )
    assert done.returncode == ends
    summary = (tmp_path / "summary").read_text()
    assert summary == ("differences\n" if ends or not says else f"differences\n{says}\n")


def test_hooks_fetch_nothing():
    config = read_yaml(".pre-commit-config.yaml")
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = {hook["id"]: hook for hook in config["repos"][0]["hooks"]}
    assert {hook["language"] for hook in hooks.values()} <= {"system", "fail"}
    assert set(hooks) == {"ruff-check", "ruff-format", "patient-data", "large-files", "dvc-lock"}
    check_commands(hooks["dvc-lock"]["entry"])
    # pre-commit would pass over it where no file of a certain kind changed.
    assert hooks["dvc-lock"]["always_run"]


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("data/MURA-v1.1/train/XR_WRIST/patient1/study1_positive/image1.png", True),
        ("plots/roc.png", True),
        ("scan.DCM", True),
        ("models/cnn/model.weights.h5", True),
        ("data/cache/WRIST.npy", True),
        ("data/MURA-v1.1.zip", True),
        ("docs/examples.svg", False),
        ("data/MURA-v1.1.zip.dvc", False),
        ("plots/report.md", False),
    ],
)
def test_what_the_hook_against_images_refuses(name, refused):
    assert is_patient_data(name) == refused


def test_git_holds_nothing_that_the_hook_against_images_refuses():
    """Whoever never ran `pre-commit install`, or skipped it, is stopped in CI."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    require(listed.returncode == 0, "this is no clone: git knows no files of it")
    names = listed.stdout.split("\0")
    assert "pyproject.toml" in names
    assert [name for name in names if is_patient_data(name)] == []


def test_the_dev_container_is_read_and_sets_up_what_there_is():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert re.search(r"python:3\.11", container["image"])
    assert check_commands(container["postCreateCommand"]) == 1
    assert set(container["customizations"]["vscode"]["extensions"]) == {
        "Iterative.dvc", "ms-python.python", "charliermarsh.ruff",
    }  # fmt: skip


def test_what_the_guide_names_is_there():
    assert check_commands(GUIDE) >= 3
    named = set(re.findall(r"`([\w./-]+\.(?:py|yaml|yml|md|csv|json|lock))`", GUIDE))
    named -= {"stages/NAME.py"}
    assert len(named) > 30
    missing = {name for name in named if not (ROOT / name).is_file()}
    assert missing <= {"dvc.lock"}  # of a clone that has not run yet


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("src/ulna/params.py", ["ARCHS", "LearningCurve", "Transfer"]),
        ("src/ulna/judging/metrics.py", ["def rates", "def score"]),
        ("src/ulna/judging/bootstrap.py", ["METRICS", "def redraw"]),
        ("src/ulna/judging/comparison.py", ["PAIRS"]),
        ("src/ulna/networks/models.py", ["def build_network"]),
        ("src/ulna/phantom/anatomy.py", ["BUILDERS"]),
        ("src/ulna/phantom/tree.py", ["MURA_STUDIES"]),
        ("src/ulna/side_by_side.py", ["HEAVY"]),
        ("tests/test_structure.py", ["FLOW", "LIGHT", "ARCHS"]),
    ],
)
def test_the_guide_names_what_is_in_the_files(file, names):
    text = (ROOT / file).read_text()
    for name in names:
        assert name in text
        assert name.removeprefix("def ") in GUIDE


def test_the_guide_names_every_file_that_lists_the_networks():
    """Outside the tests: those that would not know of a third."""
    knowing = {
        str(path.relative_to(ROOT))
        for folder in ("src/ulna", "stages")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r'"densenet169"|isinstance\(network, (Cnn|DenseNet169)\)', path.read_text())
        or 'arch == "cnn"' in path.read_text()
    }
    # It has weights from elsewhere for DenseNet169 alone.
    assert {name for name in knowing if f"`{name}`" not in GUIDE} <= {
        "src/ulna/networks/pretrained.py"
    }


def test_the_changelog_has_the_version_that_is_being_made():
    text = (ROOT / "CHANGELOG.md").read_text()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert text.split("## ")[1].startswith("[Unreleased]")
    assert f"What {version} will hold" in text
    kinds = re.findall(r"^### (\w+)", text, re.M)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}

"""Habits that protect a team: pinned actions, no images in git, CI's steps, one module writes."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from needs import require

from ulna.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def hook(name: str) -> dict:
    return next(each for each in HOOKS[0]["hooks"] if each["id"] == name)


def is_patient_data(name: str) -> bool:
    """Whether the hook against images stops a commit with this file."""
    rule = hook("patient-data")
    return bool(re.search(rule["files"], name) and not re.search(rule["exclude"], name))


def test_every_action_is_pinned_by_its_commit():
    """A tag can be moved to other code; a hash cannot."""
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action


def test_the_workflow_may_only_read():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    for job in WORKFLOW["jobs"].values():
        assert "permissions" not in job
        assert job["steps"][0]["with"]["persist-credentials"] is False
        # `ulna compare` and a test of git's files need all commits.
        assert job["steps"][0]["with"]["fetch-depth"] == 0
    # Others may name a branch: it reaches a shell as a variable only.
    assert not any("${{" in step["run"] for step in STEPS if "run" in step)


def test_commands_and_files_that_the_guide_and_the_workflow_name_exist():
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    text = "\n".join([guide, *(step["run"] for step in STEPS if "run" in step)])
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?<![\w-])make (\w+)", text)) <= targets
    assert set(re.findall(r"\./ulna (\w+)", text)) <= set(COMMANDS)
    named = set(re.findall(r"`([\w./-]+\.(?:py|yaml|yml|csv|json|lock))`", guide))
    assert {name for name in named if not (ROOT / name).is_file()} <= {"dvc.lock"}


@pytest.mark.parametrize(
    ("message", "code", "ends"),  # Of compare, and of the step.
    [
        ("", 0, 0),
        ("compare: the test sets differ", 1, 0),
        ("Traceback (most recent call last):", 1, 1),
    ],
)
def test_revisions_that_cannot_be_compared_stop_no_pull_request(message, code, ends, tmp_path):
    """Of a fork without credentials, or with other test data. A fault of ulna's does."""
    (step,) = (step for step in STEPS if "./ulna compare" in step.get("run", ""))
    for name, lines in (
        ("dvc", "echo team"),
        ("git", "true"),
        ("ulna", f"echo differences; echo '{message}' >&2; exit {code}"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=tmp_path,
        env={"PATH": path, "GITHUB_STEP_SUMMARY": "summary", "BASE": "0"},
        check=False,
    )
    assert done.returncode == ends
    summary = (tmp_path / "summary").read_text()
    assert summary == ("differences\n" if ends or not message else f"differences\n{message}\n")


def test_hooks_fetch_nothing_and_the_lock_is_always_checked():
    assert [repository["repo"] for repository in HOOKS] == ["local"]
    assert {each["language"] for each in HOOKS[0]["hooks"]} <= {"system", "fail"}
    # pre-commit would pass over it where no file of a certain kind changed.
    assert hook("dvc-lock")["always_run"]


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("data/MURA-v1.1/train/XR_WRIST/patient1/study1_positive/image1.png", True),
        ("scan.DCM", True),
        ("models/cnn/model.weights.h5", True),
        ("data/cache/WRIST.npy", True),
        ("data/MURA-v1.1.zip", True),
        ("bundles/cnn/model.onnx", True),
        ("examples/mine.png", True),
        ("examples/XR_WRIST/patient00011/study1_negative/image1.png", True),
        ("examples/forearm_dicom/view2.dcm", True),
        ("src/ulna/inference/default/densenet169.onnx", True),
        ("src/ulna/inference/default/model.onnx", False),
        ("examples/XR_WRIST/patient11228/study1_negative/image1.png", False),
        ("docs/examples.svg", False),
        ("data/MURA-v1.1.zip.dvc", False),
        ("plots/report.md", False),
    ],
)
def test_images_and_weights_are_refused_by_the_hook(name, refused):
    assert is_patient_data(name) == refused


def test_git_holds_nothing_that_the_hook_refuses():
    """Whoever never ran `pre-commit install`, or skipped it, is stopped in CI."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    require(listed.returncode == 0, "this is no clone: git knows no files of it")
    names = listed.stdout.split("\0")
    assert "pyproject.toml" in names
    assert [name for name in names if is_patient_data(name)] == []


# Calls that write, by their last name; `replace` and `rename` of a path have one argument.
WRITES = {
    "chmod", "copyfile", "copytree", "dump", "hardlink_to", "imsave", "imwrite", "mkdir", "move",
    "open_memmap", "rename", "replace", "rmtree", "save", "save_weights", "savefig", "savetxt",
    "savez", "symlink_to", "to_csv", "to_json", "to_parquet", "tofile", "touch", "unlink",
    "write_bytes", "write_text",
}  # fmt: skip
WRITERS = {
    "core/io.py": "the only one that gives an output its name",
    "core/stage.py": "the folder of locks",
    "data/cache.py": "in a folder of atomic_directory, by processes that share the work",
    "figures/style.py": "into memory",
    "inference/journal.py": "what a run that broke off has finished, which is no output",
    "inference/pictures.py": "into memory",
    "networks/resume.py": "checkpoints, which are no output",
    "phantom/tree.py": "into memory",
    "report/pictures.py": "into memory",
}


def writes(call: ast.Call, partial: set[str]) -> bool:
    """Whether a call changes the disk under another name than one of `partial`."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else ""
    modes = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant)]
    if name == "open" or (isinstance(function, ast.Name) and function.id == "open"):
        writing = any(re.fullmatch(r"[rbt]*[wax+][bt+]*", str(mode)) for mode in modes)
    elif name in ("rename", "replace"):
        writing = len(call.args) == 1 and not call.keywords
    else:
        writing = name in WRITES and (name != "to_csv" or bool(call.args)) and "r" not in modes
    used = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
    return writing and not used & partial


@pytest.mark.promise("C19")
def test_only_core_io_writes_or_renames_files():
    """Elsewhere into the name that `atomic_write` or `atomic_directory` gives for a block."""
    found = set()
    for path in [*(ROOT / "src/ulna").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        tree = ast.parse(path.read_text())
        items = [item for node in ast.walk(tree) if isinstance(node, ast.With)
                 for item in node.items if "atomic_" in ast.unparse(item.context_expr)]  # fmt: skip
        partial = {ast.unparse(item.optional_vars) for item in items if item.optional_vars}
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        if path.parent.name != "team" and any(writes(call, partial) for call in calls):
            found.add(str(path.relative_to(ROOT)).removeprefix("src/ulna/"))
    assert found == set(WRITERS)


@pytest.mark.parametrize(
    "line",
    ["table.to_csv(path)", "open(path, 'w')", "path.open('r+b')", "path.write_text('x')",
     "np.save(path, array)", "partial.replace(path)", "path.unlink()", "shutil.rmtree(path)"],
)  # fmt: skip
def test_a_write_is_recognised(line):
    (call,) = (node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Call))
    assert writes(call, set()) and not writes(call, {"path"})

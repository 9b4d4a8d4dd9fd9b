"""Two branches with results of their own, merged as docs/team.md says."""

from pathlib import Path

import pytest
from small_repository import git, ulna
from tiny_pipeline import ROOT, commit, dvc, run

pytestmark = pytest.mark.slow

STAGES = """\
stages:
  first:
    cmd: grep first params.yaml > first.txt
    params: [first]
    deps: [seed.txt]
    outs: [first.txt]
  second:
    cmd: grep second params.yaml > second.txt
    params: [second]
    deps: [seed.txt]
    outs: [second.txt]
  both:
    cmd: cat first.txt second.txt > both.txt
    deps: [first.txt, second.txt]
    outs: [both.txt]
"""


def branch(folder: Path, name: str, old: str, new: str) -> None:
    """A colleague's branch: a parameter, its results, and the manifest."""
    git(folder, "checkout", "--quiet", "-B", name, "start")
    # Of another length: git takes a file that is changed within a tick of its clock, and keeps its
    # length, for unchanged.
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace(old, new))
    dvc(folder, "repro", "--quiet")
    ulna(folder, "verify", "--write")
    commit(folder)


def commands() -> list[str]:
    """Those of docs/team.md on a merge."""
    text = (ROOT / "docs/team.md").read_text().split("## Merging")[1].split("```")[1]
    return [
        line.removeprefix("$ ").split("  #")[0].strip()
        for line in text.splitlines()
        if line.startswith("$ ")
    ]


def test_where_git_merged_the_results_none_is_taken_from_a_side(tmp_path):
    """And the hook stopped it: the same commands hold."""
    run(tmp_path, "git", "init", "--quiet")
    (tmp_path / "dvc.lock").write_text("merged")
    commit(tmp_path)
    done = run(tmp_path, "sh", "-c", commands()[1])
    assert done.returncode == 0, done.stderr


def test_a_conflict_is_resolved_as_the_guide_says(tmp_path):
    (tmp_path / "params.yaml").write_text("first: 1\n\n\n\nsecond: 1\n")
    (tmp_path / "seed.txt").write_text("seed")
    (tmp_path / "dvc.yaml").write_text(STAGES)
    (tmp_path / "ulna").symlink_to(ROOT / "ulna")
    run(tmp_path, "git", "init", "--quiet", "--initial-branch", "start")
    dvc(tmp_path, "init", "--quiet")
    dvc(tmp_path, "config", "core.autostage", "true")
    dvc(tmp_path, "remote", "add", "--default", "team", str(tmp_path / ".dvc/tmp/team"))
    dvc(tmp_path, "repro", "--quiet")
    ulna(tmp_path, "verify", "--write")
    commit(tmp_path)
    branch(tmp_path, "theirs", "first: 1", "first: 20")
    branch(tmp_path, "mine", "second: 1", "second: 20")

    merge, *rest = commands()
    assert merge == "git merge theirs"
    merged = run(tmp_path, *merge.split())
    assert "Merge conflict in dvc.lock" in merged.stdout
    assert "dvc.lock" in ulna(tmp_path, "verify", code=1)
    for command in rest:
        done = run(tmp_path, "sh", "-c", command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert (tmp_path / "both.txt").read_text() == "first: 20\nsecond: 20\n"
    assert git(tmp_path, "status", "--porcelain") == ""
    assert len(git(tmp_path, "log", "-1", "--format=%P").split()) == 2
    assert "up to date" in dvc(tmp_path, "status")
    ulna(tmp_path, "verify")

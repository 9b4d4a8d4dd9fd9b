"""`ulna check` and the hooks before a commit, in the finished pipeline, by git itself."""

import shutil
import sys
from pathlib import Path

import pytest
from small_repository import by_hand, git
from tiny_pipeline import ROOT, change, copy_of, run

from ulna.cli import main

pytestmark = pytest.mark.slow

CHECK = (sys.executable, "ulna", "check")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> str:
    """Of pre-commit: it keeps what it installs there, here nothing."""
    return str(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def repository(built, home, tmp_path_factory) -> Path:
    """The finished pipeline with its hooks, for tests that leave it as they find it."""
    folder = copy_of(built, tmp_path_factory.mktemp("check") / "ulna")
    for name in (".pre-commit-config.yaml", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "hooks")
    done = run(folder, sys.executable, "-m", "pre_commit", "install", PRE_COMMIT_HOME=home)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def commit(repository, home):
    """Commit what is staged as a developer does: (exit code, what was said)."""

    def committed(message: str) -> tuple[int, str]:
        done = run(repository, "git", "commit", "--message", message, PRE_COMMIT_HOME=home)
        return done.returncode, done.stdout + done.stderr

    head = run(repository, "git", "rev-parse", "HEAD").stdout.strip()
    yield committed
    run(repository, "git", "reset", "--hard", "--quiet", head)


def test_a_commit_without_its_results_is_stopped_and_one_with_them_passes(repository, commit):
    """dvc.lock, parameters and code as they are staged, whatever else the folder holds."""
    change(repository, "loss: bce", "loss: focal")
    (repository / "README.md").write_text("Another word.\n")
    run(repository, "git", "add", "README.md")
    code, said = commit("README")
    assert code == 0, said  # params.yaml is not part of it
    assert "loss: focal" in (repository / "params.yaml").read_text()

    run(repository, "git", "add", "params.yaml")
    before = run(repository, "git", "rev-parse", "HEAD").stdout
    code, said = commit("focal")
    assert code != 0
    assert "  loss in params.yaml is modified: train@cnn, train@densenet169, " in said
    assert "run `dvc repro`, then `git add dvc.lock" in said
    assert "evaluate@cnn" not in said  # it follows, but nothing of its own changed
    assert run(repository, "git", "rev-parse", "HEAD").stdout == before


def test_a_merge_without_its_results_is_stopped(repository, commit, home):
    """git runs other hooks for a merge that it can make by itself."""
    start = run(repository, "git", "branch", "--show-current").stdout.strip()
    run(repository, "git", "checkout", "--quiet", "-b", "side")
    change(repository, "loss: bce", "loss: focal")
    run(repository, "git", "commit", "--quiet", "--all", "--no-verify", "--message", "focal")
    run(repository, "git", "checkout", "--quiet", start)
    (repository / "README.md").write_text("Another word.\n")
    run(repository, "git", "add", "README.md")
    assert commit("README")[0] == 0
    merged = run(repository, "git", "merge", "--no-edit", "side", PRE_COMMIT_HOME=home)
    assert merged.returncode != 0
    assert "loss in params.yaml is modified: train@cnn" in merged.stdout + merged.stderr


def test_images_large_files_and_unformatted_code_are_stopped(repository, commit):
    (repository / "data" / "wrist.PNG").write_bytes(b"\x89PNG")
    (repository / "notes.txt").write_bytes(b"0" * 1_100_000)
    code = repository / "stages" / "odd name.py"
    code.write_text("x=1\n")
    run(repository, "git", "add", "--force", "data/wrist.PNG", "notes.txt", str(code))
    refused, said = commit("all of it")
    assert refused
    failed = {line.split("...")[0] for line in said.splitlines() if line.endswith("Failed")}
    assert failed == {
        "ruff check",
        "ruff format",
        "no images or weights in git",
        "no file over 1 MB",
    }
    assert "data/wrist.PNG" in said and "notes.txt" in said


def test_a_clone_without_data_can_be_checked(repository, tmp_path):
    assert run(tmp_path, "git", "clone", "--quiet", str(repository), "clone").returncode == 0
    clone = tmp_path / "clone"
    done = run(clone, *CHECK)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "dvc.lock is that of what is staged: 23 stages\n"

    with (clone / "src/ulna/judging/metrics.py").open("a") as code:
        code.write("# a remark\n")
    (clone / "metrics/audit.json").write_text("{}\n")
    run(clone, "git", "add", "--all")
    done = run(clone, *CHECK)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "check: dvc.lock is not that of what is staged:"
    code, metrics = sorted(line.strip() for line in lines[1:3])[::-1]
    assert code.startswith("src/ulna/judging/metrics.py is modified: evaluate@cnn, evaluate@")
    assert metrics.startswith("metrics/audit.json is modified: audit")
    assert not any("train" in line for line in lines)


def test_a_cache_made_anew_without_what_follows_from_it_is_seen(repository, tmp_path):
    """Such as a merge that took one stage of dvc.lock from either side."""
    run(tmp_path, "git", "clone", "--quiet", str(repository), "clone")
    lock = tmp_path / "clone" / "dvc.lock"
    head, made, tail = lock.read_text().partition("    outs:\n    - path: data/cache\n")
    old = tail.split("md5: ")[1][:32]
    lock.write_text(head + made + tail.replace(old, f"{'0' * 32}", 1))
    run(tmp_path / "clone", "git", "add", "--all")
    done = run(tmp_path / "clone", *CHECK)
    assert done.returncode == 1
    assert "  data/cache was made anew: train@cnn, train@densenet169, " in done.stderr
    assert "preprocess" not in done.stderr


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        (None, "  it never ran: phantom, prepare, "),
        ("<<<<<<< HEAD\n", "what is staged cannot be read by DVC: "),
    ],
)
def test_a_lock_that_is_missing_or_in_conflict_is_named(repository, tmp_path, lock, said):
    run(tmp_path, "git", "clone", "--quiet", str(repository), "clone")
    path = tmp_path / "clone" / "dvc.lock"
    if lock is None:
        path.unlink()
    else:
        path.write_text(lock + path.read_text())
    run(tmp_path / "clone", "git", "add", "--all")
    done = run(tmp_path / "clone", *CHECK)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_source_that_git_no_longer_holds_is_missing(tmp_path, monkeypatch, capsys):
    """A data set that git ignores is not: it may be elsewhere."""
    monkeypatch.chdir(by_hand(tmp_path))
    main("check")
    assert capsys.readouterr().out == "dvc.lock is that of what is staged: 1 stages\n"
    git(tmp_path, "rm", "--quiet", "seed.txt")
    with pytest.raises(SystemExit):
        main("check")
    said = capsys.readouterr().err
    assert "  seed.txt is missing: hold\n" in said
    monkeypatch.chdir(tmp_path / "held")
    with pytest.raises(SystemExit):
        main("check")
    assert capsys.readouterr().err == said
    assert "SKIP=dvc-lock git commit" in said  # --no-verify would let images in as well


def test_outside_git_it_says_so(tmp_path):
    done = run(tmp_path, sys.executable, str(ROOT / "ulna"), "check")
    assert done.returncode == 1
    assert "check: what is staged cannot be read by git: fatal: not a git repository" in done.stderr

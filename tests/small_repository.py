"""A repository of a few files under DVC, for tests of places to keep them: no stage trains."""

import random
import sys
from pathlib import Path

from tiny_pipeline import ROOT, commit, dvc, run

ULNA = (sys.executable, str(ROOT / "ulna"))
STAGES = """\
stages:
  copy:
    cmd: cp data/set.bin copied.bin && echo {} > lines.json
    deps: [data/set.bin]
    outs: [copied.bin]
    metrics: [{lines.json: {cache: false}}]
"""
FILES = 12
LARGE_BYTES = 3_000_000


def make(folder: Path, large: int = 1) -> Path:
    """A committed repository.

    Args:
        folder: Where.
        large: How many files of 3 MB there are in its folder of data, beside small ones.
    """
    draw = random.Random(7)
    (folder / "data/many").mkdir(parents=True)
    (folder / "data/set.bin").write_bytes(draw.randbytes(40_000))
    for number in range(FILES):
        (folder / f"data/many/{number}.bin").write_bytes(draw.randbytes(2_000 + number))
    for number in range(large):
        (folder / f"data/many/large{number}.bin").write_bytes(draw.randbytes(LARGE_BYTES))
    run(folder, "git", "init", "--quiet")
    dvc(folder, "init", "--quiet")
    (folder / "dvc.yaml").write_text(STAGES)
    dvc(folder, "add", "--quiet", "data/set.bin", "data/many")
    dvc(folder, "repro", "--quiet")
    commit(folder)
    return folder


def ulna(folder: Path, *arguments: str, code: int = 0, **variables: str) -> str:
    """What `./ulna` says; its exit code is asserted."""
    done = run(folder, *ULNA, *arguments, **variables)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def git(folder: Path, *arguments: str) -> str:
    done = run(folder, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout

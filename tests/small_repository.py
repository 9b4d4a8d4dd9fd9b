"""A repository of a few files under DVC, for tests of places to keep them: no stage trains."""

import hashlib
import json
import random
import sys
from pathlib import Path

from conftest import PARAMS
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
BY_HAND = """\
stages:
  hold:
    cmd: cp seed.txt held/a.txt
    deps: [seed.txt, data/set.zip]
    outs: [{held: {cache: false}}]
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


def by_hand(folder: Path) -> Path:
    """A committed repository as if its one stage had run, made without a DVC process.

    The stage reads a file that git holds and a data set that git ignores, which is not here; it
    makes a folder that git holds.
    """
    digest = [hashlib.md5(content).hexdigest() for content in (b"seed", b"a", b"set")]
    listing = json.dumps([{"md5": digest[1], "relpath": "a.txt"}]).encode()
    files = {
        ".dvc/config": "",
        ".gitignore": "/data/*.zip\n",
        "seed.txt": "seed",
        "held/a.txt": "a",
        "params.yaml": PARAMS.read_text(),
        "dvc.yaml": BY_HAND,
        "dvc.lock": f"""\
schema: '2.0'
stages:
  hold:
    cmd: cp seed.txt held/a.txt
    deps:
    - {{path: data/set.zip, hash: md5, md5: {digest[2]}, size: 3}}
    - {{path: seed.txt, hash: md5, md5: {digest[0]}, size: 4}}
    outs:
    - {{path: held, hash: md5, md5: {hashlib.md5(listing).hexdigest()}.dir, size: 1, nfiles: 1}}
""",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    run(folder, "git", "init", "--quiet")
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

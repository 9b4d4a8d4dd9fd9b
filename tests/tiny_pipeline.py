"""The pipeline on a tiny phantom with a planted signal, as its user runs it: DVC itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import params_files
from conftest import THREADS

from ulna.core.yaml12 import parse_yaml

ROOT = Path(__file__).resolve().parents[1]
COPIED = [
    "stages", "src", "ulna", "dvc.yaml", "pyproject.toml", ".dvc/config", ".dvc/.gitignore",
    ".dvcignore", ".gitignore",
]  # fmt: skip
TINY = {
    "phantom": {"patients": 84, "marker_shortcut": True},
    "image": {"size_px": 48},
    "augment": {"horizontal_flip": False, "rotation_degrees": 0.0},
    "evaluate": {"bootstrap_replicates": 200},
    # All parts: a part alone may have one label on val.
    "transfer": {
        "train_on": ["ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST"]
    },
    "cnn": {"filters": [8, 16, 16], "epochs": 12, "learning_rate": 0.01, "batch_size": 16},
    "densenet169": {
        "head_epochs": 1,
        "finetune_epochs": 1,
        "finetune_from": "conv5_block32",
        "head_units": 8,
    },
}


def environment(**variables: str) -> dict[str, str]:
    """`python` is the one that runs the tests.

    Threads are as many as a user has: only the tests are kept to one.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    git = {
        f"GIT_{who}_{what}": "tests"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    git["GIT_CONFIG_GLOBAL"] = os.devnull  # no signing, no hooks of the user
    own = {name: value for name, value in os.environ.items() if name not in THREADS}
    return own | git | {"PATH": path} | variables


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def dvc(folder: Path, *arguments: str, **variables: str) -> str:
    done = run(folder, sys.executable, "-m", "dvc", *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_params(folder: Path) -> None:
    params_files.write_params(folder / "params.yaml", **TINY)


def checkout(folder: Path) -> Path:
    """What a fresh clone holds, with tiny parameters, committed."""
    for name in COPIED:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    write_params(folder)
    run(folder, "git", "init", "--quiet")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    for command in [("add", "--all"), ("commit", "--quiet", "--message", "state")]:
        done = run(folder, "git", *command)
        assert done.returncode == 0, done.stderr


def read_yaml(source: Path | str) -> dict:
    text = source if isinstance(source, str) else source.read_text()
    return parse_yaml(text, "YAML")


def committed_lock(folder: Path) -> str:
    return run(folder, "git", "show", "HEAD:dvc.lock").stdout


def change(folder: Path, old: str, new: str) -> None:
    """Edit params.yaml as a user does."""
    path = folder / "params.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def copy_of(built: Path, target: Path) -> Path:
    """The finished repository again, with its cache and its git history, to be changed at will."""
    shutil.copytree(built, target, symlinks=True)
    return target

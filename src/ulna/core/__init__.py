"""Parameters, paths, files, stages, prediction tables; the error for bad input."""

import importlib.metadata
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path


class InputError(ValueError):
    """Bad input: a file, a parameter or a data set that breaks a stated rule.

    The message is one sentence (or a short list) that names the file and line or the key, what was
    expected, what came, and what to do. Stages print it without a traceback and exit with code 1.
    """


def first_ten(items: Sequence[str], separator: str = "\n") -> str:
    """Join the first ten items of a message, and say how many more there are."""
    more = f"{separator.strip(',')}and {len(items) - 10:,} more" if len(items) > 10 else ""
    return separator.join(items[:10]) + more


def cores() -> int:
    """Count the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_experiment_copy() -> bool:
    """Whether DVC runs this in a copy of what git tracks: `dvc exp run --temp`, or its queue."""
    parts = Path.cwd().parts
    return (".dvc", "tmp", "exps") in zip(parts, parts[1:], parts[2:], strict=False)


def version() -> str:
    """The version of ulna: of the source in its repository, else of the installed package."""
    pyproject = Path(__file__).parents[3] / "pyproject.toml"
    if (pyproject.parent / "src/ulna").is_dir():
        return str(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"])
    return importlib.metadata.version("ulna")


def find_root() -> Path:
    """The repository around the working directory, as DVC finds it; outside one, that directory."""
    # From a folder in it git and DVC name files in another way, and params.yaml is not found.
    here = Path.cwd()
    return next((path for path in (here, *here.parents) if (path / ".dvc").is_dir()), here)

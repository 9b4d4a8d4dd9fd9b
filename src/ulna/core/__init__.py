"""Parameters, paths, files, stages, prediction tables; the error for bad input."""

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


def in_experiment_copy() -> bool:
    """Whether DVC runs this in a copy of what git tracks: `dvc exp run --temp`, or its queue."""
    parts = Path.cwd().parts
    return (".dvc", "tmp", "exps") in zip(parts, parts[1:], parts[2:], strict=False)

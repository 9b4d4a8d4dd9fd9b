"""Write files whole or not at all, and hash them; undefined numbers become null or nothing."""

import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from ulna.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, and rename it to `path` once the block ends without an error.

    A reader sees the old file or the new one, never a part; after an error the old one stays and
    the partial one is removed.

    Args:
        path: The file to replace; missing folders are made.

    Yields:
        A path in the same folder with the same ending.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill, and rename it to `folder` once the block ends without an error.

    After an error the old folder stays. What a killed run left behind goes: it may be gigabytes.

    Args:
        folder: The folder to replace; folders above it are made.

    Yields:
        A folder beside it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".partial-*-{folder.name}"):
        shutil.rmtree(leftover)
    partial = folder.with_name(f".partial-{os.getpid()}-{folder.name}")
    partial.mkdir()
    try:
        yield partial
        for path in partial.iterdir():
            if path.is_file():
                with path.open("rb") as written:
                    os.fsync(written.fileno())
        if folder.exists():
            # A folder cannot be renamed over another that holds files.
            replaced = folder.with_name(f".partial-{os.getpid()}-replaced-{folder.name}")
            folder.rename(replaced)
            partial.rename(folder)
            shutil.rmtree(replaced)
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as UTF-8 CSV with a header line, Unix line ends and no index."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write nested mappings as JSON, keys in the order given, NaN and infinities as null."""
    with replacing(path) as partial:
        text = json.dumps(_null_for_undefined(values), indent=2, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file that an earlier stage wrote; a missing one is an InputError."""
    return pd.read_csv(io.StringIO(_read(path)))


def read_json(path: Path) -> Any:
    """Read a JSON file that an earlier stage wrote; a missing one is an InputError."""
    return json.loads(_read(path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run `dvc repro`") from None


def sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _null_for_undefined(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _null_for_undefined(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_null_for_undefined(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

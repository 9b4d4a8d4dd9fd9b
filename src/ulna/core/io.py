"""Write files whole or not at all, read and hash them; numbers are rounded, undefined ones null."""

import configparser
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ulna.core import InputError

if TYPE_CHECKING:
    import pandas as pd

# By the error of a disk that cannot be written.
ADVICE = {
    errno.ENOSPC: "free some, then run the command again",
    errno.EDQUOT: "free some of your quota, then run the command again",
    errno.EFBIG: "see `ulimit -f` and what the file system allows",
    errno.EIO: "the disk may be failing; once it is repaired, run the command again",
    errno.EROFS: "mount it for writing, or work in another folder",
    errno.EACCES: "give yourself the right to write there",
}


# Of numbers in metrics and tables. BLAS, vector instructions and the C library round the last bits
# otherwise on another processor: up to 7e-15 of a slope of calibration, 4e-16 of most numbers, were
# seen with NumPy's and OpenBLAS' code for each. With 10 digits a number of these has other bytes in
# one case of 10,000; no one reads more.
DIGITS = 10


class WriteError(OSError):
    """A file that was not written: the message names it, the fault and what to do."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path to write to, and rename it to `path` once the block ends without an error.

    A reader, also one after a power cut, sees the old file or the new one, never a part. After an
    error the old one stays. Missing folders are made; leftovers of killed runs are removed.

    Raises:
        WriteError: It cannot be written.
    """
    partial = _beside(path)
    with name_write_faults(path, partial):
        if path.exists() and not (path.is_file() or path.is_dir()):
            # Renaming would put a file in its place: as root, /dev/null is lost to all.
            raise OSError(errno.EINVAL, "it is a device or a pipe; name a file", str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        try:
            yield partial
            _sync(partial)
            partial.replace(path)
            _sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_directory(folder: Path) -> Iterator[Path]:
    """Yield an empty folder, and rename it to `folder` once the block ends without an error.

    A reader sees the old folder, for a moment none, or the new one; after an error the old one.
    Folders above are made; leftovers of killed runs, which may be gigabytes, are removed.

    Raises:
        WriteError: It cannot be written.
    """
    partial, replaced = _beside(folder), _beside(folder, "replaced-")
    with name_write_faults(folder, partial):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        partial.mkdir()
        try:
            yield partial
            _sync_tree(partial)
            # A folder cannot be renamed over another that holds files.
            if folder.exists():
                folder.rename(replaced)
            partial.rename(folder)
            _sync(folder.parent)
        finally:
            if replaced.exists() and not folder.exists():
                replaced.rename(folder)
            for rest in (partial, replaced):
                shutil.rmtree(rest, ignore_errors=True)


def _beside(path: Path, what: str = "") -> Path:
    """A name that git and DVC ignore."""
    return path.with_name(f".partial-{os.getpid()}-{what}{path.name}")


def _remove_leftovers(path: Path) -> None:
    leftovers = re.compile(rf"\.partial-\d+-(replaced-)?{re.escape(path.name)}")
    for leftover in path.parent.iterdir():
        if not leftovers.fullmatch(leftover.name):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for path, _, names in os.walk(folder):
        for name in names:
            _sync(Path(path) / name)
        _sync(Path(path))


@contextmanager
def name_write_faults(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Turn a fault of the disk into a message that names the file and says what to do.

    partial is the name that the file has until it is whole, if it has another.

    Raises:
        WriteError: In place of an OSError.
    """
    partial = partial or path
    try:
        yield
    except WriteError as error:
        # Of a file inside a folder, which keeps only its final name.
        raise WriteError(str(error).replace(str(partial), str(path))) from error
    except OSError as error:
        fault = error.strerror or str(error).replace(str(partial), str(path))
        name = str(error.filename or path).replace(str(partial), str(path))
        if not name.startswith(str(path)):
            # A file that is read: its name belongs to the fault.
            name, fault = str(path), f"{fault}: {name}"
        advice = ADVICE.get(error.errno or 0)
        message = f"{name} was not written: {fault}" + (f"; {advice}" if advice else "")
        raise WriteError(message) from error


def require_free_space(folder: Path, bytes_needed: int, what: str, output: bool = True) -> None:
    """Refuse (InputError) work whose files would fill the disk, before it begins.

    The folder need not exist yet; `what` names the files, such as "the cache of 800 images". An
    output is copied by DVC into its cache, which counts too unless the configuration of this
    checkout puts that elsewhere or lets it link.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    copied = output and _dvc_copies()
    needed = bytes_needed * (2 if copied else 1)
    if free < needed:
        raise InputError(
            f"{what} needs {_megabytes(needed)} in {folder}{' (with the copy of DVC)' * copied}, "
            f"but {_megabytes(free)} are free on that disk: free {_megabytes(needed - free)} more, "
            "or work on a larger one"
        )


def _megabytes(number: int) -> str:
    return f"{max(1, math.ceil(number / 10**6)):,} MB"


def _dvc_copies() -> bool:
    config = configparser.ConfigParser()
    config.read([".dvc/config", ".dvc/config.local"], encoding="utf-8")
    return not {"dir", "type"} & set(config["cache"] if "cache" in config else ())


def write_csv(path: Path, table: "pd.DataFrame", exact: bool = False) -> None:
    """Write a table as UTF-8 CSV with a header line, Unix line ends and no index.

    Floats are rounded to `DIGITS` significant digits, unless they are to be exact.
    """
    floats = [] if exact else list(table.select_dtypes("float"))
    rounded = table.assign(**{name: table[name].map(round_float) for name in floats})
    with atomic_write(path) as partial:
        rounded.to_csv(partial, index=False, lineterminator="\n")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write nested mappings as JSON, keys in the order given, NaN and infinities as null.

    Floats are rounded to `DIGITS` significant digits.
    """
    text = json.dumps(storable(values), indent=2, allow_nan=False)
    write_text(path, text + "\n")


def round_float(value: float) -> float:
    """Round to `DIGITS` significant digits.

    Example:
        >>> round_float(2 / 3), round_float(1e-20 / 3)
        (0.6666666667, 3.333333333e-21)
    """
    return float(f"{value:.{DIGITS}g}")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_table(path: Path, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Read a CSV file of an earlier stage; if missing or of other columns, an InputError."""
    import pandas as pd  # 0.8 s, which `ulna predict` has no need of

    table = pd.read_csv(io.StringIO(_read(path)))
    if columns is not None and list(table.columns) != list(columns):
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}, expected {', '.join(columns)}: "
            "run `dvc repro`"
        )
    return table


def read_json(path: Path) -> Any:
    """Read a JSON file that an earlier stage wrote; a missing one is an InputError."""
    return json.loads(_read(path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run `dvc repro`") from None


def sha256(path: Path) -> str:
    """Hash a file with SHA-256: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def storable(value: Any) -> Any:
    """Values as `write_json` stores them: floats rounded, undefined ones None, tuples as lists."""
    if isinstance(value, Mapping):
        return {key: storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    if isinstance(value, float):
        return round_float(value) if math.isfinite(value) else None
    return value

"""The files of a bundle, from its folder or zip, within bounds, before any of them is used."""

import errno
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from ulna.core import InputError

RECORD = "bundle.json"
CARD = "MODEL_CARD.md"

# DenseNet169 with its maps takes 103 MB. A zip within these bounds cannot fill the memory; weights
# hardly deflate, so one that grows more than tenfold holds something else.
MAX_RECORD_BYTES = 2_000_000
MAX_BYTES = 2_000_000_000
MAX_GROWTH = 10
MAX_FILES = 64

REMAKE = "copy the bundle again, or make it anew with `dvc repro`"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
ENCRYPTED = 1  # bit of the flags of an entry of a zip


def read_files(path: Path) -> dict[str, bytes]:
    """Read the files of a folder or zip that holds `bundle.json`: name -> bytes.

    Raises:
        InputError: It is not there, is no folder or zip of plain files with that one, is damaged,
            or holds more than a bundle can.
    """
    if path.name == RECORD and path.is_file():
        raise InputError(f"{path} is one file of a bundle: name its folder, {path.parent}")
    try:
        if path.is_file():
            return _read_zip(path)
        if path.is_dir():
            return _read_folder(path)
    except OSError as error:
        raise InputError(
            f"{error.filename or path} of the bundle cannot be read, {error.strerror}: give "
            "yourself the right to, or copy it again"
        ) from None
    fault = "is neither a folder nor a file" if path.exists() else "does not exist"
    raise InputError(f"{path} {fault}: {_how_to_get(path)}")


def _how_to_get(path: Path) -> str:
    name = path.name if path.parent.name == "bundles" else "cnn"
    stage = "bundle_ensemble" if name == "ensemble" else f"bundle@{name}"
    return (
        f"make a bundle with `dvc repro {stage}`, fetch it with `dvc pull {stage}`, or name another"
    )


def _read_folder(folder: Path) -> dict[str, bytes]:
    # Hidden files are those of the system that shows the folder, such as .DS_Store.
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    names = [path.name for path in paths]
    if RECORD not in names:
        raise _no_bundle(folder, names)
    _require_bounds({path.name: path.stat().st_size for path in paths}, folder)
    for path in paths:
        if not path.is_file():
            raise InputError(f"{folder} is no bundle: {path.name} in it is no file: remove it")
    return {path.name: path.read_bytes() for path in paths}


def _read_zip(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            _check_entries(entries, path)
            if RECORD not in names:
                raise _no_bundle(path, names)
            sizes = {entry.filename: entry.file_size for entry in entries}
            _require_bounds(sizes, path, MAX_GROWTH * path.stat().st_size)
            # read() stops at file_size, which is within the bounds, and compares the checksum.
            return {name: archive.read(name) for name in names}
    except InputError:
        raise
    # By 12,000 damaged zips; OSError EINVAL is a seek to before the beginning.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        ValueError,
        OSError,
    ) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise InputError(
            f"{path} is no zip, is damaged or cut off: copy it again, or make it with `ulna export`"
        ) from None


def _check_entries(entries: list[zipfile.ZipInfo], path: Path) -> None:
    fix = "make it with `ulna export`"
    for entry in entries:
        if entry.filename.endswith(f"/{RECORD}") and "__MACOSX" not in entry.filename:
            folder = entry.filename.removesuffix(f"/{RECORD}")
            raise InputError(
                f"{path} holds the bundle in a folder, {folder!r}, not at its top: unpack it and "
                "name that folder"
            )
    for entry in entries:
        # Bits of Unix, 0 where another system made the zip.
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if not PLAIN_NAME.fullmatch(entry.filename) or kind not in (0, stat.S_IFREG):
            raise InputError(
                f"{path} is no bundle: {entry.filename!r} in it is no plain file at its top, {fix}"
            )
        if entry.flag_bits & ENCRYPTED:
            raise InputError(f"{path} is encrypted: {fix}")
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise InputError(f"{path} is no bundle: it holds a name twice, {fix}")


def _require_bounds(sizes: Mapping[str, int], path: Path, most: int = MAX_BYTES) -> None:
    total = sum(sizes.values())
    if len(sizes) > MAX_FILES:
        raise InputError(f"{path} is no bundle: it holds {len(sizes):,} files, {MAX_FILES} at most")
    if sizes[RECORD] > MAX_RECORD_BYTES or total > min(most, MAX_BYTES):
        raise InputError(
            f"{path} is no bundle: it holds {total:,} bytes ({RECORD} {sizes[RECORD]:,}), more "
            "than one needs: make it anew with `dvc repro`"
        )


def _no_bundle(path: Path, names: list[str]) -> InputError:
    zips = [name for name in names if name.endswith(".zip")]
    if zips:
        return InputError(f"{path} holds no {RECORD}, but {zips[0]}: name that file")
    inside = [] if path.is_file() else sorted(path.glob(f"*/{RECORD}"))
    if inside:
        return InputError(f"{path} holds no {RECORD}, but {inside[0].parent.name}/ does: name that")
    return InputError(f"{path} is no bundle, it holds no {RECORD}: {_how_to_get(path)}")

"""A folder or a .zip laid out like MURA, read in place and never unpacked."""

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from ulna.core import InputError, in_experiment_copy

CSV_FILES = (
    "train_image_paths.csv",
    "train_labeled_studies.csv",
    "valid_image_paths.csv",
    "valid_labeled_studies.csv",
)
OFFICIAL_SPLITS = ("train", "valid")
SPLIT_FOLDERS = ("train/", "valid/")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")

# MURA's largest file is a CSV file of about 3 MB. No more of a .zip entry is unpacked than the size
# that it states, so this bounds the memory that a hostile one can take.
MAX_FILE_BYTES = 128 * 2**20

PLAIN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

MURA_PAGE = "https://stanfordmlgroup.github.io/competitions/mura/"

# train/XR_WRIST/patient00001/study1_positive/image1.png has four folders. The bound also ends a
# walk through folders that link to each other.
MAX_FOLDERS = 4


@dataclass(frozen=True)
class Root:
    """A readable data set."""

    path: Path  # the folder or .zip that `data.root` names
    folder: str  # prefix of `train_image_paths.csv` inside it: "" or such as "MURA-v1.1/"
    archive: zipfile.ZipFile | None  # open; None for a folder


def open_root(path: Path) -> Root:
    """Find the data set in a folder (at its top or one level down) or a .zip (up to two levels).

    A .zip stays open as long as the record lives.

    Raises:
        InputError: There is no such folder or .zip, it holds no data set or several, it is MURA
            v1.0, or the .zip is damaged or has entries that are links or lead outside.
    """
    for name in (path.name, path.resolve().name):
        reject_mura_v1_0(name, f"data.root is {path}, which")
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        fault = "is empty" if path.exists() else "does not exist"
        raise InputError(f"data.root is {path}, which {fault}: {_where_to_get(path)}")
    archive = None if path.is_dir() else _open_zip(path)
    tables_of: dict[str, set[str]] = {}
    for table in _list_tables(path, archive):
        start, slash, name = table.rpartition("/")
        tables_of.setdefault(start + slash, set()).add(name)
    if len(tables_of) > 1:
        folders = ", ".join(folder or "its top" for folder in sorted(tables_of))
        raise InputError(
            f"data.root is {path}, which holds several data sets ({folders}): name one"
        )
    for folder, tables in tables_of.items():
        reject_mura_v1_0(folder, f"data.root is {path}, whose {folder}")
        if len(tables) == len(CSV_FILES):
            return Root(path, folder, archive)
    raise InputError(
        f"data.root is {path}, which is not laid out like MURA v1.1: "
        f"{', '.join(CSV_FILES)} must lie together, at its top or in a folder such as MURA-v1.1/"
    )


def check_root(path: Path) -> str:
    """Open a data set, unless DVC makes or fetches it; say in a few words what it is.

    Raises:
        InputError: It is refused by `open_root`, and neither a stage nor a .dvc file names it.
    """
    try:
        root = open_root(path)
    except InputError:
        if not _known_to_dvc(path):
            raise
        return "made or fetched by DVC"
    return "a folder" if root.archive is None else "a .zip"


def _known_to_dvc(path: Path) -> bool:
    # Half a second to import, where the answer is most often bad news.
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            outs = [out.fs_path for out in repo.index.outs]
    except DvcException:
        return False
    return any(path.absolute().is_relative_to(out) for out in outs)


def _where_to_get(path: Path) -> str:
    """What to do about a missing data set."""
    names = {path.name.lower(), f"{path.name}.zip".lower(), path.name.lower().removesuffix(".zip")}
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    for other in sorted(beside):
        if other.name.lower() in names and other.name != path.name:
            return f"did you mean {other}? Then set data.root to it"
    if in_experiment_copy():
        return (
            "an experiment in a copy (--temp, --queue) has only what git or DVC tracks; `dvc add` "
            "the data set, or set data.root to its absolute path"
        )
    return (
        "put a data set laid out like MURA v1.1 there, or set data.root to its folder or .zip; "
        f"Stanford gives MURA out at {MURA_PAGE}, see docs/data.md"
    )


def _list_tables(path: Path, archive: zipfile.ZipFile | None) -> list[str]:
    """Paths of the CSV files in a data set, down to the depth that `open_root` looks into."""
    if archive is None:
        files = (file for pattern in ("*.csv", "*/*.csv") for file in path.glob(pattern))
        names = [file.relative_to(path).as_posix() for file in files]
    else:
        names = [name for name in archive.namelist() if name.count("/") <= 2]
    return [n for n in names if n.rpartition("/")[2] in CSV_FILES and not is_companion(n)]


def display_path(root: Root, name: str) -> str:
    """Path of a file for a message, such as `data/MURA.zip/MURA-v1.1/a.csv`."""
    return f"{root.path}/{root.folder}{name}"


def image_reader(path: Path) -> Callable[[str], bytes]:
    """Bind `read_file` to the data set that `data.root` names; a .zip is opened once.

    Threads may share the function; it cannot be sent to another process: each makes its own.
    """
    return partial(read_file, open_root(path))


def read_file(root: Root, name: str) -> bytes:
    """Read a file, such as `train_image_paths.csv` or an image in images.csv.

    Raises:
        InputError: The file is missing, damaged, larger than `MAX_FILE_BYTES`, or outside.
    """
    where = display_path(root, name)
    if leads_outside(name):
        raise InputError(f"{where} leads outside the data set: use paths as in images.csv")
    try:
        if root.archive is None:
            file = root.path / root.folder / name
            _refuse_huge(file.stat().st_size, where)
            return file.read_bytes()
        entry = root.archive.getinfo(root.folder + name)
        _refuse_huge(entry.file_size, where)
        with root.archive.open(entry) as opened:
            # Without a size, read() unpacks all that there is before it cuts to the stated size.
            return opened.read(entry.file_size)
    except (FileNotFoundError, NotADirectoryError, KeyError):
        raise InputError(f"{where} is missing: restore it from the download") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(
            f"{where} cannot be read ({error}): restore it from the download"
        ) from None


def has_file(root: Root, name: str) -> bool:
    """Whether a data set has a file of this path."""
    if root.archive is None:
        return (root.path / root.folder / name).is_file()
    return root.folder + name in root.archive.NameToInfo


def list_images(root: Root) -> set[str]:
    """List the image files below train/ and valid/, listed in a CSV file or not.

    A walk of 40,005 images in 13,000 folders takes 0.4 s. Companions that macOS adds are left out.
    """
    if root.archive is None:
        top = root.path / root.folder
        folders = (folder for folder in SPLIT_FOLDERS if (top / folder).is_dir())
        walks = (_walk(top / folder, folder, MAX_FOLDERS - 1) for folder in folders)
        names: Iterable[str] = chain.from_iterable(walks)
    else:
        inside = (name.removeprefix(root.folder) for name in root.archive.namelist())
        names = (name for name in inside if name.startswith(SPLIT_FOLDERS))
    return {name for name in names if _is_image(name)}


def is_companion(name: str) -> bool:
    """Whether macOS put this file beside the true one (`__MACOSX/...`, `._image1.png`)."""
    return "__MACOSX/" in name or name.rpartition("/")[2].startswith("._")


def leads_outside(name: str) -> bool:
    """Whether a path is other than a plain relative one with forward slashes.

    Example:
        >>> [leads_outside(name) for name in ("train/a.png", "../a.png", "/a.png", "C:/a.png")]
        [False, True, True, True]
    """
    return (
        name.startswith("/")
        or "\\" in name
        or re.match("[A-Za-z]:", name) is not None
        or ".." in name.split("/")
    )


def reject_mura_v1_0(name: str, subject: str) -> None:
    """Stop if a path names MURA v1.0; the message begins with `subject`."""
    if "mura-v1.0" in name.lower():
        raise InputError(
            f"{subject} is MURA v1.0: it was withdrawn because it carried patient data; "
            "delete it and use v1.1"
        )


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(
            f"data.root is {path}, which is neither a folder nor a valid .zip ({error}): "
            "download it again, or name the unpacked folder"
        ) from None
    fault = _first_fault(archive.infolist())
    if fault:
        archive.close()
        raise InputError(f"data.root is {path}, which is refused: {fault}")
    return archive


def _first_fault(entries: Iterable[zipfile.ZipInfo]) -> str:
    seen = set()
    for entry in entries:
        # zipfile cuts a name at a null byte; the original shows it.
        name = entry.orig_filename
        if leads_outside(name) or "\0" in name:
            return f"entry {name!r} leads outside the archive"
        if stat.S_ISLNK(entry.external_attr >> 16):
            return f"entry {name!r} is a link"
        # The other methods unpack without a bound on memory.
        if entry.flag_bits & 1 or entry.compress_type not in PLAIN_METHODS:
            return f"entry {name!r} is encrypted or oddly compressed: name the unpacked folder"
        if name in seen:
            return f"entry {name!r} occurs twice"
        seen.add(name)
    return ""


def _refuse_huge(size: int, where: str) -> None:
    if size > MAX_FILE_BYTES:
        raise InputError(
            f"{where} has {size} bytes, expected at most {MAX_FILE_BYTES}: replace the file"
        )


def _walk(folder: str | Path, start: str, deeper: int) -> Iterable[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                yield start + entry.name
            elif deeper:
                yield from _walk(entry.path, f"{start}{entry.name}/", deeper - 1)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_companion(name)

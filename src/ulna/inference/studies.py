"""From the paths that somebody gives to studies: which files belong together, and of what part.

A folder that holds images is one study; folders below it are others. A file given by itself is a
study, but files of one study folder of MURA's layout are one. Of a path only the body part and the
patient are read: `study1_positive` states a label, which is never looked at.
"""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ulna.core import InputError
from ulna.data.dicom import is_dicom
from ulna.data.images import JPEG_START, PNG_START
from ulna.inference.files import explain, read_regular

BODY_PART = re.compile(r"[A-Z][A-Z0-9]*")
# .../XR_WRIST/patient00011/study1_negative
MURA_STUDY = re.compile(r"/XR_([A-Z][A-Z0-9]*)/(patient[0-9]+)/study[0-9]+(?:_[a-z]+)?$")

# Taken for images by their name, so that those which cannot be decoded are refused, and a folder of
# TIFF files does not look empty. A file of any other name is an image if it begins like one.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".dic", ".ima", ".tif", ".tiff",
                  ".bmp", ".gif", ".webp", ".jp2", ".j2k", ".heic")  # fmt: skip
DICOM_INDEX = "DICOMDIR"
HEAD_BYTES = 132  # of DICOM, the longest
GLOB_SIGNS = re.compile(r"[*?\[]")
# More folders below one another are a loop of mounts; links are followed to each folder once.
MAX_DEPTH = 64


@dataclass(frozen=True)
class Refused:
    """A file, or folder, that is not used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class ViewGroup:
    """The files of one study, as they were named."""

    study: str  # the folder, or the file that was given by itself
    body_part: str | None  # such as WRIST, of MURA's layout
    patient: str | None  # such as patient00011, of MURA's layout
    files: tuple[Path, ...]
    faults: tuple[Refused, ...] = ()  # what could not be looked into


def parse_body_part(given: str | None) -> str | None:
    """The body part that somebody names, in MURA's spelling; None for None.

    Raises:
        InputError: It is no word.

    Example:
        >>> parse_body_part("xr_wrist")
        'WRIST'
    """
    if given is None:
        return None
    part = given.upper().removeprefix("XR_")
    if not BODY_PART.fullmatch(part):
        raise InputError(f"{given!r} names no body part: expected a word, such as WRIST")
    return part


def group_paths(
    paths: Iterable[Path | str], *, one_study: bool = False, patterns: bool = True
) -> Iterator[ViewGroup]:
    """Group files and folders by study.

    Args:
        paths: Files, folders, and patterns such as `*.png` where no file has that name. What is
            named twice counts once.
        one_study: Make one study of all of them.
        patterns: Whether there may be patterns; not in a list of files' names.

    Returns:
        Studies in the order of `paths`, those of a folder sorted by name. Folders are read as they
        are reached, one at a time; one without images is a group without files and with a fault.

    Raises:
        InputError: No path is given, or nothing matches a pattern; before the first study.
    """
    first: dict[str, str] = {}
    for path in expand(paths) if patterns else [os.fspath(path) for path in paths]:
        first.setdefault(os.path.abspath(path), path)
    given = list(first.values())
    if not given:
        raise InputError("no file or folder is given: name at least one")
    return _join(given[0], _groups(given)) if one_study else _groups(given)


def expand(paths: Iterable[Path | str]) -> list[str]:
    """Put what matches in place of patterns.

    Raises:
        InputError: A path is empty, or nothing matches.
    """
    expanded: list[str] = []
    for path in (os.fspath(path) for path in paths):
        if not path:
            raise InputError("one of the paths is empty: name a file or folder")
        if os.path.lexists(path) or not GLOB_SIGNS.search(path):
            expanded.append(path)
            continue
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise InputError(f"no file or folder matches {path}: correct the pattern or the folder")
        expanded += matches
    return expanded


def _groups(given: Sequence[str]) -> Iterator[ViewGroup]:
    folders = {path for path in given if os.path.isdir(path)}
    studies: dict[str, list[str]] = {}
    for path in given:
        if path in folders:
            studies.setdefault(path, [])
            continue
        folder = os.path.dirname(path) or os.curdir
        studies.setdefault(folder if MURA_STUDY.search(_posix(folder)) else path, []).append(path)
    visited: set[tuple[int, int]] = set()
    for study, files in studies.items():
        if study in folders:
            yield from _walk(study, visited)
        else:
            yield _group(study, os.path.dirname(files[0]), files)


def _group(study: str, folder: str, files: Sequence[str]) -> ViewGroup:
    named = MURA_STUDY.search(_posix(folder))
    part, patient = named.groups() if named else (None, None)
    return ViewGroup(study, part, patient, tuple(map(Path, files)))


def _posix(folder: str) -> str:
    # Absolute: somebody may stand in the study's folder and give the name of a file.
    return Path(os.path.abspath(folder)).as_posix()


def _walk(top: str, visited: set[tuple[int, int]]) -> Iterator[ViewGroup]:
    """The studies of a folder and of those below it; each folder is looked into once."""
    pending, empty = [(top, 0)], True
    while pending:
        folder, depth = pending.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in visited:
                empty = empty and folder != top
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield ViewGroup(folder, None, None, (), (Refused(folder, explain(error)),))
            empty = False
            continue
        shown = [entry for entry in entries if entry.name[0] != "." and entry.name != "__MACOSX"]
        below = [entry.path for entry in shown if _is_folder(entry)]
        files = [entry.path for entry in shown if not _is_folder(entry) and _is_image(entry.path)]
        if files:
            yield _group(str(Path(folder)), folder, files)
            empty = False
        if depth < MAX_DEPTH:
            pending += [(path, depth + 1) for path in reversed(below)]
    if empty:
        fault = Refused(top, "no PNG, JPEG or DICOM file in it")
        yield ViewGroup(top, None, None, (), (fault,))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_image(path: str) -> bool:
    name = os.path.basename(path)
    if name.lower().endswith(IMAGE_SUFFIXES):
        return True
    try:
        start = read_regular(path, HEAD_BYTES, whole=False)
    except InputError:
        return False
    return name != DICOM_INDEX and (start.startswith((PNG_START, JPEG_START)) or is_dicom(start))


def _join(study: str, groups: Iterator[ViewGroup]) -> Iterator[ViewGroup]:
    """One study of several; it has a body part and a patient where all agree."""
    joined = list(groups)
    parts = {group.body_part for group in joined}
    patients = {group.patient for group in joined}
    yield ViewGroup(
        study,
        parts.pop() if len(parts) == 1 else None,
        patients.pop() if len(patients) == 1 else None,
        tuple(file for group in joined for file in group.files),
        tuple(fault for group in joined for fault in group.faults),
    )

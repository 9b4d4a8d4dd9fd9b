"""The request of `ulna predict`: what to read, what to write, checked before any work."""

import argparse
import codecs
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ulna.core import InputError
from ulna.inference.studies import expand

EXAMPLES = """
examples:
  ulna predict wrist.png                          one view
  ulna predict study/ --body-part WRIST           a folder: the views of one study
  ulna predict a.dcm b.dcm --one-study            files of one study
  ulna predict MURA-v1.1/valid --csv table.csv    every study of a tree, one row per view
  find . -name '*.png' | ulna predict - --json -  a list of paths in, JSON lines out
  ulna predict study/ --report page.html          a page with pictures, to open in a browser

A run that writes files can be broken off: the same command goes on from there.

exit codes:
  0  every file was answered
  1  bad call: nothing was read
  2  some files were refused; all others were answered
"""


@dataclass(frozen=True)
class Targets:
    """Where the outputs go; None for an output that is not wanted."""

    json: Path | None
    csv: Path | None
    report: Path | None
    cam: Path | None
    json_lines: bool  # print JSON lines
    text: bool  # print text
    quiet: bool  # no progress either

    @property
    def paths(self) -> tuple[Path, ...]:
        """All that is written."""
        return tuple(filter(None, (self.json, self.csv, self.report, self.cam)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ulna predict`."""
    parser.epilog = EXAMPLES
    for name, value, about in (
        ("--bundle", "DIR|ZIP", "the network: a bundle, or the name of one in bundles/; by default "
         "the first of the repository around you, else the one that comes with ulna"),
        ("--body-part", "PART", "such as WRIST, of all studies; by default what the path or the "
         "DICOM header says"),
        ("--json", "FILE", "JSON lines, one per study; - prints them and nothing else"),
        ("--csv", "FILE", "a prediction table, one row per view"),
        ("--cam", "DIR", "a PNG per view, with its activation map"),
        ("--report", "FILE", "one HTML page with all of it"),
    ):  # fmt: skip
        parser.add_argument(name, metavar=value, help=about)
    threads = "the most threads to use; by default one per core"
    parser.add_argument("--threads", metavar="N", type=int, help=threads)
    parser.add_argument("--one-study", action="store_true", help="all files are views of one study")
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="file, folder or quoted pattern; - reads a list of them from standard input, one per "
        "line or ended by NUL",
    )


def parse_targets(arguments: argparse.Namespace) -> Targets:
    """The outputs that are asked for.

    Raises:
        InputError: One cannot be written, or two are the same.
    """
    json_lines = arguments.json == "-"
    targets = Targets(
        json=None if json_lines else _parse_file("--json", arguments.json),
        csv=_parse_file("--csv", arguments.csv),
        report=_parse_file("--report", arguments.report),
        cam=_parse_folder("--cam", arguments.cam),
        json_lines=json_lines,
        text=not json_lines and not arguments.quiet,
        quiet=arguments.quiet,
    )
    if "-" in (arguments.csv, arguments.report, arguments.cam):
        raise InputError("only --json can be - for printing: name a file or folder")
    if len({path.absolute() for path in targets.paths}) < len(targets.paths):
        raise InputError("two outputs have the same name: give each its own")
    return targets


def _parse_file(option: str, given: str | None) -> Path | None:
    if given is None:
        return None
    if not given:
        raise InputError(f"{option} is empty: name a file to write")
    # These functions of os.path take what cannot be looked at for missing; writing then says why.
    if os.path.exists(given) and not os.path.isfile(given):
        # A folder; or a device, which a file of that name would replace.
        raise InputError(f"{given} is no file: name a file to write")
    # Through a link, as a shell writes: /dev/stdout would be replaced by a file.
    return Path(os.path.realpath(given) if os.path.islink(given) else given)


def _parse_folder(option: str, given: str | None) -> Path | None:
    if given is None:
        return None
    if not given or (os.path.exists(given) and not os.path.isdir(given)):
        fault = f"{given} is a file" if given else "is empty"
        raise InputError(f"{option} {fault}: name a folder")
    path = Path(given)
    # Of . and .. there is no name to put the journal's beside.
    return Path(os.path.abspath(path)) if path.name in ("", "..") else path


def refuse_overlays_among(paths: Iterable[str], cam: Path | None) -> None:
    """Refuse (InputError) a folder for overlays inside one that is read: they would be read too."""
    if cam is None:
        return
    for path in map(Path, paths):
        if path.is_dir() and cam.resolve().is_relative_to(path.resolve()):
            raise InputError(
                f"--cam {cam} lies in {path}, which is read: its pictures would be taken for "
                "radiographs; name a folder elsewhere"
            )


def list_paths(given: Iterable[str]) -> list[str]:
    """The paths of the call, with those that standard input lists in place of -.

    Patterns are replaced by what matches; what is listed are names, whatever signs they hold.

    Raises:
        InputError: Nothing matches a pattern, or nothing is listed.
    """
    paths: list[str] = []
    for path in given:
        if path != "-":
            paths += expand([path])
            continue
        # Windows begins a text with such a mark.
        listed = sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8)
        # Not splitlines(): names may hold other ends of lines.
        lines = listed.split(b"\0" if b"\0" in listed else b"\n")
        paths += [os.fsdecode(line) for line in (each.rstrip(b"\r") for each in lines) if line]
    if not paths:
        raise InputError("standard input lists no path: give one per line")
    return paths

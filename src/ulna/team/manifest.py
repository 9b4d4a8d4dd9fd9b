"""manifest.sha256: the SHA-256 of what dvc.lock and the .dvc files name by MD5.

In git, so that whoever has the repository can tell bytes that were exchanged from those that were
made: MD5, which DVC goes by, no longer stands against intent. `sha256sum --check manifest.sha256`
reads it without ulna.

Names of files in a data set may tell of patients, so they stay out of git: what a .dvc file tracks,
and folders of many files, have one digest, that of the list which
`find . -type f | LC_ALL=C sort | xargs sha256sum` prints inside the folder.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ulna.errors import InputError
from ulna.files import write_text
from ulna.team.tracked import Output

MANIFEST = Path("manifest.sha256")
HEAD = (
    "# SHA-256 of what dvc.lock and the .dvc files name; ./ulna share writes it, ./ulna verify\n"
    "# reads it. Without ulna: sha256sum --check --ignore-missing manifest.sha256\n"
)
MOST_LISTED = 50

OF_OUTPUT = re.compile(r"# md5 ([0-9a-f]{32}(?:\.dir)?)  (.+)")
OF_LIST = re.compile(r"# sha256 of the list of its (\d+) files ([0-9a-f]{64})")
OF_FILE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True)
class Record:
    """What the manifest says of an output.

    Attributes:
        md5: Of the output that was hashed: another one in dvc.lock means that this is older.
        files: Path -> SHA-256; empty if only their list has one.
        of_list: The SHA-256 of the list; empty if files have their own.
        count: How many files there are.
    """

    md5: str
    files: Mapping[str, str]
    of_list: str
    count: int


def record_of(output: Output, digests: Mapping[str, str]) -> Record:
    """Make the record of an output.

    Args:
        output: What was hashed.
        digests: Path -> SHA-256 of each of its files.
    """
    tracked_by_hand = output.stage.endswith(".dvc")
    if output.is_folder and (tracked_by_hand or len(digests) > MOST_LISTED):
        return Record(output.md5, {}, digest_of_list(output.path, digests), len(digests))
    return Record(output.md5, dict(digests), "", len(digests))


def digest_of_list(folder: str, digests: Mapping[str, str]) -> str:
    """SHA-256 of what sha256sum prints for the files of a folder, in the order of their bytes."""
    names = sorted(digests, key=lambda path: path.removeprefix(f"{folder}/").encode())
    text = "".join(f"{digests[path]}  ./{path.removeprefix(f'{folder}/')}\n" for path in names)
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(path: Path, records: Mapping[str, Record]) -> bool:
    """Write the records, sorted by path; whether anything changed."""
    lines = [HEAD]
    for output, record in sorted(records.items()):
        lines.append(f"# md5 {record.md5}  {output}\n")
        if record.of_list:
            lines.append(f"# sha256 of the list of its {record.count} files {record.of_list}\n")
        lines += [f"{sha256}  {file}\n" for file, sha256 in sorted(record.files.items())]
    text = "".join(lines)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def read_manifest(path: Path) -> dict[str, Record]:
    """Read the records, path of the output -> record; none if there is no manifest.

    Raises:
        InputError: A line is none that `write_manifest` writes.
    """
    records: dict[str, Record] = {}
    if not path.exists():
        return records
    output = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if found := OF_OUTPUT.fullmatch(line):
            output = found[2]
            records[output] = Record(found[1], {}, "", 0)
        elif output and (found := OF_LIST.fullmatch(line)):
            records[output] = Record(records[output].md5, {}, found[2], int(found[1]))
        elif output and (found := OF_FILE.fullmatch(line)):
            record = records[output]
            files = {**record.files, found[2]: found[1]}
            records[output] = Record(record.md5, files, "", len(files))
        elif f"{line}\n" not in HEAD:
            raise InputError(
                f"{path}, line {number}, is not a digest and a path, as sha256sum writes them: "
                "after a merge, `./ulna verify --write` writes it anew"
            )
    return records

"""The journal of a prediction: studies that are finished, so that a run that broke off goes on.

JSON lines. The first is the key of the run: records under another key are never used. Each other
one holds a digest of what was predicted (paths, sizes and times of the files) and its record, so a
file that has changed since is predicted anew.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

from ulna.core import InputError
from ulna.core.io import name_write_faults


def digest(*parts: object) -> str:
    """A digest of values that JSON can hold: 32 hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


class Journal:
    """Records by their digest, in a file that outlives a kill of the process.

    In memory are the digests and where each record begins, not the records.
    """

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        """Open a journal, with all records of one that has the same key.

        One of another key is begun anew; a last line that was cut off by a kill goes.

        Raises:
            InputError: Another process writes to it, or the file is something else.
            WriteError: It cannot be written.
        """
        self._path = path
        self._starts: dict[str, int] = {}
        with name_write_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what is written outlives a kill, and a full disk is told here.
            self._file = path.open("ab", buffering=0)
        try:
            self._lock()
            self._begin(json.dumps({"key": key}, sort_keys=True).encode("ascii") + b"\n")
        except BaseException:
            self._file.close()
            raise
        self._reader = path.open("rb")

    def _lock(self) -> None:
        if os.name != "posix":  # elsewhere two runs into one file are not kept apart
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # One that ended since we opened the file has removed it.
            if not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
                raise FileNotFoundError
        except OSError:
            raise InputError(
                f"{self._path} is written by another `ulna predict`: wait until it ends, or name "
                "another output"
            ) from None

    def _begin(self, head: bytes) -> None:
        """Find the records, if the file begins with this line, or let it begin so."""
        with self._path.open("rb") as file:
            first = file.readline()
            if first.endswith(b"\n") and not first.startswith(b'{"key": '):
                raise InputError(f"{self._path} is no journal of `ulna predict`: move it away")
            end = self._scan(file) if first == head else 0
        self._file.truncate(end)
        if end == 0:
            self._write(head)

    def _scan(self, file: BinaryIO) -> int:
        """Find the records, up to the first line that is cut off or damaged; where they end.

        One with refused files does not count: the user may have given the right to read them, or
        installed a decoder.
        """
        end = file.tell()
        for line in iter(file.readline, b""):
            try:
                entry = json.loads(line)
                digest, refused = str(entry["digest"]), entry["record"].get("refused")
            except (ValueError, TypeError, KeyError, AttributeError):
                break
            if not line.endswith(b"\n"):
                break
            if not refused:
                self._starts[digest] = end
            end += len(line)
        return end

    def _write(self, line: bytes) -> None:
        left = memoryview(line)
        with name_write_faults(self._path):
            while left:
                left = left[self._file.write(left) :]

    def __enter__(self) -> Self:
        """Give the journal."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the file; remove it if all of its run is done, or nothing."""
        # While it is locked: another run would otherwise find it, and lose it.
        if kind is None or not self._starts:
            self._path.unlink(missing_ok=True)
        self._reader.close()
        self._file.close()

    def __len__(self) -> int:
        """The number of records."""
        return len(self._starts)

    def __contains__(self, digest: str) -> bool:
        """Whether there is a record of it."""
        return digest in self._starts

    def append(self, digest: str, record: Mapping[str, Any]) -> None:
        """Add a record; a kill of the process from now on does not lose it.

        Raises:
            WriteError: It cannot be written.
        """
        line = json.dumps({"digest": digest, "record": record}, allow_nan=False)
        start = self._file.seek(0, os.SEEK_END)
        self._write(line.encode("ascii") + b"\n")
        self._starts[digest] = start

    def read(self, digest: str) -> dict[str, Any]:
        """The record of a digest."""
        self._reader.seek(self._starts[digest])
        record: dict[str, Any] = json.loads(self._reader.readline())["record"]
        return record

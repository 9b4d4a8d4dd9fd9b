"""A disk that fills up or fails.

A fault is put in where it happens: below Python's buffers, in the calls of `os` that sync and
rename, or by the kernel itself.
"""

import builtins
import errno
import io
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

FAULTS = {errno.ENOSPC: "No space left on device", errno.EIO: "Input/output error"}


class FaultyFile(io.FileIO):
    """A file whose bytes go to the disk through `Disk.act`."""

    disk: "Disk"

    def write(self, data) -> int:
        self.disk.act()
        return super().write(data)


class Disk:
    """Counts what is done to the disk, and fails at the operation of that number."""

    def __init__(self, fails_at: int | None = None, fault: int = errno.ENOSPC) -> None:
        self.done, self.fails_at, self.fault = 0, fails_at, fault

    def act(self) -> None:
        self.done += 1
        if self.done == self.fails_at:
            raise OSError(self.fault, os.strerror(self.fault))


@contextmanager
def used(disk: Disk) -> Iterator[None]:
    """Let every write, sync and rename of this process go by way of `disk`."""
    real_open = builtins.open

    def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **rest):
        lock = str(file).endswith(".lock")  # it is no output, and never whole or half
        if lock or not set(mode) & set("wax+") or not isinstance(file, (str, os.PathLike)):
            return real_open(file, mode, buffering, encoding, errors, newline, **rest)
        raw = FaultyFile(file, mode.replace("b", "").replace("t", ""))
        raw.disk = disk
        binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding, errors, newline)

    def counted(call: Callable) -> Callable:
        def acting(*arguments, **options):
            disk.act()
            return call(*arguments, **options)

        return acting

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", opened)
        patch.setattr(io, "open", opened)
        for name in ("fsync", "rename", "replace"):
            patch.setattr(os, name, counted(getattr(os, name)))
        yield


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The kernel refuses the first byte too many with EFBIG: Python ignores its signal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

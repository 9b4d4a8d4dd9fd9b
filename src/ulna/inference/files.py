"""Read a file that somebody named: bounded, and only if it is a regular file."""

import errno
import os
import stat

from ulna.core import InputError

# As `ulna.data.source` reads them for training; the largest radiographs have 40 MB.
MAX_FILE_BYTES = 128 * 2**20

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
REASONS = {
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "no such file",
    errno.ELOOP: "a link that leads in a circle",
    errno.EACCES: "you have no right to read it",
    errno.EPERM: "you have no right to read it",
    errno.ENAMETOOLONG: "its name is too long",
    # A socket cannot be opened, a device without its driver neither.
    errno.ENXIO: "a socket or device, not a file",
    errno.ENODEV: "a socket or device, not a file",
}


def read_regular(path: str, most: int = MAX_FILE_BYTES, whole: bool = True) -> bytes:
    """Read a file, or its beginning, without waiting for a pipe or reading an endless device.

    Args:
        path: Of the file; links are followed.
        most: Bytes that are read.
        whole: Refuse a file that has more.

    Raises:
        InputError: It is missing, no regular file, too large or cannot be read; the message is the
            reason alone.
    """
    # Opening a pipe that nobody writes to would wait for ever; a terminal must not become ours.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
        try:
            # Of the open file: another may get its name in between.
            status = os.fstat(descriptor)
            kind = stat.S_IFMT(status.st_mode)
            if kind != stat.S_IFREG:
                raise InputError(f"{KINDS.get(kind, 'something else')}, not a file")
            parts, left = [], most + 1
            # The size that a file system states is not always that of the file, but a buffer of
            # 128 MB for each would take 0.1 ms.
            buffer = max(status.st_size, 2**16) + 1
            while left and (part := os.read(descriptor, min(left, buffer))):
                parts.append(part)
                left -= len(part)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InputError(explain(error)) from None
    except ValueError as error:
        # Of a null character in the path. InputError is one, too.
        raise error if isinstance(error, InputError) else InputError("no valid path") from None
    if whole and not left:
        raise InputError(f"more than {most / 2**20:.0f} MB, which no radiograph has")
    return b"".join(parts)[:most]


def explain(error: OSError) -> str:
    """Say why a file or folder cannot be used, without its path."""
    return REASONS.get(error.errno or 0) or f"it cannot be read: {error.strerror}"

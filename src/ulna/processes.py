"""How many processes to start, how they end, and how two are kept apart."""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import zc.lockfile

from ulna.errors import InputError

# How long a run waits for another that writes the same files: one whose DVC was killed ends by
# itself, but not while it imports TensorFlow (5 to 20 s).
SECONDS_TO_WAIT = 30.0


def cores() -> int:
    """Number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def end_with_parent() -> None:
    """Let this process end once the one that started it is killed: it would wait for work for ever.

    To be called by a process that `multiprocessing` started.
    """
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def end_with_dvc() -> None:
    """Let this process end once the DVC that started it is killed.

    DVC ends without a word to what it has started, which would go on writing beside the next run. A
    stage that was not started by DVC goes on as it likes.
    """
    if "DVC_STAGE" not in os.environ:
        return
    parent = psutil.Process().parent()
    watched = [parent]
    # DVC starts a shell, which some shells replace by the command, and others wait beside.
    with suppress(psutil.NoSuchProcess):
        if parent is not None and "-c" in parent.cmdline():
            watched.append(parent.parent())
    for process in watched:
        end_with(process)


def end_with(process: psutil.Process | None) -> None:
    """Let this process end once another has ended, at once if there is none."""
    threading.Thread(target=_end_after, args=(process,), daemon=True).start()


def _end_after(process: psutil.Process | None) -> None:
    if process is not None:
        process.wait()
    os._exit(1)


@contextmanager
def only_one(lock: Path, what: str, seconds: float = SECONDS_TO_WAIT) -> Iterator[None]:
    """Keep out every other process that asks for the same lock; the system frees it after a kill.

    Args:
        lock: A file; missing folders are made, and the file stays.
        what: What must not be done twice at once, such as "train cnn".
        seconds: How long to wait for the other process to end.

    Yields:
        Nothing.

    Raises:
        InputError: The other process has not ended by then; its number is named.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + seconds
    while True:
        try:
            held = zc.lockfile.LockFile(str(lock))
            break
        except zc.lockfile.LockError:
            if time.monotonic() > until:
                number = lock.read_text().strip() or "unknown"
                raise InputError(
                    f"another process (PID {number}) runs {what} in this folder ({lock}): wait "
                    f"until it ends, or end it (kill {number})"
                ) from None
            time.sleep(0.1)
    try:
        yield
    finally:
        held.close()

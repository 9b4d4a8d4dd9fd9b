"""How many processes to start, how they end, and how two are kept apart."""

import errno
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import zc.lockfile

from ulna.errors import InputError

# How long a run waits for another that writes the same files: one whose DVC was killed ends by
# itself, but not while it imports TensorFlow (5 to 20 s).
SECONDS_TO_WAIT = 30.0
# What the system says of a file that another process has locked.
LOCKED = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)


Job = TypeVar("Job")
Result = TypeVar("Result")

BATCHES_IN_FLIGHT = 4  # per process of `process_map`; bounds the memory


def cores() -> int:
    """Number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_map(
    make: Callable[[], Callable[[Job], Result]], jobs: Sequence[Job], workers: int, batch: int
) -> Iterator[Result]:
    """Yield the result of every job, in order, with a bounded number of them under way.

    Args:
        make: Called once in each process, gives the function that does a job.
        jobs: The jobs.
        workers: Processes; 1 works in this one.
        batch: Jobs that are sent to a process at once.
    """
    # Made here in any case: a process that fails as it starts would not say why.
    work = make()
    if workers == 1:
        yield from map(work, jobs)
        return
    # A forked process inherits locks that threads of TensorFlow or tqdm may hold. An executor,
    # unlike multiprocessing.Pool, raises when a process is killed for its memory.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, _start_work, (make,)) as executor:
        under_way: deque[Future[list[Result]]] = deque()
        for start in range(0, len(jobs), batch):
            under_way.append(executor.submit(_work_batch, jobs[start : start + batch]))
            if len(under_way) >= BATCHES_IN_FLIGHT * workers:
                yield from under_way.popleft().result()
        for done in under_way:
            yield from done.result()


# Set once in each process that `process_map` starts.
_work: Callable[[Any], Any]


def _start_work(make: Callable[[], Callable[[Any], Any]]) -> None:
    global _work
    end_with_parent()
    _work = make()


def _work_batch(jobs: Sequence[Any]) -> list[Any]:
    return [_work(job) for job in jobs]


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
    with suppress(psutil.Error):
        if parent is not None and parent.cmdline()[-2:-1] == ["-c"]:
            watched.append(parent.parent())
    for process in watched:
        # An orphan belongs to a process of another session; DVC starts none for a stage.
        end_with(process if process is not None and _shares_session(process) else None)


def _shares_session(process: psutil.Process) -> bool:
    try:
        return not hasattr(os, "getsid") or os.getsid(process.pid) == os.getsid(0)
    except OSError:
        return False


def end_with(process: psutil.Process | None) -> None:
    """Let this process end once another has ended, at once if there is none."""
    threading.Thread(target=_end_after, args=(process,), daemon=True).start()


def _end_after(process: psutil.Process | None) -> None:
    if process is not None:
        process.wait()
    with suppress(OSError):
        os.write(2, b"ended, since the process that had started it is gone\n")
    os._exit(1)


def _no_lock(lock: Path, what: str, fault: OSError) -> InputError:
    return InputError(
        f"{lock}, which keeps a second run of {what} out, cannot be locked: {fault.strerror}; work "
        "in a folder on a disk that can be written and locked"
    )


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
            held = zc.lockfile.LockFile(str(lock), content_template="{pid} on {hostname}")
            break
        except zc.lockfile.LockError as refusal:
            fault = refusal.__context__
            if isinstance(fault, OSError) and fault.errno not in LOCKED:
                raise _no_lock(lock, what, fault) from None
            if time.monotonic() > until:
                holder = lock.read_text().strip() or "unknown"
                raise InputError(
                    f"another process (PID {holder}) runs {what} in this folder ({lock}): wait "
                    "until it ends, or end it with kill"
                ) from None
            time.sleep(0.1)
        except OSError as fault:
            raise _no_lock(lock, what, fault) from None
    try:
        yield
    finally:
        held.close()

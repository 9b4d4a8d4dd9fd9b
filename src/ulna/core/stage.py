"""Run a stage: one at a time, one message for bad input, and worker processes."""

import errno
import inspect
import io
import multiprocessing
import os
import sys
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

from ulna.core import InputError

# For another run that writes the same files: one whose DVC was killed ends by itself, but not while
# it imports TensorFlow (5 to 20 s).
SECONDS_TO_WAIT = 30.0
LOCKS = Path(".checkpoints")  # in neither git nor DVC
# Errors of a file that another process has locked.
LOCKED = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)
BATCHES_IN_FLIGHT = 4  # per process of `process_map`; bounds the memory

Job = TypeVar("Job")
Result = TypeVar("Result")


def process_map(
    make: Callable[[], Callable[[Job], Result]], jobs: Sequence[Job], workers: int, batch: int
) -> Iterator[Result]:
    """Yield the result of every job, in order, with a bounded number of them in flight.

    make, called once in each process, gives the function that does a job; one worker is this
    process; batch is the number of jobs that are sent to a process at once.
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
        in_flight: deque[Future[list[Result]]] = deque()
        for start in range(0, len(jobs), batch):
            in_flight.append(executor.submit(_work_batch, jobs[start : start + batch]))
            if len(in_flight) >= BATCHES_IN_FLIGHT * workers:
                yield from in_flight.popleft().result()
        for done in in_flight:
            yield from done.result()


# Set once in each process that `process_map` starts.
_work: Callable[[Any], Any]


def _start_work(make: Callable[[], Callable[[Any], Any]]) -> None:
    global _work
    exit_with_parent()
    _work = make()


def _work_batch(jobs: Sequence[Any]) -> list[Any]:
    return [_work(job) for job in jobs]


def exit_with_parent() -> None:
    """End this process, a worker that `multiprocessing` started, once its parent is killed."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def exit_with_dvc() -> None:
    """End this process, if DVC started it, once that DVC is killed.

    DVC does not stop its children, which would go on writing beside the next run.
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
        exit_with(process if process is not None and _shares_session(process) else None)


def _shares_session(process: psutil.Process) -> bool:
    try:
        return not hasattr(os, "getsid") or os.getsid(process.pid) == os.getsid(0)
    except OSError:
        return False


def exit_with(process: psutil.Process | None) -> None:
    """End this process once another has ended, at once if there is none."""

    def wait() -> None:
        if process is not None:
            process.wait()
        with suppress(OSError):
            os.write(2, b"ended, since the process that had started it is gone\n")
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _lock_error(lock: Path, what: str, fault: OSError) -> InputError:
    return InputError(
        f"{lock}, which keeps a second run of {what} out, cannot be locked: {fault.strerror}; work "
        "in a folder on a disk that can be written and locked"
    )


@contextmanager
def exclusive_lock(lock: Path, what: str, seconds: float = SECONDS_TO_WAIT) -> Iterator[None]:
    """Keep out every other process that asks for the same lock; the system frees it after a kill.

    The file stays; `what` names the work in a message, such as "train cnn".

    Raises:
        InputError: The other process has not ended after that many seconds; its PID is named.
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
                raise _lock_error(lock, what, fault) from None
            if time.monotonic() > until:
                holder = lock.read_text().strip() or "unknown"
                raise InputError(
                    f"another process (PID {holder}) runs {what} in this folder ({lock}): wait "
                    "until it ends, or end it with kill"
                ) from None
            time.sleep(0.1)
        except OSError as fault:
            raise _lock_error(lock, what, fault) from None
    try:
        yield
    finally:
        held.close()


def run(stage: Callable[..., None], *arguments: str) -> None:
    """Run a stage; bad input ends in its message on stderr and exit code 1, without a traceback.

    A second run of the same stage in the same folder is kept out, and a stage that DVC started ends
    with DVC. Its name, parameters and docstring make the help.
    """
    names = inspect.signature(stage).parameters
    usage = " ".join(["usage: python -m", f"stages.{stage.__name__}", *map(str.upper, names)])
    if arguments in (("--help",), ("-h",)):
        print(f"{usage}\n\n{inspect.getdoc(stage)}")
        raise SystemExit(0)
    if len(arguments) != len(names):
        print(usage, file=sys.stderr)
        raise SystemExit(2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Numbers have a typographic minus, which not every locale can print.
        sys.stdout.reconfigure(errors="replace")
    exit_with_dvc()
    name = " ".join([stage.__name__, *arguments])
    try:
        with exclusive_lock(LOCKS / f"{name.replace('/', '-').replace(' ', '-')}.lock", name):
            stage(*arguments)
    # OSError: a full disk, a file that may not be read.
    except (InputError, OSError) as error:
        print(f"{stage.__name__}: {error}", file=sys.stderr)
        raise SystemExit(1) from (None if isinstance(error, InputError) else error)

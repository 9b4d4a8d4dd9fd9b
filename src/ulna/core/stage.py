"""Run a stage: one at a time, progress, one sentence for bad input, processes that end with it."""

import errno
import inspect
import io
import multiprocessing
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import zc.lockfile
from tqdm import tqdm

from ulna.core import InputError, paths

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
    exit_with_parent()
    _work = make()


def _work_batch(jobs: Sequence[Any]) -> list[Any]:
    return [_work(job) for job in jobs]


def exit_with_parent() -> None:
    """Let this process end once the one that started it is killed: it would wait for work for ever.

    To be called by a process that `multiprocessing` started.
    """
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def exit_with_dvc() -> None:
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
        exit_with(process if process is not None and _shares_session(process) else None)


def _shares_session(process: psutil.Process) -> bool:
    try:
        return not hasattr(os, "getsid") or os.getsid(process.pid) == os.getsid(0)
    except OSError:
        return False


def exit_with(process: psutil.Process | None) -> None:
    """Let this process end once another has ended, at once if there is none."""
    threading.Thread(target=_exit_after, args=(process,), daemon=True).start()


def _exit_after(process: psutil.Process | None) -> None:
    if process is not None:
        process.wait()
    with suppress(OSError):
        os.write(2, b"ended, since the process that had started it is gone\n")
    os._exit(1)


def _lock_error(lock: Path, what: str, fault: OSError) -> InputError:
    return InputError(
        f"{lock}, which keeps a second run of {what} out, cannot be locked: {fault.strerror}; work "
        "in a folder on a disk that can be written and locked"
    )


@contextmanager
def exclusive_lock(lock: Path, what: str, seconds: float = SECONDS_TO_WAIT) -> Iterator[None]:
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


T = TypeVar("T")

SECONDS_BETWEEN_LINES = 30.0


def run(stage: Callable[..., None], *arguments: str) -> None:
    """Run a stage; bad input ends in its message on stderr and exit code 1, without a traceback.

    A second run of the same stage in the same folder is kept out, and a stage that DVC started ends
    with DVC.

    Args:
        stage: A function of strings; its name, parameters and docstring make the help.
        arguments: From the command line.
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
        with exclusive_lock(paths.lock(name), name):
            stage(*arguments)
    except InputError as error:
        print(f"{stage.__name__}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        # A full disk, a file that may not be read: a fault of the machine, not of an image.
        print(f"{stage.__name__}: {error}", file=sys.stderr)
        raise SystemExit(1) from error


def progress(items: Iterable[T], total: int, label: str, unit: str = "images") -> Iterator[T]:
    """Pass items on and show how far the work is.

    Args:
        items: What is worked on; it may be a generator.
        total: How many items there will be.
        label: What is being done, such as "preprocess".
        unit: What an item is, in the plural.

    Yields:
        The items, in order.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=label, unit=f" {unit}", dynamic_ncols=True)
        return
    start = last = time.monotonic()
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            left = (now - start) / done * (total - done)
            print(f"{label}: {done} of {total} {unit}, about {left:.0f} s to go", flush=True)
    print(f"{label}: {done} {unit} in {time.monotonic() - start:.1f} s", flush=True)

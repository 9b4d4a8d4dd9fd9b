"""What a stage shows: progress on a terminal, plain lines in a log, one sentence for bad input."""

import inspect
import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from ulna import paths
from ulna.errors import InputError
from ulna.processes import end_with_dvc, only_one

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
    end_with_dvc()
    name = " ".join([stage.__name__, *arguments])
    try:
        with only_one(paths.lock(name), name):
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

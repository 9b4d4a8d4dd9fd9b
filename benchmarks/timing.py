"""Time contenders in turns, so that a slow phase of the machine meets them all.

A benchmark is a module with `run() -> list[Row]`, in a process of its own; `python -m benchmarks`
runs them all and writes the table.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

MEBIBYTE = 2**20
# Linux counts to a process's peak what the process that started it had in memory. This one has
# 10 MB, a benchmark with TensorFlow 800.
LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
status = subprocess.call(sys.argv[2:])
seconds = time.perf_counter() - start
peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
with open(sys.argv[1], "w") as file:
    json.dump([seconds, peak_kib], file)
sys.exit(status % 256)
"""


@dataclass(frozen=True)
class Row:
    """One line of the table of results.

    Attributes:
        what: What was timed, with its size.
        ours: Measured, with its unit.
        other: The peer or limit in the same run, with its unit; empty where there is none.
        ratio: Of the two, or what else the aim speaks of; empty where there is none.
        aim: In words; empty where there is none.
        met: Whether the aim is met; None where there is none.
        note: The reason where it is not, or what else must be known.
    """

    what: str
    ours: str
    other: str = ""
    ratio: str = ""
    aim: str = ""
    met: bool | None = None
    note: str = ""


def in_turns(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call each contender once a round.

    Args:
        contenders: Name -> function that returns what it measured itself to need, in seconds.
        rounds: How often.

    Returns:
        Name -> (rounds,) seconds.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            taken[name].append(contender())
    return taken


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the rounds' ratios: each is of two figures that were measured side by side."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def spread(values: Sequence[float], digits: int = 2, unit: str = "s") -> str:
    """Median, and the lowest and highest.

    Example:
        >>> spread([1.0, 3.0, 2.0], digits=1)
        '2.0 s (1.0 to 3.0)'
    """
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} {unit} ({low:,.{digits}f} to {high:,.{digits}f})"


@dataclass(frozen=True)
class Run:
    """A process that ended.

    Attributes:
        seconds: From start to end.
        peak_mib: The largest resident memory of the process or of one of its children.
        output: What it printed.
    """

    seconds: float
    peak_mib: float
    output: str


def own_environment() -> dict[str, str]:
    """The variables of this process, in which `python` and `dvc` are those that run it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path}


def run_process(
    command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None
) -> Run:
    """Run a command to its end.

    Args:
        command: `python` is the one that runs the benchmarks.
        folder: Where to start it.
        variables: Of the environment, on top of ours.

    Returns:
        Time, memory, output.

    Raises:
        RuntimeError: It failed; the end of its output is in the message.
    """
    environment = own_environment() | dict(variables or {})
    with tempfile.TemporaryDirectory() as own, tempfile.TemporaryFile("w+") as output:
        told = Path(own) / "usage.json"
        ended = subprocess.call(
            [sys.executable, "-I", "-S", "-c", LAUNCHER, str(told), *command],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        output.seek(0)
        text = output.read()
        if ended:
            raise RuntimeError(f"{' '.join(command)} ended with {ended}:\n{text[-2000:]}")
        seconds, peak_kib = json.loads(told.read_text(encoding="utf-8"))
    return Run(seconds, peak_kib * 1024 / MEBIBYTE, text)


def cpu_seconds() -> float:
    """Of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def loop_seconds() -> float:
    """Time of twenty million additions in Python: tells a slow phase of a shared machine."""
    start, total = time.perf_counter(), 0
    for number in range(20_000_000):
        total += number
    return time.perf_counter() - start


def command_line(run: Callable[[], list[Row]]) -> None:
    """Run a benchmark as `python -m benchmarks.NAME [--json FILE]`.

    Args:
        run: The benchmark; its module's docstring is the help.
    """
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    arguments = parser.parse_args()
    rows = run()
    for row in rows:
        print(": ".join(part for part in (row.what, row.ours, row.other, row.ratio) if part))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")

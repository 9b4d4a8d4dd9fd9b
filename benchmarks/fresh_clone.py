"""From a fresh clone to the report, stage by stage; the installation is not part of it.

    python -m benchmarks.fresh_clone

Clones the last commit, so that nothing has been run there, and runs the whole pipeline: by
`dvc repro`, and with two stages side by side as `make repro JOBS=2` does. About ten minutes.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.timing import Row, command_line

ROOT = Path(__file__).parents[1]
AIM_S = 180
RUNNING = re.compile(r"Running stage '([^']+)'")


def clone(folder: Path) -> Path:
    """Clone the last commit."""
    there = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(there)], check=True)
    return there


def stage_times(command: Sequence[str], folder: Path) -> tuple[float, dict[str, float]]:
    """Run the pipeline.

    Args:
        command: What runs it; it says `Running stage 'NAME'` as DVC does.
        folder: A clone.

    Returns:
        Seconds in all; seconds of each stage, from its start to that of the next, with what DVC
        does in between.

    Raises:
        RuntimeError: It failed; its last lines are in the message.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    began = time.perf_counter()
    starts: list[tuple[str, float]] = []
    lines = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": "src"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            found = RUNNING.search(line)
            if found:
                starts.append((found[1], time.perf_counter()))
    end = time.perf_counter()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{''.join(lines[-20:])}")
    ends = [start for _, start in starts[1:]] + [end]
    taken = {name: stop - start for (name, start), stop in zip(starts, ends, strict=True)}
    return end - began, taken


def run() -> list[Row]:
    """Run the pipeline in a clone of its own each time."""
    with tempfile.TemporaryDirectory() as name:
        alone, stages = stage_times(["dvc", "repro"], clone(Path(name)))
    with tempfile.TemporaryDirectory() as name:
        there = clone(Path(name))
        beside, _ = stage_times(["python", "-m", "ulna.side_by_side", "2"], there)
    aim = f"at most {AIM_S} s"
    rows = [
        Row("all stages, one after the other", f"{alone:.0f} s", aim=aim, met=alone <= AIM_S),
        Row(
            "all stages, two side by side (`make repro JOBS=2`)",
            f"{beside:.0f} s",
            f"{alone:.0f} s one after the other",
            f"{alone / beside:.2f}",
            aim,
            beside <= AIM_S,
        ),
    ]
    rows += [
        Row(f"{stage}, one after the other", f"{seconds:.1f} s", ratio=f"{seconds / alone:.0%}")
        for stage, seconds in stages.items()
    ]
    return rows


if __name__ == "__main__":
    command_line(run)

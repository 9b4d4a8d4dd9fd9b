"""From a fresh clone to the report, stage by stage; the installation is not part of it.

    python -m benchmarks.fresh_clone

Clones the last commit, so that nothing has been run there, and runs the whole pipeline: by
`dvc repro`, and with two stages in parallel as `make repro JOBS=2` does. About ten minutes.
"""

import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.timing import Row, command_line, loop_seconds, own_environment

ROOT = Path(__file__).parents[1]
AIM_S = 180
RUNNING = re.compile(r"Running stage '([^']+)'")
WHY = (
    "Most of it is computing on both cores: training, and DenseNet169 forward over every image "
    "three times. The rest: the import of TensorFlow in seven stages (5 to 10 s each), "
    "DenseNet169 built, loaded and traced in each of three (8 to 15 s), and DVC between stages, "
    "which reads and writes dvc.lock (1 to 3 s each). Kept: no tuner in tf.data, whose end was "
    "waited for after each phase of training (42 s were seen); two stages in parallel; one graph "
    "for the frozen layers in training and validation; matplotlib imported by stages that draw "
    "alone. Tried and dropped: XLA (slower, and refused under determinism); no graph optimisation "
    "by TensorFlow (first step of fine-tuning 18.1 and 19.1 s instead of 18.8 and 21.0); freed "
    "memory kept by the C library (5 to 20% of DenseNet169's forward pass, nothing that could be "
    "told in training); Python's garbage collector off (13 and 16% of the import)."
)


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
        does in between, where they run one after the other.

    Raises:
        RuntimeError: It failed; its last lines are in the message.
    """
    began = time.perf_counter()
    starts: list[tuple[str, float]] = []
    lines = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=own_environment() | {"PYTHONPATH": "src"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            print(line, end="", flush=True)
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
    speeds, taken = [], []
    for command in (["dvc", "repro"], ["python", "-m", "ulna.team.parallel", "2"]):
        speeds.append(loop_seconds())
        with tempfile.TemporaryDirectory() as name:
            taken.append(stage_times(command, clone(Path(name))))
    (alone, stages), (beside, _) = taken
    aim = f"at most {AIM_S} s"
    slow = (
        "20 million additions in Python took {:.1f} s before the first run and {:.1f} s before the "
        "second: the phases of a shared machine."
    ).format(*speeds)
    rows = [
        Row("all, one after the other", f"{alone:.0f} s", "", "", aim, alone <= AIM_S, WHY),
        Row(
            "all, two in parallel (`make repro JOBS=2`)",
            f"{beside:.0f} s",
            f"{alone:.0f} s one after the other",
            f"{alone / beside:.2f}",
            aim,
            beside <= AIM_S,
            slow,
        ),
    ]
    rows += [
        Row(f"{stage}, alone", f"{seconds:.1f} s", ratio=f"{seconds / alone:.0%} of all")
        for stage, seconds in stages.items()
    ]
    return rows


if __name__ == "__main__":
    command_line(run)

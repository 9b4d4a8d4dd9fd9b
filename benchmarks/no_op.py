"""`dvc repro` with nothing to do, and the start of light stages.

    python -m benchmarks.no_op

Timed are processes, from start to end, in turns:

- `dvc repro` in this repository, which must be up to date (`dvc repro` first), against it in two
  repositories of as many stages that only `true`: in one each stage has one file to read and one to
  write, in the other as many of both as ours, and as many params: tiny ones.
- A light stage up to the line where its work begins, against Python that imports pandas and
  nothing else: all of them read or write tables.

Takes about two minutes.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from dvc.repo import Repo

from benchmarks.timing import Row, command_line, in_turns, ratio, run_process, spread

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
AIM_NO_OP = 1.2
# Imports in CPU seconds, two cores, others at work: pandas 0.4, scikit-learn's metrics 1.1 more,
# matplotlib 0.5. Stages that only read and write tables start in 0.7 to 1.0, those that score in
# 1.7 to 2.2, report in 2.4, plot in 2.9.
AIM_START = 3.0
LIGHT = (
    "check", "phantom", "prepare", "preprocess", "audit", "ensemble", "evaluate", "compare",
    "cross_part", "baselines", "occlusion", "overfitting", "plot", "report",
)  # fmt: skip
DVC = (sys.executable, "-m", "dvc")
WHY_FEW = (
    "DVC needs 2 to 5 ms for each file or folder that a stage reads, to parse it out of dvc.yaml "
    "and dvc.lock, to lock it and to look its hash up. Tried: folders of code as deps instead of "
    "every module (kept: 240 deps instead of 743, CPU 1.5 s instead of 1.8); the C parser of "
    "ruamel.yaml (kept: without it 1.3 to 1.7 times as long); per stage one fingerprint of its "
    "code (a sixth less, but dvc.yaml would no longer say what a stage runs: dropped); `dvc repro "
    "-P`, which reads dvc.lock once instead of twice (a tenth less, but nobody types it)."
)
WHY_MANY = (
    "The data set is one .zip. As a folder of some 700 folders DVC walked through it for each of "
    "the three stages that write or read it: 0.3 s of CPU in all."
)
WHY_START = (
    "A stage that scores imports scikit-learn, `plot` matplotlib too. Imported inside a function "
    "they would take as long. A slow phase of the machine shows in the floor."
)


def size_of_pipeline() -> list[tuple[int, int, int]]:
    """Count the files that each stage reads, those that it writes, and its params."""
    with Repo(str(ROOT)) as repo:
        return [
            (
                sum(1 for dep in stage.deps if not hasattr(dep, "params")),
                len(stage.outs),
                sum(len(dep.params) for dep in stage.deps if hasattr(dep, "params")),
            )
            for stage in repo.index.stages
            if stage.cmd
        ]


def true_pipeline(folder: Path, stages: list[tuple[int, int, int]]) -> None:
    """Set up a repository of stages that only `true`, up to date and committed.

    Args:
        folder: An empty one.
        stages: Of each, how many files it reads and writes and how many params it has.
    """
    lines = ["stages:"]
    values = []
    for number, (reads, writes, params) in enumerate(stages):
        here = folder / str(number)
        here.mkdir()
        lines += [f"  stage{number}:", "    cmd: 'true'", "    deps:"]
        for kind, count in (("in", reads), ("out", writes)):
            lines += ["    outs:"] if kind == "out" else []
            for index in range(count):
                (here / f"{kind}{index}.txt").write_text(f"{number} {kind} {index}\n")
                lines.append(f"    - {number}/{kind}{index}.txt")
        names = [f"param{number}_{index}" for index in range(params)]
        lines += ["    params:", *[f"    - {name}" for name in names]] if names else []
        values += [f"{name}: 1" for name in names]
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
    if values:
        (folder / "params.yaml").write_text("\n".join(values) + "\n")
    for command in (
        ["git", "init", "--quiet"],
        [*DVC, "init", "--quiet"],
        [*DVC, "config", "core.analytics", "false"],
        [*DVC, "config", "core.autostage", "true"],
        [*DVC, "commit", "--force", "--quiet"],
        ["git", "add", "--all"],
        ["git", *("-c", "user.name=a", "-c", "user.email=a"), "commit", "--quiet", "-m", "all"],
    ):
        run_process(command, folder)


def no_op(folder: Path) -> Callable[[], float]:
    """Time `dvc repro` in a folder; that it runs a stage is an error."""

    def seconds() -> float:
        done = run_process([*DVC, "repro"], folder)
        if "Data and pipelines are up to date" not in done.output:
            raise RuntimeError(f"{folder}: `dvc repro` had something to do:\n{done.output[-2000:]}")
        return done.seconds

    return seconds


def started(program: str) -> Callable[[], float]:
    """Time Python with a program of one line."""
    return lambda: run_process([sys.executable, "-c", program], ROOT).seconds


def repro_rows() -> list[Row]:
    """Nothing to do: ours against stages that only `true`."""
    status = subprocess.run(
        [*DVC, "status", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if status.returncode:
        raise RuntimeError(
            f"{ROOT} is not up to date, so `dvc repro` would have something to do: run it first\n"
            f"{status.stderr[-500:]}"
        )
    stages = size_of_pipeline()
    reads, writes = (sum(stage[place] for stage in stages) for place in (0, 1))
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder, "few"), Path(folder, "many")
        for path, counts in ((few, [(1, 1, 0)] * len(stages)), (many, stages)):
            path.mkdir()
            true_pipeline(path, counts)
        contenders = {"ours": no_op(ROOT), "few": no_op(few), "many": no_op(many)}
        # Once each beforehand: files are read from disk, modules compiled.
        in_turns(contenders, 1)
        taken = in_turns(contenders, ROUNDS)
    rows = []
    for name, what, why in (
        ("few", "with one file in, one out", WHY_FEW),
        ("many", f"with as much in and out ({reads} and {writes} files)", WHY_MANY),
    ):
        times = ratio(taken["ours"], taken[name])
        rows.append(
            Row(
                what=f"No-op `dvc repro`, {len(stages)} stages; peer: stages that only `true`, "
                f"{what}",
                ours=spread(taken["ours"]),
                other=spread(taken[name]),
                ratio=f"{times:.2f} times",
                aim=f"at most {AIM_NO_OP} times",
                met=times <= AIM_NO_OP,
                note="" if times <= AIM_NO_OP else why,
            )
        )
    if find_spec("_ruamel_yaml") is None:
        rows.append(
            Row(what="ruamel.yaml's C parser is missing: DVC's YAML is read slowly", ours="")
        )
    return rows


def start_rows() -> list[Row]:
    """Light stages up to where their work begins."""
    contenders = {name: started(f"import stages.{name}") for name in LIGHT}
    floor = {"python": started("pass"), "pandas": started("import pandas")}
    in_turns(contenders | floor, 1)
    taken = in_turns(contenders | floor, ROUNDS)
    rows = []
    for name in LIGHT:
        within = statistics.median(taken[name]) <= AIM_START
        rows.append(
            Row(
                what=f"Start of stage {name}; floor: Python that imports pandas",
                ours=spread(taken[name]),
                other=spread(taken["pandas"]),
                ratio=f"{ratio(taken[name], taken['pandas']):.2f} times",
                aim=f"at most {AIM_START:.0f} s",
                met=within,
                note="" if within else WHY_START,
            )
        )
    return rows


def run() -> list[Row]:
    """All of it."""
    return repro_rows() + start_rows()


if __name__ == "__main__":
    command_line(run)

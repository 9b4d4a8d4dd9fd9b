"""The first hour of a new user, as the docs tell it: each command, its seconds, what it prints.

    python tests/first_hour.py FOLDER    in a finished clone, which is changed; 120 columns

After `make repro`: an experiment, what it changed, a prediction, a colleague's clone, a recipe
without its data.
"""

import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tiny_pipeline import environment

COLUMNS = 120
# (clone, command); a clone is made by its first command. REMOTE is a folder, named in full: by a
# relative one `dvc exp pull` finds nothing.
OWNER, COLLEAGUE, NEWCOMER = "ulna", "colleague", "newcomer"
COMMANDS = (
    (OWNER, "dvc remote add --default team REMOTE"),
    (OWNER, "git commit -am 'Baseline of this machine'"),
    (OWNER, "dvc exp run -n focal -S loss=focal evaluate@cnn"),
    (OWNER, "./ulna compare HEAD focal --network cnn"),
    (OWNER, "./ulna experiments"),
    (OWNER, "./ulna predict examples"),
    (OWNER, "dvc metrics diff"),
    (OWNER, "dvc exp run -S loss=bce evaluate@cnn"),
    (OWNER, "git push origin HEAD"),
    (OWNER, "./ulna share"),
    (COLLEAGUE, "git clone ../origin.git ."),
    (COLLEAGUE, "dvc repro --pull --allow-missing"),
    (COLLEAGUE, "dvc exp pull origin focal"),
    (COLLEAGUE, "dvc exp apply focal"),
    (NEWCOMER, "git clone ../origin.git ."),
    (NEWCOMER, "cp recipes/mura-paper.yaml params.yaml"),
    (NEWCOMER, "dvc repro"),
)


@dataclass(frozen=True)
class Step:
    """One command that was run, with its exit code, seconds, and stdout and stderr as they came."""

    clone: str
    command: str
    code: int
    seconds: float
    output: str


def walk(owner: Path, python: str = sys.executable) -> list[Step]:
    """Run `COMMANDS` around a finished clone; other clones are made beside it."""
    beside = owner.parent
    (beside / "remote").mkdir()
    for command in (
        ("git", "clone", "--quiet", "--bare", str(owner), "origin.git"),
        ("git", "-C", str(owner), "remote", "remove", "origin"),
        ("git", "-C", str(owner), "remote", "add", "origin", "../origin.git"),
    ):
        subprocess.run(command, cwd=beside, env=environment(), capture_output=True, check=False)
    steps = []
    for clone, command in COMMANDS:
        folder = owner if clone == OWNER else beside / clone
        folder.mkdir(exist_ok=True)
        words = shlex.split(command.replace("REMOTE", str(beside / "remote")))
        start = time.monotonic()
        done = subprocess.run(
            [python, *words] if words[0] == "./ulna" else words,
            cwd=folder,
            env=environment(COLUMNS=str(COLUMNS)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        steps.append(Step(clone, command, done.returncode, time.monotonic() - start, done.stdout))
    return steps


def shown(step: Step) -> str:
    """A step as a terminal shows it: progress bars, which overwrite themselves, as their end."""
    lines = [line.rsplit("\r", 1)[-1] for line in step.output.splitlines()]
    text = "\n".join(line for line in lines if line.strip())
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return (
        f"{step.clone}$ {step.command}    # exit code {step.code}, {step.seconds:.1f} s\n{text}\n"
    )


if __name__ == "__main__":
    for one in walk(Path(sys.argv[1]).resolve()):
        print(shown(one))

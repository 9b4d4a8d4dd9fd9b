"""Say whether dvc.lock is that of what is staged for the next commit: code, parameters, metrics.

It reads git's index alone, so it needs no data, and what is changed but not staged does not count;
in a fresh clone it checks the last commit. The exit code is 1 if a stage would have to run again.
"""

import argparse
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ulna.errors import InputError
from ulna.team.planner import is_lost

MEND = (
    "run `dvc repro`, then `git add dvc.lock metrics plots/report.md`; "
    "`SKIP=dvc-lock git commit` leaves it to a later commit"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(arguments: argparse.Namespace) -> None:
    """Name the stages that are stale, and why.

    Raises:
        InputError: There are some, or what is staged cannot be read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(rev=_staged()) as repo:
            stale = find_stale(repo.index.stages)
            stages = len(repo.index.stages)
    except DvcException as error:
        raise InputError(f"what is staged cannot be read by DVC: {error}") from None
    if stale:
        lines = (f"  {reason}: {', '.join(names)}" for reason, names in by_reason(stale).items())
        raise InputError("\n".join(["dvc.lock is not that of what is staged:", *lines, MEND]))
    print(f"dvc.lock is that of what is staged: {stages} stages")


def _staged() -> str:
    """The index as a commit that no branch holds; git removes it in time."""
    identity = {
        f"GIT_{who}_{what}": "ulna" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    return _git("commit-tree", _git("write-tree"), "-m", "what is staged", **identity)


def _git(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"what is staged cannot be read by git: {done.stderr.strip()}")
    return done.stdout.strip()


def find_stale(stages: Iterable[Any]) -> dict[str, list[str]]:
    """Hold what is staged against what dvc.lock recorded.

    Args:
        stages: Of DVC, all of a commit, with what dvc.lock says of them.

    Returns:
        Stage -> what changed. A file that git does not hold is the one that its maker recorded.
    """
    made = {out.fs_path: out.hash_info for stage in stages for out in stage.outs}
    stale = {stage.name: _changes(stage, made) for stage in stages if not stage.is_data_source}
    return {name: reasons for name, reasons in stale.items() if reasons}


def by_reason(stale: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Turn stage -> reasons round: most stages share the module that changed.

    Example:
        >>> by_reason({"plot": ["a is modified", "b is modified"], "report": ["a is modified"]})
        {'a is modified': ['plot', 'report'], 'b is modified': ['plot']}
    """
    found: dict[str, list[str]] = {}
    for stage, reasons in stale.items():
        for reason in reasons:
            found.setdefault(reason, []).append(stage)
    return found


def _changes(stage: Any, made: dict[str, Any]) -> list[str]:
    if not any(item.hash_info for item in (*stage.deps, *stage.outs)):
        return ["it never ran"]
    reasons = ["its command changed"] if stage.cmd_changed else []
    for dep in stage.deps:
        name = str(dep)
        for path, what in dep.status().items():
            if isinstance(what, dict):
                reasons += [f"{key} in {path} is {how}" for key, how in what.items()]
            elif what != "deleted":
                reasons.append(f"{name} is {what}")
            elif dep.fs_path in made and made[dep.fs_path] != dep.hash_info:
                reasons.append(f"{name} was made anew")
            elif is_lost(dep, made):
                reasons.append(f"{name} is missing")
    kept = (out for out in stage.outs if not out.use_cache)
    return reasons + [f"{out} is {what}" for out in kept for what in out.status().values()]

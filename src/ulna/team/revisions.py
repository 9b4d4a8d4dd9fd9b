"""What a commit, a branch, a tag, an experiment or the workspace holds: parameters, predictions."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from ulna import paths
from ulna.errors import InputError
from ulna.params import NETWORKS as TABLE
from ulna.params import Evaluate
from ulna.predictions import read_predictions
from ulna.team.overrides import flatten, read_raw

WORKSPACE = "workspace"
NETWORKS = (*TABLE, paths.ENSEMBLE)
LOCK = "dvc.lock"
# What of a revision is code, and what `dvc add` keeps of data: params.yaml says neither.
CODE = ("src", "stages", "dvc.yaml", "*.dvc")


@dataclass(frozen=True)
class Revision:
    """A state of the repository.

    Attributes:
        name: As its user calls it.
        params: Nested values of its params.yaml, unchecked: those of an old commit may be of
            another form.
        evaluate: Its section of these.
        seed: Its seed.
        tables: Network -> its prediction table.
        stale: Network -> what that table was made with and is no more so, see `find_stale`, as
            after an experiment that stopped before this network.
    """

    name: str
    params: Mapping[str, Any]
    evaluate: Evaluate
    seed: int
    tables: Mapping[str, pd.DataFrame]
    stale: Mapping[str, Mapping[str, Any]]


def open_repo() -> Any:
    """DVC's view of the repository around the working directory."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        return Repo()
    except (NotDvcRepoError, SCMError) as error:
        raise InputError(f"{error}: run it in a clone of the repository") from None


def resolve(repo: Any, name: str) -> str:
    """The commit that a name stands for.

    Args:
        repo: See `open_repo`.
        name: A commit, branch, tag or experiment.

    Returns:
        Its hash.

    Raises:
        InputError: There is none, or no git.
    """
    from dvc.scm import NoSCM, RevError, resolve_rev

    if isinstance(repo.scm, NoSCM):
        raise InputError(f"{name} cannot be looked up: there is no git repository here")
    try:
        return str(resolve_rev(repo.scm, name))
    except RevError:
        raise InputError(
            f"{name} is no commit, branch, tag or experiment here: `git log`, `git fetch --tags` "
            "and `dvc exp list -A` tell which there are; `git fetch --unshallow` gets old commits"
        ) from None


def read_revision(repo: Any, name: str, networks: Sequence[str] = NETWORKS) -> Revision:
    """Read parameters and predictions, from DVC's cache or else its remote.

    Args:
        repo: See `open_repo`.
        name: A commit, branch, tag, experiment, or workspace.
        networks: Whose predictions to read.

    Returns:
        What there is; at least one table.

    Raises:
        InputError: The revision is unknown, holds no predictions or parameters that cannot be read.
    """
    if name == WORKSPACE:
        return _read(repo, name, networks)
    with repo.switch(resolve(repo, name)):
        return _read(repo, name, networks)


def _read(repo: Any, name: str, networks: Sequence[str]) -> Revision:
    text = _read_text(repo, paths.PARAMS)
    lock = _read_text(repo, Path(LOCK))
    if text is None:
        raise InputError(f"{name} has no {paths.PARAMS}: it is no revision of this pipeline")
    params = read_raw(text, f"{paths.PARAMS} of {name}")
    stages = read_raw(lock or "", f"{LOCK} of {name}").get("stages", {})
    try:
        evaluate, seed = Evaluate.model_validate(params["evaluate"]), int(params["seed"])
    except (ValidationError, KeyError, TypeError, ValueError):
        raise InputError(
            f"{name}: seed or the section evaluate of its {paths.PARAMS} is faulty or of another "
            "version: compare revisions of one"
        ) from None
    tables = {
        network: table
        for network in networks
        if (table := _read_table(repo, paths.predictions(network))) is not None
    }
    if not tables:
        raise InputError(_why_no_predictions(name, networks, stages))
    stale = {network: find_stale(stages, paths.predictions(network), params) for network in tables}
    return Revision(
        name, params, evaluate, seed, tables, {net: old for net, old in stale.items() if old}
    )


def _read_text(repo: Any, path: Path) -> str | None:
    """A file that git keeps, at the revision that `repo` is switched to; None without it."""
    try:
        with repo.fs.open(str(Path(repo.root_dir) / path), encoding="utf-8") as file:
            return str(file.read())
    except FileNotFoundError:
        return None


def git_text(commit: str, path: Path) -> str | None:
    """A file that git keeps, at a commit; None without it. A hundred times as fast as a switch."""
    done = subprocess.run(
        ["git", "show", f"{commit}:./{path.as_posix()}"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return None if done.returncode else done.stdout


def _read_table(repo: Any, path: Path) -> pd.DataFrame | None:
    from dvc.exceptions import DvcException
    from dvc.fs import LocalFileSystem
    from dvc.fs.dvc import DVCFileSystem

    if isinstance(repo.fs, LocalFileSystem):
        return read_predictions(path) if path.exists() else None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        try:
            with DVCFileSystem(repo=repo).open(path.as_posix(), "rb") as source:
                with copy.open("wb") as target:
                    shutil.copyfileobj(source, target)
        except (FileNotFoundError, DvcException):
            # FileNotFoundError: not in dvc.lock, or neither in the cache nor on a remote.
            return None
        except Exception as error:  # each kind of remote has errors of its own
            raise InputError(
                f"{path} is not in the cache, and the remote cannot be read: {error}"
            ) from None
        return read_predictions(copy)


def _why_no_predictions(name: str, networks: Sequence[str], stages: Mapping[str, Any]) -> str:
    made = [str(n) for n in map(paths.predictions, networks) if producer(stages, n.as_posix())]
    if not made:
        return (
            f"{name} has no predictions: its dvc.lock does not know "
            f"{' or '.join(map(str, map(paths.predictions, networks)))}; run `dvc repro` there and "
            "commit dvc.lock"
        )
    if name == WORKSPACE:
        return f"{name} has no predictions here: `dvc pull {' '.join(made)}` fetches them"
    return (
        f"the predictions of {name} are neither in the cache nor on a remote that can be read: "
        "`dvc fetch -A` fetches those of all commits, `dvc exp pull REMOTE NAME` those of an "
        "experiment; who made them must have pushed them"
    )


def producer(stages: Mapping[str, Any], path: str) -> str | None:
    """The stage of dvc.lock that writes a file, or a folder around it."""
    for stage, recorded in stages.items():
        for out in recorded.get("outs", ()):
            if path == out["path"] or path.startswith(f"{out['path']}/"):
                return stage
    return None


def find_stale(stages: Mapping[str, Any], path: Path, params: Mapping[str, Any]) -> dict[str, Any]:
    """What a file was made with, where that is not what there is now.

    Args:
        stages: The stages of dvc.lock.
        path: The file.
        params: Nested values of params.yaml.

    Returns:
        Of the stage that wrote the file and of those before it: dotted name of a parameter -> its
        value in dvc.lock, where params.yaml has another; path of a file that was read -> whose it
        was, where the stage that makes it has made another since.
    """
    now = flatten(params)
    made = {
        out["path"]: (stage, out.get("md5"))
        for stage, recorded in stages.items()
        for out in recorded.get("outs", ())
    }
    waiting = [path.as_posix()]
    seen: set[str] = set()
    found: dict[str, Any] = {}
    while waiting:
        stage = producer(stages, waiting.pop())
        if stage is None or stage in seen:
            continue
        seen.add(stage)
        for key, value in stages[stage].get("params", {}).get(str(paths.PARAMS), {}).items():
            found |= {
                name: used for name, used in flatten(value, key).items() if now.get(name) != used
            }
        for dep in stages[stage].get("deps", ()):
            if dep["path"] in made:
                maker, digest = made[dep["path"]]
                if digest != dep.get("md5"):
                    found[dep["path"]] = f"of an earlier run of {maker}"
            waiting.append(dep["path"])
    return found


def different_code(first: str, second: str) -> list[str]:
    """The files of code, and the `.dvc` files of data, in which two revisions differ, by git.

    Args:
        first: A commit.
        second: A commit, or workspace.

    Raises:
        InputError: Git cannot say.
    """
    revisions = [first] if second == WORKSPACE else [first, second]
    done = subprocess.run(
        ["git", "diff", "--name-only", *revisions, "--", *CODE],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"what code differs cannot be said by git: {done.stderr.strip()}")
    return done.stdout.splitlines()

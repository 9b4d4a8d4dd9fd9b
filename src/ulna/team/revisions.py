"""Parameters and predictions of a commit, branch, tag, experiment or of the workspace."""

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from ulna.core import InputError, paths
from ulna.core.params import Evaluate
from ulna.core.predictions import read_predictions

WORKSPACE = "workspace"
LOCK = Path("dvc.lock")
# Of the section evaluate in older revisions. Their ensemble lay in `paths.PREDICTIONS`.
RENAMED = {"bootstrap_draws": "bootstrap_replicates"}
# Code, and data that `dvc add` keeps: params.yaml names neither.
CODE = ("src", "stages", "dvc.yaml", "*.dvc")


@dataclass(frozen=True)
class Revision:
    """A state of the repository, by the name that its user typed."""

    name: str
    params: Mapping[str, Any]  # all of params.yaml, unchecked: an old commit's may differ in form
    evaluate: Evaluate
    seed: int
    tables: Mapping[str, pd.DataFrame]  # of each network
    stale: Mapping[str, Mapping[str, Any]]  # network -> `find_stale`; without those not stale
    commit: str = WORKSPACE


@contextmanager
def open_repo() -> Iterator[Any]:
    """DVC's view of the repository here; what DVC raises becomes an InputError."""
    # DVC takes half a second to import: not for a --help.
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import SCMError

    if LOCK.exists() and b"\n<<<<<<< " in b"\n" + LOCK.read_bytes():
        side = f"take one (`git checkout --theirs {LOCK}`), then `dvc repro --pull --allow-missing`"
        raise InputError(f"{LOCK} holds both sides of a merge: {side}")
    try:
        with Repo() as repo:
            yield repo
    except (DvcException, SCMError) as error:
        raise InputError(f"DVC says, in {Path.cwd()}: {in_full(error)}") from None


def in_full(error: BaseException | None) -> str:
    """An error's message and those of its causes: DVC keeps the reason in the cause."""
    messages: list[str] = []
    while error is not None:
        message = " ".join(str(error).split()) or type(error).__name__
        messages += [message] if not any(message in other for other in messages) else []
        error = error.__cause__
    return ": ".join(messages)


def git(*arguments: str) -> str:
    """The output of git; an InputError with its reason where it fails."""
    command = ["git", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise InputError(f"git {arguments[0]}: {' '.join(done.stderr.split())}")
    return done.stdout


def read_revision(repo: Any, name: str, networks: Iterable[str]) -> Revision:
    """Read parameters and at least one prediction table, from DVC's cache or else its remote."""
    from dvc.scm import RevError

    try:
        with repo.switch(name) as commit:
            return _read(repo, name, commit, networks)
    except RevError:
        raise InputError(
            f"{name} is no commit, branch, tag or experiment here: `git log`, `git fetch --tags` "
            "and `dvc exp list -A` tell which there are; `git fetch --unshallow` gets old commits"
        ) from None


def _read(repo: Any, name: str, commit: str, networks: Iterable[str]) -> Revision:
    params = _read_yaml(repo, paths.PARAMS, name)
    stages = _read_yaml(repo, LOCK, name).get("stages", {})
    try:
        section = {RENAMED.get(key, key): value for key, value in params["evaluate"].items()}
        evaluate, seed = Evaluate.model_validate(section), int(params["seed"])
    except (ValidationError, KeyError, TypeError, ValueError, AttributeError):
        problem = (
            f"{name}: seed or the section evaluate of its {paths.PARAMS} is missing, faulty or of"
        )
        raise InputError(f"{problem} another version: compare revisions of one") from None
    tables, stale = {}, {}
    for network in networks:
        current = paths.predictions(network)
        for path in dict.fromkeys((current, paths.PREDICTIONS / current.name)):
            if network not in tables and (table := _read_table(repo, path)) is not None:
                tables[network] = table
                if old := find_stale(stages, path, params):
                    stale[network] = old
    if not tables:
        raise InputError(
            f"{name} has no predictions: `dvc pull` (workspace), `dvc fetch -A` (commits) or `dvc "
            "exp pull REMOTE NAME` takes what was pushed; else `dvc repro` there, commit dvc.lock"
        )
    return Revision(name, params, evaluate, seed, tables, stale, commit)


def _read_yaml(repo: Any, path: Path, name: str) -> Any:
    """A file that git keeps, at the revision that `repo` is switched to; {} without it."""
    with suppress(FileNotFoundError):
        with repo.fs.open(str(Path(repo.root_dir) / path), encoding="utf-8") as file:
            return parse_yaml(file.read(), f"{path} of {name}")
    return {}


def parse_yaml(text: str, source: str) -> Any:
    """Nested values as DVC reads them, unchecked; what is not YAML is an InputError."""
    from dvc.utils import serialize

    try:
        return serialize.parse_yaml(text, source) or {}
    except serialize.YAMLFileCorruptedError as error:
        raise InputError(f"{in_full(error)}: {source} is not YAML, as after a merge") from None


def _read_table(repo: Any, path: Path) -> pd.DataFrame | None:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.fs import LocalFileSystem

    if isinstance(repo.fs, LocalFileSystem):
        return read_predictions(path) if path.exists() else None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        try:
            with DVCFileSystem(repo=repo).open(path.as_posix(), "rb") as source:
                copy.write_bytes(source.read())
        except (FileNotFoundError, DvcException):
            return None  # not in dvc.lock, or neither in the cache nor on a remote
        except Exception as error:  # each kind of remote has errors of its own
            problem = f"{path} is not in the cache, and the remote cannot be read"
            raise InputError(f"{problem}: {error}") from None
        return read_predictions(copy)


def show(value: Any) -> str:
    """A value as params.yaml would have it."""
    return value if isinstance(value, str) else "nothing" if value is None else json.dumps(value)


def producers(stages: Mapping[str, Any], path: str) -> list[str]:
    """Stages of dvc.lock that write a file, a folder around it, or files in a folder."""
    outs = ((f"{out['path']}/", stage) for stage in stages for out in stages[stage].get("outs", ()))
    here = f"{path}/"
    return [stage for out, stage in outs if here.startswith(out) or out.startswith(here)]


def upstream_stages(stages: Mapping[str, Any], path: str) -> list[str]:
    """The stages that write a file, and all before them."""
    waiting, upstream = [path], list[str]()
    while waiting:
        new = [stage for stage in producers(stages, waiting.pop()) if stage not in upstream]
        upstream += dict.fromkeys(new)
        waiting += [dep["path"] for stage in new for dep in stages[stage].get("deps", ())]
    return upstream


def hash_outs(made: Mapping[str, str | None], folder: str) -> str | None:
    """MD5 that DVC gives a folder of these files; None if there are none or one is a folder."""
    inside = sorted(path for path in made if path.startswith(f"{folder}/"))
    if not inside or any(str(made[path]).endswith(".dir") for path in inside):
        return None
    listed = [{"md5": made[path], "relpath": path.removeprefix(f"{folder}/")} for path in inside]
    return f"{hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest()}.dir"


def find_stale(stages: Mapping[str, Any], path: Path, params: Mapping[str, Any]) -> dict[str, Any]:
    """List what differs from what a file was made with, as after a run that stopped before it.

    Returns:
        Of the stage that wrote it and of those before: dotted name of a parameter -> its value in
        dvc.lock, where params.yaml has another; path of a file that was read -> its MD5 then, where
        its stage has made another since.
    """
    from dvc.utils.flatten import flatten

    now, stale = flatten(params), dict[str, Any]()
    outs = (out for stage in stages.values() for out in stage.get("outs", ()))
    made = {out["path"]: out.get("md5") for out in outs}
    for stage in upstream_stages(stages, path.as_posix()):
        used = flatten(stages[stage].get("params", {}).get(str(paths.PARAMS), {}))
        stale |= {name: value for name, value in used.items() if now.get(name) != value}
        for dep in stages[stage].get("deps", ()):
            now_md5 = made.get(dep["path"]) or hash_outs(made, dep["path"]) or dep.get("md5")
            if now_md5 != dep.get("md5"):
                stale[dep["path"]] = dep.get("md5")
    return stale


def different_code(first: str, second: str) -> list[str]:
    """List files of code and `.dvc` files that differ between two commits, or from here."""
    # git compares a commit with the workspace, not the other way round; the files are the same.
    revisions = [commit for commit in (first, second) if commit != WORKSPACE]
    return git("diff", "--name-only", *revisions, "--", *CODE).splitlines()

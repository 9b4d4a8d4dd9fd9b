"""Parameters and predictions of a commit, branch, tag, experiment or of the workspace."""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from os.path import normpath
from pathlib import Path, PurePosixPath
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
CODE = ("src", "stages", "*dvc.yaml", "*.dvc")
COMMIT = 'git commit -am "Baseline of this machine"'


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

    try:
        with Repo() as repo:
            for lock in filter(is_lock, tracked_files()):
                if Path(lock).exists() and b"\n<<<<<<< " in b"\n" + Path(lock).read_bytes():
                    raise InputError(
                        f"{lock} holds both sides of a merge: take one (`git checkout --theirs "
                        f"{lock}`), then `dvc repro --pull --allow-missing`"
                    )
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


def git(*arguments: str, stdin: str = "", **variables: str) -> str:
    """The output of git; an InputError with its reason where it fails."""
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, input=stdin, env=os.environ | variables
    )
    if done.returncode:
        raise InputError(f"git {arguments[0]}: {' '.join(done.stderr.split())}")
    return done.stdout


def is_lock(path: str) -> bool:
    """Whether DVC records runs of stages in it: dvc.lock beside each dvc.yaml."""
    return PurePosixPath(path).name == LOCK.name


def tracked_files(commit: str = WORKSPACE) -> list[str]:
    """The files of a commit; here, those in git, also deleted ones, and new ones not ignored."""
    here = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    command = here if commit == WORKSPACE else ("ls-tree", "-r", "-z", "--name-only", commit)
    return list(dict.fromkeys(git(*command).split("\0")[:-1]))


def read_yaml(path: str, commit: str = WORKSPACE) -> Any:
    """The nested values of a file here or at a commit; {} without it."""
    if commit == WORKSPACE:
        return parse_yaml(Path(path).read_text("utf-8"), path) if Path(path).exists() else {}
    # By git: DVC takes the config of a commit with it, and stops where that lacks the remote.
    if not git("ls-tree", commit, "--", path):
        return {}
    return parse_yaml(git("show", f"{commit}:./{path}"), f"{path} of {commit}")


def parse_yaml(text: str, source: str) -> Any:
    """Nested values as DVC reads them, unchecked; what is not YAML is an InputError."""
    from dvc.utils import serialize

    try:
        return serialize.parse_yaml(text, source) or {}
    except serialize.YAMLFileCorruptedError as error:
        raise InputError(f"{in_full(error)}: {source} is not YAML, as after a merge") from None


def stages_of(path: str, commit: str = WORKSPACE) -> dict[str, Any]:
    """The stages of a dvc.lock, or the one of a .dvc file, with their files named from the root.

    They are named as DVC does: `train@cnn`, of a dvc.yaml in a folder `data/dvc.yaml:NAME`.
    """
    folder, content = PurePosixPath(path).parent, read_yaml(path, commit)
    prefix, stages = "", {path: content}
    defined = stages
    if is_lock(path):
        pipeline = str(folder / "dvc.yaml")
        prefix = "" if pipeline == "dvc.yaml" else f"{pipeline}:"
        # dvc.lock does not say in which folder a stage runs.
        stages, defined = content.get("stages", {}), read_yaml(pipeline, commit).get("stages", {})
    named = {}
    for name, entry in stages.items():
        start = folder / defined.get(name.partition("@")[0], {}).get("wdir", ".")
        files = {
            kind: [
                # A file of another repository is named from its root.
                file if "repo" in file else file | {"path": normpath(start / file["path"])}
                for file in entry.get(kind, ())
            ]
            for kind in ("deps", "outs")
        }
        named[prefix + name] = entry | files
    return named


def read_stages(commit: str = WORKSPACE) -> dict[str, Any]:
    """The stages of every dvc.lock, see `stages_of`."""
    stages = dict[str, Any]()
    for lock in filter(is_lock, tracked_files(commit)):
        stages |= stages_of(lock, commit)
    return stages


def read_revision(repo: Any, name: str, networks: Iterable[str]) -> Revision:
    """Read parameters and at least one prediction table, from DVC's cache or else its remote.

    The workspace's tables must be those that dvc.lock names.
    """
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
    params, stages = read_yaml(str(paths.PARAMS), commit), read_stages(commit)
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
            table = None if network in tables else _read_table(repo, commit, stages, path)
            if table is not None:
                tables[network] = table
                old = find_stale(stages, path, params)
                if commit == WORKSPACE:
                    old |= changed_here(repo, stages, path)
                if old:
                    stale[network] = old
    if not tables:
        raise InputError(_without_predictions(name, commit, bool(repo.config["remote"])))
    return Revision(name, params, evaluate, seed, tables, stale, commit)


def _without_predictions(name: str, commit: str, remote: bool) -> str:
    if commit == WORKSPACE:
        return (
            f"{name} has no predictions: `dvc pull` takes what was pushed, `dvc repro` makes them"
        )
    pulled = "`dvc fetch -A` (commits) or `dvc exp pull REMOTE NAME` takes what was pushed; or make"
    advice = f": {pulled}" if remote else ", and no remote is set up: make"
    return (
        f"the predictions of {name} are not on this machine{advice} your own: with its params.yaml "
        f"`make repro`, then `{COMMIT}`, and compare with that commit"
    )


def _read_table(
    repo: Any, commit: str, stages: Mapping[str, Any], path: Path
) -> pd.DataFrame | None:
    """A prediction table; None if no stage made it here, or it is nowhere."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    if commit == WORKSPACE:
        outs = (out for stage in stages.values() for out in stage.get("outs", ()))
        made = next((out.get("md5") for out in outs if out["path"] == path.as_posix()), None)
        if made is None or not path.exists():
            return None
        if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != made:
            raise InputError(
                f"{path} is not the file that dvc.lock names, as after a `git checkout`: `dvc "
                "checkout` brings that one here, or `dvc repro` makes both anew"
            )
        return read_predictions(path)
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


def changed_here(repo: Any, stages: Mapping[str, Any], path: Path) -> dict[str, str]:
    """List code and data of the workspace that changed since a file was made from them."""
    upstream = upstream_stages(stages, path.as_posix())
    read = (stage.deps for stage in repo.index.stages if stage.addressing in upstream)
    deps = {str(dep): dep for dep in chain.from_iterable(read)}
    return {
        name: "as it was"
        for name, dep in deps.items()
        # What a stage made is `find_stale`'s; what is not here may not have been pulled.
        if not producers(stages, name) and "modified" in dep.workspace_status().values()
    }


def different_code(first: str, second: str) -> list[str]:
    """List files of code and `.dvc` files that differ between two commits, or from here."""
    # git compares a commit with the workspace, not the other way round; the files are the same.
    revisions = [commit for commit in (first, second) if commit != WORKSPACE]
    return git("diff", "--name-only", *revisions, "--", *CODE).splitlines()

"""What DVC would do with each stage, without doing it."""

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ulna import paths
from ulna.errors import InputError
from ulna.team.overrides import flatten, read_raw, write_overridden
from ulna.team.revisions import open_repo

Verdict = Literal["runs", "is restored", "may run", "does not run"]
VERDICTS: tuple[Verdict, ...] = ("runs", "is restored", "may run", "does not run")


@dataclass(frozen=True)
class Reason:
    """Why a stage is not left alone.

    Attributes:
        kind: parameter, command, file (that it reads), output, stage (it is not in dvc.lock), or
            upstream: a file that a stage before it may change.
        name: Of the parameter, the file, or the stage upstream.
        before: A parameter or command in dvc.lock, None where it is in none; what becomes of the
            stage upstream.
        after: What it is now; what has become of the file; the files that may change.
    """

    kind: str
    name: str
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        """In words."""
        if self.kind == "parameter":
            return f"{self.name}: {show(self.before)} -> {show(self.after)}"
        if self.kind == "command":
            return f"command: {show(self.before)} -> {show(self.after)}"
        if self.kind == "stage":
            return "it has not run yet: dvc.lock does not know it"
        if self.kind == "upstream":
            return f"{self.name} {self.before}, {', '.join(self.after)} may change"
        return f"{self.name} {self.after}"


@dataclass
class Planned:
    """What would become of a stage."""

    stage: str
    verdict: Verdict = "does not run"
    reasons: list[Reason] = field(default_factory=list)


@dataclass
class Missing:
    """An output that dvc.lock knows and that is not here."""

    path: str
    stage: str
    in_cache: bool


@dataclass
class Plan:
    """Stages in the order in which DVC would come to them, and what is not here."""

    stages: list[Planned]
    missing: list[Missing]

    def of(self, verdict: Verdict) -> list[str]:
        """The stages with a verdict."""
        return [planned.stage for planned in self.stages if planned.verdict == verdict]


def show(value: Any) -> str:
    """A value as params.yaml would have it."""
    if value is None:
        return "nothing"
    return value if isinstance(value, str) else json.dumps(value)


def changed_parameters(before: Any, after: Any) -> list[Reason]:
    """Which parameters of a stage differ.

    Args:
        before: Nested values in dvc.lock.
        after: Those of params.yaml.

    Returns:
        One reason a value, by its dotted name.

    Example:
        >>> [str(reason) for reason in changed_parameters({"cnn": {"epochs": 2}, "loss": "bce"},
        ...                                               {"cnn": {"epochs": 3}, "loss": "bce"})]
        ['cnn.epochs: 2 -> 3']
    """
    old, new = flatten(before), flatten(after)
    return [
        Reason("parameter", name, old.get(name), new.get(name))
        for name in [*new, *(name for name in old if name not in new)]
        if old.get(name) != new.get(name) or (name in old) != (name in new)
    ]


def plan(words: Sequence[str] = (), targets: Sequence[str] = ()) -> Plan:
    """Find out what DVC would run.

    Args:
        words: What stands after each `-S`.
        targets: Stages to stop at; all without them.

    Returns:
        The plan.

    Raises:
        InputError: A parameter is refused, a target does not exist, dvc.yaml is faulty.
    """
    from dvc.exceptions import DvcException

    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder) / paths.PARAMS.name
        write_overridden(words, params)
        try:
            with open_repo() as repo:
                return _Planner(repo, params, targets).plan()
        except DvcException as error:
            raise InputError(f"DVC: {error}") from None


def is_lost(dep: Any, made: Iterable[str]) -> bool:
    """Whether what is not here should be: neither does a stage make it, nor does git ignore it.

    Args:
        dep: What a stage reads.
        made: What stages make and .dvc files track.
    """
    if any(path == dep.fs_path or overlap(dep.fs, path, dep.fs_path) for path in made):
        return False
    # 1: git does not ignore it; 128: it lies elsewhere, as a data set may.
    command = ["git", "check-ignore", "--quiet", str(dep)]
    ignored = subprocess.run(command, check=False, capture_output=True)
    return ignored.returncode == 1


def overlap(fs: Any, first: str, second: str) -> bool:
    """Whether one of two paths lies in the other."""
    return bool(fs.isin(first, second) or fs.isin(second, first))


class _Planner:
    """Goes through the stages as `dvc repro` does, with other parameters and without running."""

    def __init__(self, repo: Any, params: Path, targets: Sequence[str]) -> None:
        from dvc.dvcfile import PROJECT_FILE, load_file
        from dvc.parsing import DataResolver
        from dvc.repo.index import Index
        from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

        self.repo = repo
        self.params = params
        file = load_file(repo, str(Path(repo.root_dir) / PROJECT_FILE))
        # Paths with ${...} become those that the new parameters make of them: to DVC's resolver
        # params.yaml lies where it is told.
        vars(file)["resolver"] = DataResolver(repo, str(params.parent), file.contents)
        self.lock = file.lockfile_contents.get("stages", {})
        others = [stage for stage in repo.index.stages if stage.path != file.path]
        self.graph = get_active_graph(Index(repo, [*file.stages.values(), *others]).graph)
        nodes = {stage.addressing: stage for stage in self.graph}
        chosen = collect_stages(repo, targets or [PROJECT_FILE])
        self.order = plan_repro(self.graph, [nodes[stage.addressing] for stage in chosen])
        # Path of an output -> what it will be, with its mode; None: nobody knows yet.
        self.expected: dict[str, tuple[Any, Any] | None] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.missing: list[Missing] = []

    def plan(self) -> Plan:
        found = [self._plan_stage(stage) for stage in self.order]
        return Plan([planned for planned in found if planned], self.missing)

    def _plan_stage(self, stage: Any) -> Planned | None:
        if not stage.cmd:
            # What `dvc add` keeps: as it lies there.
            for out in stage.outs:
                found = self._on_disk(out)
                self.expected[out.fs_path] = found or (out.hash_info, out.meta)
            self.verdicts[stage.addressing] = "does not run"
            return None
        known, reasons = True, []
        recorded = self.lock.get(stage.name)
        if recorded is None:
            reasons.append(Reason("stage", stage.name))
        elif recorded["cmd"] != stage.cmd:
            reasons.append(Reason("command", stage.name, recorded["cmd"], stage.cmd))
        if stage.always_changed:
            reasons.append(Reason("output", stage.name, after="is always made anew"))
        upstream: dict[str, list[str]] = {}
        for dep in stage.deps:
            if hasattr(dep, "read_params"):
                found_params = self._read_params(dep)
                if recorded is not None:
                    reasons += changed_parameters(dep.hash_info.value or {}, found_params.value)
                dep.hash_info = found_params
            elif makers := self._makers_at_work(stage, dep):
                known = False
                for maker in makers:
                    upstream.setdefault(maker, []).append(str(dep))
            else:
                reasons += self._compare_file(stage, dep, recorded is not None)
        reasons += self._compare_outs(stage, recorded is not None)
        planned = Planned(stage.addressing, reasons=[] if stage.frozen else reasons)
        if planned.reasons:
            restored = self._restored(stage, reasons) if known else None
            planned.verdict = "runs" if restored is None else "is restored"
            self.expected |= restored or dict.fromkeys(out.fs_path for out in stage.outs)
        elif upstream and not stage.frozen:
            planned.verdict = "may run"
            self.expected |= dict.fromkeys(out.fs_path for out in stage.outs)
        else:
            self.expected |= {out.fs_path: (out.hash_info, out.meta) for out in stage.outs}
        planned.reasons += [
            Reason("upstream", maker, self.verdicts[maker], files)
            for maker, files in upstream.items()
        ]
        self.verdicts[stage.addressing] = planned.verdict
        return planned

    def _read_params(self, dep: Any) -> Any:
        from dvc.dependency.param import read_param_file
        from dvc_data.hashfile.hash_info import HashInfo

        if Path(dep.fs_path) != self._params_path:
            raise InputError(f"dvc.yaml takes parameters from {dep}, expected {paths.PARAMS} alone")
        values = read_param_file(dep.fs, str(self.params), list(dep.params) or None, flatten=True)
        return HashInfo("params", values)

    @property
    def _params_path(self) -> Path:
        return Path(self.repo.root_dir) / paths.PARAMS

    def _makers_at_work(self, stage: Any, dep: Any) -> list[str]:
        """The stages that make a file and of which nobody knows what will come out."""
        if dep.fs_path in self.expected:
            known = self.expected[dep.fs_path] is not None
        else:
            # A file in a folder that a stage makes, or the other way round: known if it is left.
            overlapping = [path for path in self.expected if overlap(dep.fs, path, dep.fs_path)]
            known = all(self.expected[path] is not None for path in overlapping)
        if known:
            return []
        return [
            maker.addressing
            for maker in self.graph.successors(stage)
            if self.verdicts[maker.addressing] in ("runs", "may run")
            and any(
                out.fs_path == dep.fs_path or overlap(out.fs, out.fs_path, dep.fs_path)
                for out in maker.outs
            )
        ]

    def _compare_file(self, stage: Any, dep: Any, recorded: bool) -> list[Reason]:
        """Compare a file with dvc.lock, and note its hash in `dep` for the run cache."""
        before = dep.hash_info
        if Path(dep.fs_path) == self._params_path:
            from dvc_data.hashfile.hash_info import HashInfo
            from dvc_data.hashfile.meta import Meta

            digest = hashlib.md5(self.params.read_bytes(), usedforsecurity=False).hexdigest()
            now: tuple[Any, Any] | None = HashInfo("md5", digest), Meta()
        else:
            now = self.expected.get(dep.fs_path) or self._on_disk(dep)
        if now is None:
            made = (out.fs_path for maker in self.graph.successors(stage) for out in maker.outs)
            lost = not before or is_lost(dep, made)
            return [Reason("file", str(dep), after="is missing: it would fail")] if lost else []
        dep.hash_info, dep.meta = now
        if not recorded or now[0] == before:
            return []
        return [Reason("file", str(dep), after="is changed" if before else "is new to it")]

    def _compare_outs(self, stage: Any, recorded: bool) -> list[Reason]:
        reasons = []
        for out in stage.outs if recorded else ():
            if not out.hash_info:
                reasons.append(Reason("output", str(out), after="is not made yet"))
            elif (now := self._on_disk(out)) is None:
                in_cache = self._in_cache(out.hash_info)
                self.missing.append(Missing(str(out), stage.addressing, in_cache))
            elif now[0] != out.hash_info:
                reasons.append(Reason("output", str(out), after="was changed by hand"))
        return reasons

    def _on_disk(self, item: Any) -> tuple[Any, Any] | None:
        return (item.get_hash(), item.get_meta()) if item.exists else None

    def _in_cache(self, hash_info: Any) -> bool:
        from dvc_data.hashfile.tree import Tree

        odb = self.repo.cache.local
        if not hash_info or not odb.exists(hash_info.value):
            return False
        if not hash_info.isdir:
            return True
        return all(odb.exists(entry.value) for _, _, entry in Tree.load(odb, hash_info))

    def _restored(self, stage: Any, reasons: list[Reason]) -> dict[str, tuple[Any, Any]] | None:
        """What DVC would restore as outputs; None where it has to run the command."""
        from dvc.stage.cache import _get_cache_hash
        from dvc.stage.serialize import to_single_stage_lockfile
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.meta import Meta

        if all(reason.kind == "output" for reason in reasons) and not stage.always_changed:
            found = {out.fs_path: (out.hash_info, out.meta) for out in stage.outs}
            return found if all(self._in_cache(known) for known, _ in found.values()) else None
        if stage.always_changed or not all(dep.hash_info for dep in stage.deps):
            return None
        key = _get_cache_hash(to_single_stage_lockfile(stage), key=True)
        runs = list((Path(self.repo.stage_cache.cache_dir) / key[:2] / key).glob("*"))
        if not runs:
            return None
        newest = max(runs, key=lambda path: path.stat().st_mtime)
        entry = read_raw(newest.read_text(encoding="utf-8"), str(newest))
        made = {item["path"]: item for item in entry["outs"]}
        found = {
            out.fs_path: (
                HashInfo("md5", made[out.def_path]["md5"]),
                Meta(isexec=made[out.def_path].get("isexec", False)),
            )
            for out in stage.outs
        }
        return found if all(self._in_cache(known) for known, _ in found.values()) else None

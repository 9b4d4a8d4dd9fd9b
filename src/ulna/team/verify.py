"""Hash every output and data set anew, in the workspace, the DVC cache and, where asked, a remote.

Each is held against its MD5 in dvc.lock or its .dvc file and its SHA-256 in manifest.sha256. What
is wrong is named, with what mends it. The exit code is 0 only if nothing is.

DVC itself trusts what it once hashed: an object that changed on the disk is checked out in silence.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from ulna.console import progress
from ulna.errors import InputError
from ulna.team.manifest import (
    MANIFEST,
    Record,
    digest_of_list,
    read_manifest,
    record_of,
    write_manifest,
)
from ulna.team.tracked import (
    JOBS,
    LIST,
    Output,
    Place,
    Seen,
    cache_of,
    digest_of,
    files_of,
    md5_of_list,
    opened,
    outputs,
    remote_of,
)

WORKSPACE = "workspace"
DEFAULT = ""  # --remote without a name
WRITE = "./ulna verify --write, then commit manifest.sha256"


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was.

    Attributes:
        path: The file, from the root of the repository.
        place: workspace, cache, remote NAME, manifest or dvc.lock.
        what: What is wrong with it.
        mend: The command that mends it.
        md5: Of the object that `--mend` can replace; empty if it is not for it to replace.
    """

    path: str
    place: str
    what: str
    mend: str
    md5: str = ""


@dataclass
class Evidence:
    """What was found.

    Attributes:
        outputs: What dvc.lock and the .dvc files name.
        files: Output -> its files, path -> MD5; no entry if a folder's list is nowhere.
        workspace: Path -> what was read; None if missing.
        stores: Place -> MD5 -> what was read; None if missing. The cache comes first.
        extra: Files in folders of outputs that no list names.
        absent: Outputs of which nothing is in the workspace.
    """

    outputs: Sequence[Output]
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    workspace: dict[str, Seen | None] = field(default_factory=dict)
    stores: dict[str, dict[str, Seen | None]] = field(default_factory=dict)
    extra: list[tuple[str, Output]] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)

    def objects(self, output: Output) -> dict[str, str]:
        """MD5 -> path of all that a store holds for an output."""
        found = {md5: path for path, md5 in self.files.get(output.path, {}).items()}
        return {**found, output.md5: output.path}

    def is_sound(self, place: str, md5: str, path: str = "") -> bool:
        """Whether an object, or the file at a path in the workspace, has its MD5."""
        seen = self.workspace.get(path) if place == WORKSPACE else self.stores[place].get(md5)
        return seen is not None and seen.md5 == md5.removesuffix(LIST)

    def where_sound(self, md5: str, path: str) -> list[str]:
        """The places that hold sound bytes."""
        return [place for place in (WORKSPACE, *self.stores) if self.is_sound(place, md5, path)]


def look(repo: Any, places: Sequence[Place], label: str = "verify") -> Evidence:
    """Read and hash everything.

    Args:
        repo: DVC's repository.
        places: The cache, and the remote if it is asked for.
        label: Which command reads.
    """
    root = Path(repo.root_dir)
    found = Evidence([output for output in outputs(repo) if output.md5])
    work: list[tuple[str, str, Callable[[], Seen | None]]] = []
    for output in found.outputs:
        if not os.path.lexists(root / output.path):
            found.absent.add(output.path)
        files = files_of(output, places)
        if files is None and not output.cached:
            files = _files_of_git(repo, output)
        if files is None:
            continue
        found.files[output.path] = files
        if output.path not in found.absent:
            for path in files:
                work.append((WORKSPACE, path, lambda path=path: digest_of(root / path)))  # type: ignore[misc]
            if output.is_folder:
                found.extra += [(path, output) for path in _files_in(repo, output)
                                if path not in files]  # fmt: skip
    for place in places:
        wanted = {
            md5
            for output in found.outputs
            if output.cached and (output.shared or place.local)
            for md5 in found.objects(output)
        }
        present = place.sizes(wanted)
        found.stores[place.name] = dict.fromkeys(wanted)
        for md5 in sorted(present):
            work.append((place.name, md5, lambda place=place, md5=md5: place.read(md5)))  # type: ignore[misc]
    with ThreadPoolExecutor(JOBS) as pool:
        results = pool.map(lambda item: item[2](), work)
        for (where, key, _), seen in zip(
            work, progress(results, len(work), f"{label}: hashing", "files"), strict=True
        ):
            (found.workspace if where == WORKSPACE else found.stores[where])[key] = seen
    return found


def _files_in(repo: Any, output: Output) -> Iterator[str]:
    root = repo.root_dir
    for folder, _, names in repo.dvcignore.walk(repo.fs, os.path.join(root, output.path)):
        for name in names:
            yield Path(folder, name).relative_to(root).as_posix()


def _files_of_git(repo: Any, output: Output) -> dict[str, str] | None:
    """The files of a folder that git holds, whose list no store has: those here, if it is theirs.

    Returns:
        Path -> MD5; None if they are not those of dvc.lock.
    """
    files = {}
    for path in sorted(_files_in(repo, output)):
        if seen := digest_of(Path(repo.root_dir, path)):
            files[path] = seen.md5
    top = len(output.path) + 1
    if md5_of_list({path[top:]: md5 for path, md5 in files.items()}) != output.md5:
        return None
    return files


def judge(found: Evidence, manifest: Mapping[str, Record]) -> list[Fault]:
    """Name what is wrong, in the order of the outputs."""
    faults: list[Fault] = []
    for output in found.outputs:
        faults += _faults_of(output, found)
        if manifest:
            faults += _faults_by_manifest(output, found, manifest.get(output.path))
    if not manifest:
        faults.append(Fault(str(MANIFEST), "manifest", "is missing, so no SHA-256 is known", WRITE))
    for path, output in found.extra:
        faults.append(
            Fault(path, WORKSPACE, f"is not part of {output.path} in dvc.lock", f"rm {quote(path)}")
        )
    known = {output.path for output in found.outputs}
    for path in manifest.keys() - known:
        faults.append(Fault(path, "manifest", "is no longer in dvc.lock", WRITE))
    return faults


def _faults_of(output: Output, found: Evidence) -> Iterator[Fault]:
    absent = output.path in found.absent
    stores = [place for place in found.stores if output.cached]
    if output.path not in found.files:
        if not output.cached:
            what = "missing" if absent else "is not the folder that dvc.lock names"
            yield Fault(output.path, WORKSPACE, what, _from_git(output.path))
            return
        if absent and not stores[1:] and found.stores[stores[0]].get(output.md5) is None:
            yield _not_here(output)
            return
        places = " and ".join(stores)
        yield Fault(
            output.path, places, "its list of files is missing or damaged", _from_elsewhere(output)
        )
        return
    files = found.files[output.path]
    if absent and not output.cached:
        yield Fault(output.path, WORKSPACE, "missing", _from_git(output.path))
    objects = found.objects(output)
    unknown: set[str] = set()
    for md5, path in objects.items():
        sound = found.where_sound(md5, path)
        sizes = [found.workspace[path].size] if WORKSPACE in sound else []  # type: ignore[union-attr]
        sizes += [found.stores[place][md5].size for place in sound if place != WORKSPACE]  # type: ignore[union-attr]
        size = sizes[0] if sizes else None if output.is_folder else output.size
        if not absent and path in files and WORKSPACE not in sound:
            yield Fault(
                path,
                WORKSPACE,
                _what(found.workspace[path], size),
                _mend_workspace(output, path, sound),
            )
        for place in stores:
            if place in sound or md5 not in found.stores[place]:
                continue
            seen = found.stores[place][md5]
            # A clone that has not pulled this output holds none of it, and lacks nothing.
            is_cache = place == stores[0]
            if is_cache and absent and not any(found.stores[place].get(m) for m in objects):
                if not sound:
                    unknown.add(path)
                continue
            yield Fault(path, place, _what(seen, size), _mend_object(output, place, sound), md5)
    if unknown and not stores[1:]:
        yield _not_here(output)


def _not_here(output: Output) -> Fault:
    return Fault(
        output.path,
        f"{WORKSPACE} and cache",
        "not here, so nothing was checked",
        f"dvc pull {quote(output.path)}, or look in the remote: ./ulna verify --remote",
    )


def _what(seen: Seen | None, size: int | None) -> str:
    if seen is None:
        return "missing"
    if size is not None and seen.size < size:
        return f"truncated: {seen.size} of {size} bytes"
    if size is not None and seen.size > size:
        return f"changed: {seen.size} instead of {size} bytes"
    return f"changed bytes: their MD5 is {seen.md5}"


def _mend_workspace(output: Output, path: str, sound: Sequence[str]) -> str:
    if not output.cached:
        return _from_git(path)
    if sound and sound[0] == "cache":
        # Without rm, DVC takes a file whose time and size are as it left them for unchanged.
        return f"rm -f {quote(path)} && dvc checkout --force {quote(output.path)}"
    if sound:
        return f"rm -f {quote(path)} && dvc pull --force {quote(output.path)}"
    return _from_elsewhere(output)


def _from_git(path: str) -> str:
    return f"git checkout -- {quote(path)}, or dvc repro if you changed what it follows from"


def _mend_object(output: Output, place: str, sound: Sequence[str]) -> str:
    named = f" --remote {place.split()[1]}" if place != "cache" else ""
    if not sound:
        return _from_elsewhere(output)
    if place == "cache" and sound[0] != WORKSPACE:
        named = f" --remote {sound[0].split()[1]}"
    source = "workspace" if sound[0] == WORKSPACE else sound[0]
    return f"./ulna verify{named} --mend, which takes the bytes from the {source}"


def _from_elsewhere(output: Output) -> str:
    again = f"dvc repro --force {quote(output.stage)}"
    if output.stage.endswith(".dvc"):
        again = "the original, by dvc add or dvc update"
    return f"another clone's ./ulna share or ./ulna verify --remote NAME --mend; else {again}"


def _faults_by_manifest(output: Output, found: Evidence, record: Record | None) -> Iterator[Fault]:
    if record is None:
        yield Fault(output.path, "manifest", "has no SHA-256 yet", WRITE)
        return
    if record.md5 != output.md5:
        yield Fault(output.path, "manifest", "has the SHA-256 of an older dvc.lock", WRITE)
        return
    files = found.files.get(output.path)
    if files is None:
        return
    for place in (WORKSPACE, *found.stores):
        seen = {
            path: found.workspace.get(path) if place == WORKSPACE else found.stores[place].get(md5)
            for path, md5 in files.items()
            if found.is_sound(place, md5, path)
        }
        digests = {path: read.sha256 for path, read in seen.items() if read is not None}
        if record.of_list:
            whole = len(digests) == len(files)
            same = not whole or digest_of_list(output.path, digests) == record.of_list
            wrong = [] if same else [output.path]
        else:
            wrong = [path for path in digests if digests[path] != record.files.get(path)]
        for path in wrong:
            yield Fault(
                path,
                place,
                "has the MD5 of dvc.lock but another SHA-256: other bytes, made to look the same, "
                "or a manifest that somebody changed",
                f"git log -- {MANIFEST}; if that is sound, do not use these bytes",
            )


def mend(found: Evidence, faults: Sequence[Fault], repo: Any, places: Sequence[Place]) -> int:
    """Put sound bytes in place of wrong objects in the cache and the remote.

    Files of the workspace stay as they are: they may be somebody's work.

    Returns:
        How many objects were replaced.
    """
    by_name = {place.name: place for place in places}
    done: set[tuple[str, str]] = set()
    for fault in faults:
        if not fault.md5 or (fault.place, fault.md5) in done:
            continue
        sound = found.where_sound(fault.md5, fault.path)
        if not sound:
            continue
        target = by_name[fault.place]
        if sound[0] == WORKSPACE:
            target.replace(fault.md5, Path(repo.root_dir, fault.path))
        else:
            source = by_name[sound[0]]
            with tempfile.TemporaryDirectory(dir=repo.tmp_dir) as folder:
                copy = Path(folder, "object")
                with source.reached():
                    path = source.odb.oid_to_path(fault.md5)
                    source.odb.fs.get_file(path, os.fspath(copy))
                target.replace(fault.md5, copy)
        done.add((fault.place, fault.md5))
    return len(done)


def refresh(repo: Any, found: Evidence, records: Mapping[str, Record]) -> bool:
    """Write the manifest anew from bytes that have the MD5 of dvc.lock.

    Args:
        repo: DVC's repository.
        found: What was read.
        records: What the manifest says now: it holds for what is not here, if it is of the same
            MD5.

    Returns:
        Whether it changed.

    Raises:
        InputError: An output is nowhere sound, and the manifest does not have it.
    """
    fresh = {}
    for output in found.outputs:
        digests = {}
        for path, md5 in found.files.get(output.path, {}).items():
            for place in found.where_sound(md5, path)[:1]:
                seen = found.workspace[path] if place == WORKSPACE else found.stores[place][md5]
                assert seen is not None
                digests[path] = seen.sha256
        former = records.get(output.path)
        if former and former.md5 == output.md5:
            fresh[output.path] = former
        elif output.path in found.files and len(digests) == len(found.files[output.path]):
            fresh[output.path] = record_of(output, digests)
        else:
            raise InputError(
                f"{output.path} is neither here nor in the cache as dvc.lock names it, so its "
                "SHA-256 cannot be written: `dvc pull` or `dvc repro` first (`./ulna verify` says "
                "which file)"
            )
    return write_manifest(Path(repo.root_dir, MANIFEST), fresh)


def in_words(faults: Sequence[Fault]) -> str:
    """Name every fault; files of the same fault and mend stand together."""
    together: dict[tuple[str, str, str], list[str]] = {}
    for fault in faults:
        together.setdefault((fault.place, fault.what, fault.mend), []).append(fault.path)
    lines = []
    for (place, what, mending), paths in together.items():
        lines += [*paths, f"  {place}: {what}", f"  mend: {mending}"]
    return "".join(f"{line}\n" for line in lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `./ulna verify` understands."""
    parser.add_argument(
        "--remote",
        nargs="?",
        const=DEFAULT,
        metavar="NAME",
        help="read this remote as well, all of it; without a name, the default remote",
    )
    parser.add_argument(
        "--mend",
        action="store_true",
        help="replace wrong objects of the cache and the remote by sound bytes from elsewhere",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help=f"write {MANIFEST} anew from what has the MD5 of dvc.lock",
    )


def run(arguments: argparse.Namespace) -> None:
    """Look, say, and mend or write where asked."""
    with opened() as repo:
        places = [cache_of(repo)]
        if arguments.remote is not None:
            name, place = remote_of(repo, arguments.remote or None)
            places.append(place)
            if not repo.config["remote"][name].get("verify"):
                print(
                    f"verify: DVC takes what remote {name} hands out without hashing it: "
                    f"`dvc remote modify {name} verify true`"
                )
        faults, found = _examine(repo, places, arguments)
        stale = [stage for stage in outputs(repo) if not stage.md5]
    for output in stale:
        faults.append(
            Fault(output.path, "dvc.lock", "was never made", f"dvc repro {quote(output.stage)}")
        )
    print(in_words(faults), end="")
    here = len(found.outputs) - len(found.absent)
    looked = " and ".join(["workspace", *found.stores])
    print(
        f"verify: {len(found.outputs)} outputs and data sets, {here} of them here; looked at "
        f"{looked}: {f'{len(faults)} faults' if faults else 'all is well'}"
    )
    if faults:
        raise SystemExit(1)


def _examine(
    repo: Any, places: Sequence[Place], arguments: argparse.Namespace
) -> tuple[list[Fault], Evidence]:
    path = Path(repo.root_dir, MANIFEST)
    found = look(repo, places)
    if arguments.mend:
        count = mend(found, judge(found, {}), repo, places)
        print(f"verify: {count} objects replaced")
        if count:
            found = look(repo, places)
    if arguments.write:
        # What it says of outputs that are here is not asked: it may be what is wrong.
        try:
            former = read_manifest(path)
        except InputError:  # Such as what a merge left.
            former = {}
        kept = {name: record for name, record in former.items() if name in found.absent}
        if refresh(repo, found, kept):
            print(f"verify: {MANIFEST} written; commit it")
    return judge(found, read_manifest(path)), found

"""Hash every output and data set anew, in the workspace, the DVC cache and, where asked, a remote.

Each is compared with its MD5 in dvc.lock or its .dvc file and its SHA-256 in manifest.sha256. Every
mismatch is named with a code and the command that repairs it; the exit code is then 1. DVC itself
trusts what it once hashed: an object that changed on the disk is checked out in silence.

manifest.sha256 is in git, since MD5 does not protect against intent: other bytes of the same MD5
can be made. `sha256sum --check` reads it. Names of files in a data set may identify patients: what
a .dvc file tracks, and a folder of many files, has one digest, that of the list which
`find . -type f | LC_ALL=C sort | xargs sha256sum` prints inside the folder.
"""

import argparse
import hashlib
import json
import os
import re
from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from shlex import quote
from typing import IO, Any, NamedTuple

from tqdm.contrib.concurrent import thread_map

from ulna.core import InputError, first_ten
from ulna.core.io import write_text
from ulna.team.revisions import (
    WORKSPACE,
    git,
    in_full,
    is_lock,
    open_repo,
    stages_of,
    tracked_files,
)

MANIFEST = Path("manifest.sha256")
HEAD = (
    "# SHA-256 of what dvc.lock and the .dvc files name; ./ulna share writes it, ./ulna verify\n"
    "# reads it. Without ulna: sha256sum --check --ignore-missing manifest.sha256\n"
)
# The manifest's lines of an output: its MD5 in dvc.lock, then either each file or the list of many.
LIST_LINE = "# sha256 of the list of its"
LINE = re.compile(
    rf"# md5 [0-9a-f]{{32}}(?:\.dir)?  (.+)|{LIST_LINE} \d+ files [0-9a-f]{{64}}|[0-9a-f]{{64}}  .+"
)
Records = Mapping[str, Sequence[str]]  # path of an output -> its lines
MOST_LISTED = 50

CACHE, REMOTE = "cache", "remote"  # the places beside the workspace
LIST = ".dir"  # DVC's ending for the MD5 of a folder: that of the list of its files
JOBS = 8  # at once: small files of a remote take the time of the way

# Codes of a mismatch.
MISSING, CHANGED, ABSENT = "missing", "changed", "absent"  # absent: not pulled, so not checked
OTHER_SHA256 = "other_sha256"  # with the MD5 of dvc.lock: bytes made to look the same
UNRECORDED, OUTDATED = "unrecorded", "outdated"  # the manifest lacks it, or is older than dvc.lock
# Place (kept: what git has; what the workspace has) or code -> the commands that repair it.
FIXES = {
    # Without rm, DVC takes a file whose time and size are as it left them for unchanged.
    WORKSPACE: "rm -f {path} && dvc checkout --force {output}",
    f"{WORKSPACE}_kept": "git checkout -- {path}, or dvc repro if you changed what it follows from",
    CACHE: "rm -f $(dvc cache dir)/{stored} && dvc fetch {output}",
    # Not `dvc commit`: it would record whatever else has changed.
    f"{CACHE}_kept": "install -D -m 444 {path} $(dvc cache dir)/{stored}",
    REMOTE: "remove {stored} there, if it is, then ./ulna share from a clone that has it",
    MANIFEST.name: "./ulna verify --write, then commit manifest.sha256",
    ABSENT: "dvc pull {output}, or ./ulna verify --remote",
    OTHER_SHA256: "git log -- manifest.sha256; if that is as it should be, do not use these bytes",
}


class Output(NamedTuple):
    """A file or folder that dvc.lock or a .dvc file names."""

    path: str
    md5: str
    stage: str
    in_git: bool = False
    imported: bool = False  # from another repository

    def is_kept_in(self, store: str) -> bool:
        """Whether DVC keeps it there; an import it sends to no remote."""
        return not self.in_git and not (self.imported and store == REMOTE)

    def is_here(self) -> bool:
        """Whether it should be in the workspace: what git does not hold may not be pulled."""
        return self.in_git or os.path.lexists(self.path)


class Digest(NamedTuple):
    """The hashes of a file that was read."""

    md5: str
    sha256: str


class Mismatch(NamedTuple):
    """A file (from the root of the repository) that does not match, where, and its repair."""

    path: str
    place: str
    code: str
    fix: str  # a key of `FIXES`
    output: str
    md5: str = ""


class ObjectStore(NamedTuple):
    """Objects by their MD5: the DVC cache, or a remote."""

    name: str
    odb: Any  # DVC has no public way to read an object

    def sizes(self, wanted: Collection[str]) -> dict[str, int]:
        """The objects that are there, and their bytes: by listing, so nothing is fetched."""
        # DVC remembers what it once sent, and takes a folder for whole if its list is there.
        fs = self.odb.fs
        fs.fs.invalidate_cache()

        def listed(prefix: str) -> list[Any]:
            with suppress(FileNotFoundError):
                return list(fs.ls(fs.join(self.odb.path, prefix), detail=True))
            return []

        with ThreadPoolExecutor(JOBS) as pool:
            entries = chain.from_iterable(pool.map(listed, {md5[:2] for md5 in wanted}))
            sizes = {"".join(fs.parts(entry["name"])[-2:]): entry["size"] for entry in entries}
        return {md5: sizes[md5] for md5 in wanted if md5 in sizes}

    def runs(self) -> tuple[str, dict[str, int]]:
        """Where the records of DVC's run cache lie, and each with its bytes."""
        fs = self.odb.fs
        top = fs.join(fs.parent(fs.parent(self.odb.path)), "runs")
        paths = list(fs.find(top)) if fs.exists(top) else []
        names = ("/".join(fs.parts(path)[-3:]) for path in paths)
        with ThreadPoolExecutor(JOBS) as pool:
            return top, dict(zip(names, pool.map(fs.size, paths), strict=True))

    def read(self, md5: str) -> Digest | None:
        """Hash an object; None if there is none."""
        return digest_of(lambda: self.odb.fs.open(self.odb.oid_to_path(md5), "rb"))

    def listing(self, md5: str) -> dict[str, str] | None:
        """The files of a folder, name -> MD5, if its list is here and intact."""
        with suppress(FileNotFoundError), self.odb.fs.open(self.odb.oid_to_path(md5), "rb") as file:
            content = file.read()
            if hashlib.md5(content, usedforsecurity=False).hexdigest() + LIST == md5:
                return {entry["relpath"]: entry["md5"] for entry in json.loads(content)}
        return None


def digest_of(opened: Callable[[], IO[bytes]]) -> Digest | None:
    """Read a file once, piece by piece, and hash it both ways; None if there is none."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with suppress(FileNotFoundError, NotADirectoryError), opened() as file:
        while chunk := file.read(2**20):
            md5.update(chunk)
            sha256.update(chunk)
        return Digest(md5.hexdigest(), sha256.hexdigest())
    return None


@contextmanager
def open_remote(repo: Any, name: str | None) -> Iterator[ObjectStore]:
    """A remote, or the default one; whatever its library raises becomes one InputError."""
    known = list(repo.config["remote"])
    chosen = name or repo.config["core"].get("remote")
    if chosen not in known:
        fix = (
            "name another, or `dvc remote add --default NAME URL`, a folder, ssh://... or s3://..."
        )
        with suppress(InputError):
            if not known and "remote" in git("show", "HEAD:./.dvc/config"):
                fix = (
                    "`git checkout HEAD -- .dvc/config` brings back that of the last commit, which "
                )
                fix += "`dvc exp apply` of an older experiment took away"
        there = ", ".join(known) or "none"
        what = f"remote {chosen} is not set up" if chosen else "no default remote is set up"
        raise InputError(f"{what} (known: {there}): {fix}")
    try:
        yield ObjectStore(REMOTE, repo.cloud.get_remote(chosen).odb)
    except InputError:
        raise
    except Exception as error:  # each library has errors of its own, not all of them OSErrors
        # An address may hold a password.
        reason = re.sub("//([^/:]*):[^/]*@", r"//\1:***@", in_full(error))
        advice = "`dvc remote list`, the key, the network; `make remotes` installs ssh:// and s3://"
        problem = f"remote {chosen} does not answer as it should: {reason}. Nothing was lost"
        raise InputError(f"{problem}; look at {advice}") from None


def outputs(commit: str = WORKSPACE) -> list[Output]:
    """All that the dvc.lock and .dvc files name, here or at a commit."""
    tracked, known = dict.fromkeys(tracked_files(commit)), list[Output]()
    for path in tracked:
        if not (is_lock(path) or path.endswith(".dvc")):
            continue
        try:
            stages = stages_of(path, commit)
        except InputError as error:
            if commit == WORKSPACE:
                raise
            print(f"left out: {error}")  # a conflict that was committed: nobody can mend the past
            continue
        for stage, entry in stages.items():
            imported = any("repo" in dep for dep in entry["deps"])
            known += [
                Output(out["path"], out["md5"], stage, out["path"] in tracked, imported)
                for out in entry["outs"]
                if "md5" in out
            ]
    return known


def files_of(output: Output, stores: Iterable[ObjectStore]) -> dict[str, str]:
    """The files of an output, path -> MD5; none if a folder's list is in no store."""
    if not output.md5.endswith(LIST):
        return {output.path: output.md5}
    listing = next(filter(None, (store.listing(output.md5) for store in stores)), {})
    return {f"{output.path}/{name}": md5 for name, md5 in sorted(listing.items())}


def objects_of(output: Output, files: Mapping[str, str]) -> dict[str, str]:
    """MD5 -> path of all that a store holds for an output: its files, and a folder's list."""
    return {md5: path for path, md5 in files.items()} | {output.md5: output.path}


def hash_all(keys: Iterable[str], read: Callable[..., Any], place: str) -> dict[str, Digest | None]:
    """Key -> digest, None of what is not there."""
    wanted, label = sorted(set(keys)), f"hashing {place}"
    digests = thread_map(read, wanted, max_workers=JOBS, desc=label, unit=" files", disable=None)
    return dict(zip(wanted, digests, strict=True))


class Scan(NamedTuple):
    """All outputs and what was read of them."""

    outputs: Sequence[Output]
    files: Mapping[str, Mapping[str, str]]  # output -> path -> MD5; none if a folder's list is lost
    digests: Mapping[str, Mapping[str, Digest | None]]  # place -> path, in a store MD5 -> digest

    def intact(self, output: Output, place: str) -> dict[str, str]:
        """The files of an output that have their MD5 in a place: path -> SHA-256."""
        read = self.digests[place]
        return {
            path: digest.sha256
            for path, md5 in self.files[output.path].items()
            if (digest := read.get(path if place == WORKSPACE else md5)) and digest.md5 == md5
        }


def scan(known: Sequence[Output], stores: Sequence[ObjectStore]) -> Scan:
    """Read and hash everything, in the workspace and in the stores: the cache, and a remote."""
    files = {output.path: files_of(output, stores) for output in known}
    names = [name for output in known if output.is_here() for name in files[output.path]]
    read = dict[str, Mapping[str, Digest | None]]()
    for store in stores:
        kept = (output for output in known if output.is_kept_in(store.name))
        wanted = set[str]().union(*(objects_of(output, files[output.path]) for output in kept))
        there = hash_all(store.sizes(wanted), store.read, store.name)
        read[store.name] = dict.fromkeys(wanted) | there
    # Last: an object is repaired before the file that is checked out from it.
    read[WORKSPACE] = hash_all(names, lambda name: digest_of(lambda: open(name, "rb")), WORKSPACE)
    return Scan(known, files, read)


def find_mismatches(read: Scan, manifest: Records) -> list[Mismatch]:
    """List what differs from dvc.lock and the manifest, in the order of the outputs."""
    mismatches = list[Mismatch]()
    for output in read.outputs:
        path, objects = output.path, objects_of(output, read.files[output.path])
        local = output.is_here() or any(read.digests[CACHE].get(md5) for md5 in objects)
        if not (local or REMOTE in read.digests):  # a clone that has not pulled this lacks nothing
            mismatches.append(Mismatch(path, WORKSPACE, ABSENT, ABSENT, path))
        for place in read.digests if local else read.digests.keys() & {REMOTE}:
            mismatches += _in_place(output, place, read)
        mismatches += _in_manifest(output, read, manifest.get(path))
    for path in sorted(manifest.keys() - {output.path for output in read.outputs}):
        mismatches.append(Mismatch(path, MANIFEST.name, OUTDATED, MANIFEST.name, path))
    return mismatches


def _in_place(output: Output, place: str, read: Scan) -> Iterator[Mismatch]:
    here, files = read.intact(output, WORKSPACE), read.files[output.path]
    stored = [(path, md5) for md5, path in objects_of(output, files).items()]
    digests = read.digests[place]
    for path, md5 in files.items() if place == WORKSPACE else stored:
        digest = digests.get(key := path if place == WORKSPACE else md5)
        if key in digests and (digest is None or digest.md5 != md5.removesuffix(LIST)):
            kept = {WORKSPACE: output.in_git, CACHE: path in here}.get(place)
            code, fix = (MISSING, CHANGED)[bool(digest)], f"{place}_kept" if kept else place
            yield Mismatch(path, place, code, fix, output.path, md5)


def _in_manifest(output: Output, read: Scan, record: Sequence[str] | None) -> Iterator[Mismatch]:
    if record is None or record[0] != record_of(output, {})[0]:
        code = OUTDATED if record else UNRECORDED
        yield Mismatch(output.path, MANIFEST.name, code, MANIFEST.name, output.path)
        return
    for place in read.digests:
        intact = read.intact(output, place)
        lines = {path: {f"{sha256}  {path}"} for path, sha256 in intact.items()}
        if record[-1].startswith(LIST_LINE):  # of a folder that is there in part it tells nothing
            whole = 0 < len(intact) == len(read.files[output.path])
            lines = {output.path: set(record_of(output, intact))} if whole else {}
        for path in lines:
            if not lines[path] <= set(record):
                yield Mismatch(path, place, OTHER_SHA256, OTHER_SHA256, path)


def record_of(output: Output, digests: Mapping[str, str]) -> list[str]:
    """Make the manifest's lines of an output from the SHA-256 of each of its files."""
    by_hand, head = output.stage.endswith(".dvc"), f"# md5 {output.md5}  {output.path}"
    if output.md5.endswith(LIST) and (by_hand or len(digests) > MOST_LISTED):
        return [head, f"{LIST_LINE} {len(digests)} files {digest_of_list(output.path, digests)}"]
    return [head, *(f"{sha256}  {path}" for path, sha256 in sorted(digests.items()))]


def digest_of_list(folder: str, digests: Mapping[str, str]) -> str:
    """SHA-256 of what sha256sum prints for the files of a folder, in the order of their bytes."""
    order = sorted(digests, key=str.encode)
    text = "".join(f"{digests[path]}  .{path.removeprefix(folder)}\n" for path in order)
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(path: Path, records: Records) -> None:
    """Write the records, sorted by path."""
    lines = chain.from_iterable(records[output] for output in sorted(records))
    write_text(path, HEAD + "".join(f"{line}\n" for line in lines))


def read_manifest(path: Path) -> dict[str, list[str]]:
    """Read the records; none if there is no manifest."""
    records, output = dict[str, list[str]](), ""
    for number, line in enumerate(path.read_text("utf-8").splitlines() if path.exists() else (), 1):
        match = LINE.fullmatch(line)
        if match and match[1]:
            records[output := match[1]] = [line]
        elif match and output:
            records[output].append(line)
        elif f"{line}\n" not in HEAD:
            problem = f"{path}, line {number}, is not a digest and a path as sha256sum writes them"
            raise InputError(f"{problem}: after a merge, `./ulna verify --write` writes it anew")
    return records


def refresh(read: Scan, former: Records) -> None:
    """Write the manifest anew: former records of the MD5 of dvc.lock, else from intact bytes."""
    records = {}
    for output in read.outputs:
        records[output.path] = former.get(output.path, [""])
        if records[output.path][0] != record_of(output, {})[0]:
            known = dict(ChainMap(*(read.intact(output, place) for place in read.digests)))
            if not 0 < len(known) == len(read.files[output.path]):
                what = f"{output.path} is neither here nor in the cache as dvc.lock names it"
                raise InputError(f"{what}, so has no SHA-256: `dvc pull` or `dvc repro` first")
            records[output.path] = record_of(output, known)
    write_manifest(MANIFEST, records)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ulna verify`."""
    remote = "read this remote as well, all of it; without a name, the default one"
    parser.add_argument("--remote", nargs="?", const="", metavar="NAME", help=remote)
    write = f"write {MANIFEST} anew from what has the MD5 of dvc.lock"
    parser.add_argument("--write", action="store_true", help=write)
    parser.add_argument("--all", action="store_true", help="list all mismatches, not the first ten")


def run(arguments: argparse.Namespace) -> None:
    """Scan, write the manifest if asked to, print; the exit code is 1 if anything mismatches."""
    with open_repo() as repo, ExitStack() as stack:
        stores = [ObjectStore(CACHE, repo.cache.local)]
        if arguments.remote is not None:
            stores.append(stack.enter_context(open_remote(repo, arguments.remote)))
        read = scan(outputs(), stores)
    if arguments.write:
        former: dict[str, list[str]] = {}
        with suppress(InputError):  # such as what a merge left
            former = read_manifest(MANIFEST)
        # Records of outputs that are here are dropped: they may be what is wrong.
        refresh(read, {path: former[path] for path in former if not os.path.lexists(path)})
    mismatches = find_mismatches(read, read_manifest(MANIFEST))
    texts = []
    for path, place, code, fix, output, md5 in mismatches:
        stored = f"files/md5/{md5[:2]}/{md5[2:]}"
        repair = FIXES[fix].format(path=quote(path), output=quote(output), stored=stored)
        texts.append(f"{path}\n  {place}: {code}\n  fix: {repair}")
    if texts:
        print("\n".join(texts) if arguments.all else first_ten(texts))
    places = ", ".join(read.digests)
    print(f"verify: {len(read.outputs)} outputs, in {places}: {len(mismatches)} mismatches")
    if mismatches:
        raise SystemExit(1)

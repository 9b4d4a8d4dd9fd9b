"""Hash every output and data set anew, in the workspace, the DVC cache and, where asked, a remote.

Each is held against its MD5 in dvc.lock or its .dvc file and its SHA-256 in manifest.sha256. What
does not match is named with a code and the command that mends it; the exit code is then 1.

DVC itself trusts what it once hashed: an object that changed on the disk is checked out in silence.
manifest.sha256 is in git, so that whoever has the repository can tell bytes that were exchanged
from those that were made: MD5 no longer stands against intent. `sha256sum --check` reads it. Names
of files in a data set may tell of patients, so what a .dvc file tracks, and folders of many files,
have one digest, that of the list which `find . -type f | LC_ALL=C sort | xargs sha256sum` prints
inside the folder.
"""

import argparse
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import IO, Any

from ulna.console import progress
from ulna.errors import InputError
from ulna.files import write_text
from ulna.team.revisions import LOCK, WORKSPACE, git, in_full, open_repo, parse_yaml

MANIFEST = Path("manifest.sha256")
HEAD = (
    "# SHA-256 of what dvc.lock and the .dvc files name; ./ulna share writes it, ./ulna verify\n"
    "# reads it. Without ulna: sha256sum --check --ignore-missing manifest.sha256\n"
)
MOST_LISTED = 50
OF_OUTPUT = re.compile(r"# md5 ([0-9a-f]{32}(?:\.dir)?)  (.+)")
OF_LIST = re.compile(r"# sha256 of the list of its (\d+) files ([0-9a-f]{64})")
OF_FILE = re.compile(r"([0-9a-f]{64})  (.+)")

LIST = ".dir"  # DVC's ending for the MD5 of a folder: that of the list of its files
CHUNK_BYTES = 2**20
JOBS = 8  # at once: small files of a remote take the time of the way

# Codes of a mismatch.
MISSING, CHANGED, ABSENT = "missing", "changed", "absent"  # absent: not pulled, so not checked
OTHER_SHA256 = "other_sha256"  # with the MD5 of dvc.lock: bytes made to look the same
UNRECORDED, OUTDATED = "unrecorded", "outdated"  # the manifest lacks it, or is older than dvc.lock
CACHE, REMOTE = "cache", "remote"  # the places beside the workspace
WRITE = "./ulna verify --write, then commit manifest.sha256"
DEFAULT = ""  # --remote without a name


@dataclass(frozen=True)
class Output:
    """A file or folder that dvc.lock or a .dvc file names."""

    path: str
    md5: str
    stage: str
    in_git: bool = False
    imported: bool = False  # from another repository: DVC sends it to no remote

    @property
    def is_folder(self) -> bool:
        """Whether it has a list of files."""
        return self.md5.endswith(LIST)


@dataclass(frozen=True)
class Digest:
    """What was read of a file: its MD5 and SHA-256."""

    md5: str
    sha256: str


@dataclass(frozen=True)
class Mismatch:
    """Something that is not as it was.

    Attributes:
        path: The file, from the root of the repository.
        place: workspace, cache, remote or manifest.
        code: One of the above.
        fix: The command that mends it.
    """

    path: str
    place: str
    code: str
    fix: str


@dataclass(frozen=True)
class Record:
    """The manifest's entry of an output: SHA-256 by file, or of the list of so many files."""

    md5: str
    files: Mapping[str, str]
    of_list: str = ""
    count: int = 0


@dataclass(frozen=True)
class ObjectStore:
    """Objects by their MD5: the DVC cache, or a remote. DVC has no public way to read one."""

    name: str
    odb: Any

    def sizes(self, wanted: Collection[str]) -> dict[str, int]:
        """The objects that are there, and their bytes: by listing, so nothing is fetched.

        DVC remembers what it once sent, and takes a folder for whole if its list is there.
        """
        fs = self.odb.fs
        fs.fs.invalidate_cache()

        def listed(start: str) -> list[Any]:
            with suppress(FileNotFoundError):
                return list(fs.ls(fs.join(self.odb.path, start), detail=True))
            return []

        with ThreadPoolExecutor(JOBS) as pool:
            starts = sorted({md5[:2] for md5 in wanted})
            entries = [entry for found in pool.map(listed, starts) for entry in found]
        sizes = {"".join(fs.parts(e["name"])[-2:]): e["size"] for e in entries}
        return {md5: sizes[md5] for md5 in wanted if md5 in sizes}

    def run_path(self, name: str) -> str:
        """Where a record of DVC's run cache lies, or all of them."""
        fs = self.odb.fs
        return str(
            fs.join(fs.parent(fs.parent(self.odb.path)), "runs", *name.split("/") if name else ())
        )

    def runs(self) -> dict[str, int]:
        """The records of runs and their bytes."""
        fs, top = self.odb.fs, self.run_path("")
        found = list(fs.find(top)) if fs.exists(top) else []
        with ThreadPoolExecutor(JOBS) as pool:
            sizes = list(pool.map(fs.size, found))
        return {
            "/".join(fs.parts(path)[-3:]): size for path, size in zip(found, sizes, strict=True)
        }

    def read(self, md5: str) -> Digest | None:
        """Hash an object; None if there is none."""
        with suppress(FileNotFoundError), self.odb.fs.open(self.odb.oid_to_path(md5), "rb") as file:
            return digest(file)
        return None

    def listing(self, md5: str) -> dict[str, str] | None:
        """The files of a folder, name -> MD5, if its list is here and intact."""
        with suppress(FileNotFoundError), self.odb.fs.open(self.odb.oid_to_path(md5), "rb") as file:
            content = file.read()
            if hashlib.md5(content, usedforsecurity=False).hexdigest() + LIST == md5:
                return {entry["relpath"]: entry["md5"] for entry in json.loads(content)}
        return None


def digest(file: IO[bytes]) -> Digest:
    """Read a file once, piece by piece, and hash it both ways."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        md5.update(chunk)
        sha256.update(chunk)
    return Digest(md5.hexdigest(), sha256.hexdigest())


def digest_of(path: Path) -> Digest | None:
    """Hash a file of the workspace; None if there is none."""
    with suppress(FileNotFoundError, NotADirectoryError), path.open("rb") as file:
        return digest(file)
    return None


@contextmanager
def open_remote(repo: Any, name: str | None) -> Iterator[ObjectStore]:
    """A remote, or the default one; what its library raises becomes one sentence.

    Raises:
        InputError: There is no such remote, or it does not answer as it should.
    """
    known = list(repo.config["remote"])
    chosen = name or repo.config["core"].get("remote")
    if chosen not in known:
        raise InputError(
            f"remote {chosen or ''} is not set up, but {', '.join(known) or 'none'}: `dvc remote "
            "add --default NAME URL`, where URL is a folder, ssh://... or s3://..., or name another"
        )
    try:
        yield ObjectStore(REMOTE, repo.cloud.get_remote(chosen).odb)
    except InputError:
        raise
    except Exception as error:  # each library has errors of its own, not all of them OSErrors
        # An address may hold a password.
        reason = re.sub("//([^/:]*):[^/]*@", r"//\1:***@", in_full(error))
        raise InputError(
            f"remote {chosen} does not answer as it should: {reason}. Nothing was lost; look at "
            "`dvc remote list`, the key and the network; `make remotes` installs ssh:// and s3://"
        ) from None


def outputs(commit: str = "") -> list[Output]:
    """All that dvc.lock and the .dvc files name, here or at a commit.

    Read from git, not by DVC, which takes the config of a commit with it and stops where that is
    older than the remote.
    """
    if commit:
        tracked = git("ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    else:
        tracked = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    found: list[Output] = []
    for name in dict.fromkeys(tracked):
        folder, path = PurePosixPath(name).parent, PurePosixPath(name)
        if path.name != LOCK.name and path.suffix != ".dvc":
            continue
        text = git("show", f"{commit}:./{name}") if commit else Path(name).read_text("utf-8")
        content = parse_yaml(text, f"{name} {commit}")
        for stage, entry in content.get("stages", {name: content}).items():
            imported = any("repo" in dep for dep in entry.get("deps", []))
            for out in entry.get("outs", []):
                at = (folder / out["path"]).as_posix()
                found.append(Output(at, out.get("md5", ""), stage, at in tracked, imported))
    return [output for output in found if output.md5]


def files_of(output: Output, stores: Sequence[ObjectStore]) -> dict[str, str] | None:
    """The files of an output, path -> MD5; None if a folder's list is in no store."""
    if not output.is_folder:
        return {output.path: output.md5}
    for store in stores:
        if (listing := store.listing(output.md5)) is not None:
            return {f"{output.path}/{name}": md5 for name, md5 in sorted(listing.items())}
    return None


def hash_all(
    keys: Iterable[str], read: Callable[[str], Digest | None], place: str
) -> dict[str, Digest]:
    """Key -> digest of all that is there."""
    wanted = sorted(set(keys))
    with ThreadPoolExecutor(JOBS) as pool:
        results = progress(pool.map(read, wanted), len(wanted), f"hashing {place}", "files")
        return {key: seen for key, seen in zip(wanted, results, strict=True) if seen is not None}


def objects_of(output: Output, files: Mapping[str, str]) -> dict[str, str]:
    """MD5 -> path of all that a store holds for an output: its files, and a folder's list."""
    return {md5: path for path, md5 in files.items()} | {output.md5: output.path}


@dataclass(frozen=True)
class Scan:
    """What was read.

    Attributes:
        outputs: Of dvc.lock and the .dvc files.
        files: Output -> its files, path -> MD5; none if a folder's list is in no store.
        seen: Place -> path (workspace) or MD5 (cache, remote) of each file that was looked for.
    """

    outputs: Sequence[Output]
    files: Mapping[str, Mapping[str, str]]
    seen: Mapping[str, Mapping[str, Digest | None]]

    def intact(self, output: Output, place: str) -> dict[str, str]:
        """The files of an output that have their MD5 in a place: path -> SHA-256."""
        found = {}
        for path, md5 in self.files[output.path].items():
            seen = self.seen[place].get(path if place == WORKSPACE else md5)
            if seen is not None and seen.md5 == md5:
                found[path] = seen.sha256
        return found

    def records(self) -> dict[str, Record]:
        """The manifest's record of each output of which all bytes are somewhere intact."""
        records = {}
        for output in self.outputs:
            known: dict[str, str] = {}
            for place in self.seen:
                known = self.intact(output, place) | known
            if known and len(known) == len(self.files[output.path]):
                records[output.path] = record_of(output, known)
        return records


def scan(found: Sequence[Output], stores: Sequence[ObjectStore]) -> Scan:
    """Read and hash everything, in the workspace and in the stores: the cache, and a remote."""
    files = {output.path: files_of(output, stores) or {} for output in found}
    names = [name for path in files if os.path.lexists(path) for name in files[path]]
    seen: dict[str, Mapping[str, Digest | None]] = {}
    seen[WORKSPACE] = hash_all(names, lambda name: digest_of(Path(name)), WORKSPACE)
    for store in stores:
        wanted = {
            md5
            for output in found
            if not (output.in_git or (output.imported and store.name == REMOTE))
            for md5 in objects_of(output, files[output.path])
        }
        there = hash_all(store.sizes(wanted), store.read, store.name)
        seen[store.name] = {md5: there.get(md5) for md5 in wanted}
    return Scan(found, files, seen)


def find_mismatches(read: Scan, manifest: Mapping[str, Record]) -> list[Mismatch]:
    """Name what is not as dvc.lock and the manifest say, in the order of the outputs."""
    found: list[Mismatch] = []
    for output in read.outputs:
        if not os.path.lexists(output.path) and not output.in_git and _absent(output, read):
            # A clone that has not pulled this lacks nothing; nor was anything checked.
            if REMOTE not in read.seen:
                fix = f"dvc pull {quote(output.path)}, or ./ulna verify --remote"
                found.append(Mismatch(output.path, WORKSPACE, ABSENT, fix))
        else:
            found += [*_in_store(output, CACHE, read), *_in_workspace(output, read)]
        found += [*_in_store(output, REMOTE, read), *_unlike_manifest(output, read, manifest)]
    gone = manifest.keys() - {output.path for output in read.outputs}
    return found + [Mismatch(path, MANIFEST.name, OUTDATED, WRITE) for path in sorted(gone)]


def _absent(output: Output, read: Scan) -> bool:
    return not any(read.seen[CACHE].get(md5) for md5 in objects_of(output, read.files[output.path]))


def _in_workspace(output: Output, read: Scan) -> Iterator[Mismatch]:
    if not output.in_git and not os.path.lexists(output.path):
        return
    for path in read.files[output.path].keys() - read.intact(output, WORKSPACE).keys():
        code = MISSING if read.seen[WORKSPACE].get(path) is None else CHANGED
        # Without rm, DVC takes a file whose time and size are as it left them for unchanged.
        fix = f"rm -f {quote(path)} && dvc checkout --force {quote(output.path)}"
        if output.in_git:
            fix = f"git checkout -- {quote(path)}, or dvc repro if you changed what it follows from"
        yield Mismatch(path, WORKSPACE, code, fix)


def _in_store(output: Output, place: str, read: Scan) -> Iterator[Mismatch]:
    here = read.intact(output, WORKSPACE)
    for md5, path in objects_of(output, read.files[output.path]).items():
        if md5 not in read.seen.get(place, {}):
            continue
        seen = read.seen[place][md5]
        if seen is not None and seen.md5 == md5.removesuffix(LIST):
            continue
        stored = f"files/md5/{md5[:2]}/{md5[2:]}"
        if place == REMOTE:
            fix = f"remove {stored} there, if it is, then ./ulna share from a clone that has it"
        elif path in here:
            # Not `dvc commit`: it would record whatever else has changed.
            fix = f"install -D -m 444 {quote(path)} $(dvc cache dir)/{stored}"
        else:
            fix = f"rm -f $(dvc cache dir)/{stored} && dvc fetch {quote(output.path)}"
        yield Mismatch(path, place, CHANGED if seen else MISSING, fix)


def _unlike_manifest(
    output: Output, read: Scan, manifest: Mapping[str, Record]
) -> Iterator[Mismatch]:
    record = manifest.get(output.path)
    if record is None or record.md5 != output.md5:
        yield Mismatch(output.path, MANIFEST.name, OUTDATED if record else UNRECORDED, WRITE)
        return
    for place in read.seen:
        intact = read.intact(output, place)
        wrong = [path for path in intact if intact[path] != record.files.get(path)]
        if record.of_list:
            whole = 0 < len(intact) == len(read.files[output.path])
            same = not whole or digest_of_list(output.path, intact) == record.of_list
            wrong = [] if same else [output.path]
        for path in wrong:
            fix = f"git log -- {MANIFEST}; if that is as it should be, do not use these bytes"
            yield Mismatch(path, place, OTHER_SHA256, fix)


def record_of(output: Output, digests: Mapping[str, str]) -> Record:
    """Make the record of an output from the SHA-256 of each of its files."""
    by_hand = output.stage.endswith(".dvc")
    if output.is_folder and (by_hand or len(digests) > MOST_LISTED):
        return Record(output.md5, {}, digest_of_list(output.path, digests), len(digests))
    return Record(output.md5, dict(digests))


def digest_of_list(folder: str, digests: Mapping[str, str]) -> str:
    """SHA-256 of what sha256sum prints for the files of a folder, in the order of their bytes."""
    names = sorted(digests, key=lambda path: path.removeprefix(f"{folder}/").encode())
    text = "".join(f"{digests[path]}  ./{path.removeprefix(f'{folder}/')}\n" for path in names)
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(path: Path, records: Mapping[str, Record]) -> bool:
    """Write the records, sorted by path; whether anything changed."""
    lines = [HEAD]
    for output, record in sorted(records.items()):
        lines.append(f"# md5 {record.md5}  {output}\n")
        if record.of_list:
            lines.append(f"# sha256 of the list of its {record.count} files {record.of_list}\n")
        lines += [f"{sha256}  {file}\n" for file, sha256 in sorted(record.files.items())]
    text = "".join(lines)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def read_manifest(path: Path) -> dict[str, Record]:
    """Read the records, path of the output -> record; none if there is no manifest.

    Raises:
        InputError: A line is none that `write_manifest` writes.
    """
    records: dict[str, Record] = {}
    output = ""
    for number, line in enumerate(path.read_text("utf-8").splitlines() if path.exists() else (), 1):
        if match := OF_OUTPUT.fullmatch(line):
            output = match[2]
            records[output] = Record(match[1], {})
        elif output and (match := OF_LIST.fullmatch(line)):
            records[output] = Record(records[output].md5, {}, match[2], int(match[1]))
        elif output and (match := OF_FILE.fullmatch(line)):
            files = {**records[output].files, match[2]: match[1]}
            records[output] = Record(records[output].md5, files)
        elif f"{line}\n" not in HEAD:
            raise InputError(
                f"{path}, line {number}, is not a digest and a path, as sha256sum writes them: "
                "after a merge, `./ulna verify --write` writes it anew"
            )
    return records


def refresh(read: Scan, former: Mapping[str, Record]) -> bool:
    """Write the manifest anew from intact bytes; whether it changed.

    Args:
        read: What was read.
        former: Records that hold, where they are of the MD5 of dvc.lock.

    Raises:
        InputError: The bytes of an output are nowhere intact, and it has no former record.
    """
    known = {
        output.path: record
        for output in read.outputs
        if (record := former.get(output.path)) and record.md5 == output.md5
    }
    records = read.records() | known
    for output in read.outputs:
        if output.path not in records:
            raise InputError(
                f"{output.path} is neither here nor in the cache as dvc.lock names it, so its "
                "SHA-256 cannot be written: `dvc pull` or `dvc repro` first"
            )
    return write_manifest(MANIFEST, {output.path: records[output.path] for output in read.outputs})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ulna verify`."""
    parser.add_argument(
        "--remote",
        nargs="?",
        const=DEFAULT,
        metavar="NAME",
        help="read this remote as well, all of it; without a name, the default remote",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help=f"write {MANIFEST} anew from what has the MD5 of dvc.lock",
    )


def run(arguments: argparse.Namespace) -> None:
    """Look, and write where asked; the exit code is 1 if anything does not match."""
    with open_repo() as repo, ExitStack() as stack:
        stores = [ObjectStore(CACHE, repo.cache.local)]
        if arguments.remote is not None:
            stores.append(stack.enter_context(open_remote(repo, arguments.remote)))
        read = scan(outputs(), stores)
    if arguments.write:
        # What it says of outputs that are here is not asked: it may be what is wrong.
        former: dict[str, Record] = {}
        with suppress(InputError):  # such as what a merge left
            former = read_manifest(MANIFEST)
        kept = {path: record for path, record in former.items() if not os.path.lexists(path)}
        print(f"verify: {MANIFEST} {'written' if refresh(read, kept) else 'is as it was'}")
    found = find_mismatches(read, read_manifest(MANIFEST))
    for mismatch in found:
        print(f"{mismatch.path}\n  {mismatch.place}: {mismatch.code}\n  fix: {mismatch.fix}")
    places = ", ".join(read.seen)
    print(f"verify: {len(read.outputs)} outputs, in {places}: {len(found)} mismatches")
    if found:
        raise SystemExit(1)

"""What dvc.lock and the .dvc files say there must be, and the places where its bytes lie."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ulna.errors import InputError

LIST = ".dir"  # DVC's ending for the hash of a folder: that of the list of its files.
CHUNK_BYTES = 2**20
# Of remotes, where the time is that of the way: 40,000 small files one by one take hours.
JOBS = 8
# What git writes into a file of which two branches have different versions.
CONFLICT = b"<<<<<<< "


@dataclass(frozen=True)
class Output:
    """A file or a folder that DVC answers for.

    Attributes:
        path: From the root of the repository, with forward slashes.
        md5: As in dvc.lock or the .dvc file; that of a folder ends in `.dir`. Empty if the stage
            never ran.
        size: Bytes, of a folder those of all its files; None if not recorded.
        cached: Whether the DVC cache holds it; if not, git does.
        shared: Whether it goes to a remote; what `dvc import` took from another repository does
            not.
        stage: What makes it, such as `train@cnn` or `data/MURA-v1.1.zip.dvc`.
    """

    path: str
    md5: str
    size: int | None
    cached: bool
    shared: bool
    stage: str

    @property
    def is_folder(self) -> bool:
        """Whether it has a list of files."""
        return self.md5.endswith(LIST)


@dataclass(frozen=True)
class Seen:
    """What was read of a file: its size in bytes, MD5 and SHA-256."""

    size: int
    md5: str
    sha256: str


@dataclass(frozen=True)
class Place:
    """A store of objects named by their MD5: the DVC cache or a remote.

    Attributes:
        name: Such as "cache" or "remote team".
        odb: DVC's object database.
        url: Of a remote; empty for the cache.
    """

    name: str
    odb: Any
    url: str = ""

    @property
    def local(self) -> bool:
        """Whether it is the DVC cache."""
        return not self.url

    def reached(self) -> AbstractContextManager[None]:
        """Whatever a remote raises becomes one sentence; the cache's errors stay as they are."""
        return nullcontext() if self.local else reaching(self.name, self.url)

    def sizes(self, wanted: Collection[str]) -> dict[str, int]:
        """Which objects are there, and their bytes: by listing, so nothing is fetched.

        DVC's own answer is no help: it remembers what it once sent, and takes all files of a
        folder for present if the folder's list is.
        """
        fs = self.odb.fs
        starts = sorted({md5[:2] for md5 in wanted})

        def listed(start: str) -> list[dict[str, Any]]:
            try:
                found: list[dict[str, Any]] = fs.ls(fs.join(self.odb.path, start), detail=True)
            except FileNotFoundError:
                return []
            return found

        with self.reached(), ThreadPoolExecutor(JOBS) as pool:
            fs.fs.invalidate_cache()  # The first to meet a server.
            entries = [entry for entries in pool.map(listed, starts) for entry in entries]
        found = {
            "".join(fs.parts(entry["name"])[-2:]): entry["size"]
            for entry in entries
            if entry["type"] == "file"
        }
        return {md5: found[md5] for md5 in wanted if md5 in found}

    def read(self, md5: str) -> Seen | None:
        """Hash an object; None if there is none."""
        with self.reached(), suppress(FileNotFoundError):
            with self.odb.fs.open(self.odb.oid_to_path(md5), "rb") as file:
                return digest(file)
        return None

    def listing(self, md5: str) -> dict[str, str] | None:
        """The files of a folder, name -> MD5, if its list is here and sound."""
        with self.reached():
            try:
                with self.odb.fs.open(self.odb.oid_to_path(md5), "rb") as file:
                    content = file.read()
            except FileNotFoundError:
                return None
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5.removesuffix(LIST):
            return None
        return {entry["relpath"]: entry["md5"] for entry in json.loads(content)}

    def replace(self, md5: str, source: Path) -> None:
        """Put a sound copy where an object is missing or damaged.

        The local cache and a folder as remote rename it into place; an object store shows it when
        it is whole; over SSH it is written under its name, so what is interrupted is seen by
        `sizes` and sent again.
        """
        target = self.odb.oid_to_path(md5)
        fs = self.odb.fs
        with self.reached():
            fs.makedirs(fs.parent(target), exist_ok=True)
            fs.put_file(os.fspath(source), target)
        if fs.protocol == "local":
            os.chmod(target, 0o444)


def digest(file: IO[bytes]) -> Seen:
    """Read a file once, piece by piece, and hash it both ways."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    while chunk := file.read(CHUNK_BYTES):
        md5.update(chunk)
        sha256.update(chunk)
        size += len(chunk)
    return Seen(size, md5.hexdigest(), sha256.hexdigest())


def md5_of_list(files: Mapping[str, str]) -> str:
    """What DVC calls a folder: the hash of the list of its files, name -> MD5."""
    entries = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    content = json.dumps(entries).encode()
    return hashlib.md5(content, usedforsecurity=False).hexdigest() + LIST


def digest_of(path: Path) -> Seen | None:
    """Hash a file of the workspace; None if there is none."""
    try:
        with path.open("rb") as file:
            return digest(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def opened() -> Iterator[Any]:
    """DVC's repository here.

    Raises:
        InputError: There is none, dvc.lock holds a conflict of git's, or DVC cannot read it.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    lock = Path("dvc.lock")
    if lock.exists() and CONFLICT in lock.read_bytes():
        raise InputError(
            "dvc.lock holds both sides of a merge: take one (`git checkout --theirs dvc.lock`), "
            "then `dvc repro --pull --allow-missing`, which restores or runs what the merged code "
            "and parameters ask for"
        )
    try:
        with Repo() as repo:
            yield repo
    except DvcException as error:
        raise InputError(f"DVC says: {in_full(error)}") from None


def in_full(error: BaseException) -> str:
    """What an error says, and what it came from: DVC keeps the reason in its cause."""
    words: list[str] = []
    reason: BaseException | None = error
    while reason is not None:
        said = " ".join(str(reason).split()) or type(reason).__name__
        if not any(said in word for word in words):
            words.append(said)
        reason = reason.__cause__
    return ": ".join(words)


def outputs(repo: Any) -> list[Output]:
    """All that the current revision of DVC's repository answers for, in the order of its files."""
    found = []
    for out in repo.index.outs:
        if out.protocol != "local":
            continue
        path = Path(out.fs_path)
        found.append(
            Output(
                path=path.relative_to(repo.root_dir).as_posix(),
                md5=out.hash_info.value or "",
                size=out.meta.size if out.meta else None,
                cached=out.use_cache,
                shared=out.can_push and not out.stage.is_repo_import,
                stage=out.stage.addressing,
            )
        )
    return found


def cache_of(repo: Any) -> Place:
    """The DVC cache."""
    return Place("cache", repo.cache.local)


def remote_of(repo: Any, name: str | None) -> tuple[str, Place]:
    """A remote, or the default one.

    Returns:
        Its name and its objects.

    Raises:
        InputError: There is no such remote.
    """
    known = list(repo.config["remote"])
    chosen = name or repo.config["core"].get("remote")
    if not known:
        raise InputError(
            "no remote is set up, so there is nowhere to send data to or to take it from: "
            "`dvc remote add --default team URL`, where URL is a folder, ssh://... or s3://..."
        )
    if chosen is None:
        raise InputError(
            f"there is no default remote, but {', '.join(known)}: name one, or "
            f"`dvc remote default {known[0]}`"
        )
    if chosen not in known:
        raise InputError(f"there is no remote {chosen!r}, but {', '.join(known)}")
    url, place = repo.config["remote"][chosen]["url"], f"remote {chosen}"
    with reaching(place, url):
        return chosen, Place(place, repo.cloud.get_remote(chosen).odb, url)


def shown(url: str) -> str:
    """An address without the password that it may hold.

    Example:
        >>> shown("ssh://me:secret@server/srv/ulna")
        'ssh://me:***@server/srv/ulna'
    """
    return re.sub("//([^/:]*):[^/]*@", r"//\1:***@", url)


@contextmanager
def reaching(place: str, url: str) -> Iterator[None]:
    """Whatever a remote's library raises becomes one sentence."""
    try:
        yield
    except InputError:
        raise
    # Each library has errors of its own, and not all of them are OSErrors.
    except Exception as error:
        reason = in_full(error).replace(url, shown(url))
        if "is supported, but requires" in reason or "is not supported" in reason:
            advice = "`make remotes` installs what ssh:// and s3:// need"
        else:
            advice = (
                "look at the address, the key and the network (`dvc remote list`; README, A team)"
            )
        raise InputError(
            f"{place} ({shown(url)}) does not answer as it should: {reason}. Nothing was lost; "
            f"{advice}, then do it again"
        ) from None


def files_of(output: Output, places: Sequence[Place]) -> dict[str, str] | None:
    """The files of an output, path -> MD5.

    Args:
        output: A file or a folder.
        places: Where a folder's list is looked for; the first sound one is taken.

    Returns:
        None if a folder's list is in no place.
    """
    if not output.is_folder:
        return {output.path: output.md5}
    for place in places:
        listing = place.listing(output.md5)
        if listing is not None:
            return {f"{output.path}/{name}": md5 for name, md5 in sorted(listing.items())}
    return None


def objects_of(
    items: Iterable[Output], places: Sequence[Place]
) -> tuple[dict[str, str], list[Output]]:
    """Every object that a remote must hold for these outputs.

    Returns:
        MD5 -> the path it belongs to, lists of folders included; and the folders whose list is
        nowhere.
    """
    objects: dict[str, str] = {}
    unknown = []
    for output in items:
        if not (output.cached and output.shared and output.md5):
            continue
        if output.md5 in objects:
            continue
        files = files_of(output, places)
        if files is None:
            unknown.append(output)
            continue
        for path, md5 in files.items():
            objects.setdefault(md5, path)
        objects.setdefault(output.md5, output.path)
    return objects, unknown

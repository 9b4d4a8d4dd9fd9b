"""Send data, runs and experiments to a remote, so that nobody has to make them again.

`dvc push --run-cache` sends what dvc.lock names and the records of all runs, but not what these
runs made, nor metrics that git holds: a colleague who asks for the focal experiment trains it. Here
the experiments go as well, to the git remote and with their data. First everything is hashed, so
that no damaged file is sent, and manifest.sha256 is brought up to date; in the end the remote is
listed, since DVC trusts its own record of what it sent. An experiment from before the remote was
set up gets the .dvc/config of now: to apply it would remove the remote. With all of it sent, in
another clone

    dvc repro --pull --allow-missing     or     dvc exp run --pull --allow-missing -S loss=focal

trains nothing. Killed or cut off, it loses nothing: call it again.
"""

import argparse
import configparser
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm.contrib.concurrent import thread_map

from ulna.core import InputError, first_ten
from ulna.team import verify
from ulna.team.revisions import LOCK, git, open_repo
from ulna.team.verify import CACHE, CHANGED, LIST, MANIFEST, OTHER_SHA256, ObjectStore, Output

VERIFY = "./ulna verify names such files and their repair"
CONFIG = Path(".dvc/config")
# refs/exps/<the commit it began from, in two parts>/<name>; DVC keeps other things beside these.
EXPERIMENTS = "refs/exps/[0-9a-f][0-9a-f]/*/*"
Pairs = list[tuple[str, str]]  # paths here and there


def experiments() -> dict[str, str]:
    """The experiments here, whichever commit they began from: ref -> commit."""
    lines = git("for-each-ref", "--format=%(refname) %(objectname)", EXPERIMENTS).splitlines()
    return dict(line.split() for line in lines)


def find_older(mine: Mapping[str, str], name: str) -> dict[str, str]:
    """The experiments whose .dvc/config lacks a remote that is set up here: ref -> commit."""
    here = remote_of(CONFIG.read_text("utf-8"), name)
    if here[0] is None:  # of this clone alone or this user's: no commit has it
        return {}
    older = {}
    for ref, commit in mine.items():
        there: tuple[str | None, str | None] = None, None
        with suppress(InputError, configparser.Error):  # it has none, or a conflict in it
            there = remote_of(git("show", f"{commit}:./{CONFIG}"), name)
        if there != here:
            older[ref] = commit
    return older


def remote_of(config: str, name: str) -> tuple[str | None, str | None]:
    """The address of a remote in the text of a .dvc/config, and the name of the default remote."""
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read_string(config)
    address = parsed.get(f"'remote \"{name}\"'", "url", fallback=None)
    return address, parsed.get("core", "remote", fallback=None)


def replace_config(commit: str) -> str:
    """The commit of an experiment with the .dvc/config that is here, all else as it is.

    `dvc exp apply` takes the config of the experiment: one from before `dvc remote add` would take
    the remote away from whoever applies it.
    """
    blob = git("hash-object", "-w", str(CONFIG)).strip()
    path = git("rev-parse", "--show-prefix").strip() + str(CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": f"{folder}/index"}
        git("read-tree", commit, **index)
        git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", **index)
        tree = git("write-tree", **index).strip()
    text = git("cat-file", "commit", commit)
    text = f"tree {tree}\n{text.partition(chr(10))[2]}"
    return git("hash-object", "-t", "commit", "-w", "--stdin", stdin=text).strip()


def push_experiments(mine: Mapping[str, str], git_remote: str, name: str) -> None:
    """Push them to the git remote, those older than the DVC remote with the config of now."""
    older = find_older(mine, name)
    new = {ref: replace_config(commit) for ref, commit in older.items()}
    lines = git("ls-remote", git_remote, *older).splitlines() if older else []
    sent = dict(line.split()[::-1] for line in lines)
    # One that was sent before is replaced, unless a colleague's of that name is there.
    leases = [
        f"--force-with-lease={ref}:{old}" for ref, old in older.items() if sent.get(ref) == old
    ]
    refs = [f"{new.get(ref, mine[ref])}:{ref}" for ref in sorted(mine)]
    # Not by `dvc exp push`: its exit code is 0 where another of the same name is there.
    git("push", "--quiet", *leases, git_remote, *refs)
    # Only now: whoever shares again after a push that failed finds the same older ones.
    for ref, commit in new.items():
        git("update-ref", ref, commit, older[ref])
    if older:
        names = first_ten([ref.rpartition("/")[2] for ref in older], ", ")
        why = f"made before remote {name} was set up as it is now"
        print(f"share: {why}, so given the {CONFIG} of now: {names}")


def dvc(*arguments: str) -> None:
    """Run DVC, whose progress and errors are seen; an InputError where it fails."""
    sys.stdout.flush()
    if subprocess.run([sys.executable, "-m", "dvc", *arguments], check=False).returncode:
        problem = f"`dvc {' '.join(arguments)}` failed, as said above. What it had sent stays sent"
        raise InputError(f"{problem}: repair that, then ./ulna share again")


def verify_downloads(repo: Any, name: str) -> None:
    """Let DVC hash what it takes from a remote: else it trusts an object that is read-only."""
    if repo.config["remote"][name].get("verify"):
        return
    for flag in ("--project", "--local", "--global", "--system"):
        config = ["-m", "dvc", "config", flag, f"remote.{name}.url"]
        if not subprocess.run([sys.executable, *config], capture_output=True).returncode:
            dvc("remote", "modify", flag, name, "verify", "true")
            print(f"share: remote {name} has verify = true from now on ({flag} config of DVC)")
            return


def wanted_objects(known: Iterable[Output], *stores: ObjectStore) -> dict[str, str]:
    """MD5 -> path of every object that the remote must hold; the stores are the cache and it."""
    # Metrics, which git holds, too: without them in the remote a stage that writes metrics is not
    # restored from the run cache but run.
    wanted, metrics = dict[str, str](), dict[str, str]()
    for output in dict.fromkeys(output for output in known if not output.imported):
        if output.in_git:
            metrics[output.md5] = output.path
        else:
            wanted |= verify.objects_of(output, verify.files_of(output, stores))
    return wanted | {md5: metrics[md5] for md5 in stores[0].sizes(metrics)}


def check_objects(wanted: dict[str, str], cache: ObjectStore, remote: ObjectStore) -> None:
    """Stop at an object that is in neither store, or is to be sent and damaged."""
    here, there = cache.sizes(wanted), remote.sizes(wanted)
    if lost := wanted.keys() - here.keys() - there.keys():
        names = ", ".join(sorted(wanted[md5] for md5 in lost)[:9])
        fix = "`dvc repro` makes it, `dvc pull -r OTHER` takes it from elsewhere"
        raise InputError(f"{names}: neither in the cache nor the remote; nothing was sent: {fix}")
    todo = [md5 for md5 in here if here[md5] != there.get(md5)]
    for md5, digest in verify.hash_all(todo, cache.read, "what is to be sent").items():
        if digest is None or digest.md5 != md5.removesuffix(LIST):
            raise InputError(f"{wanted[md5]} in the cache: {CHANGED}; nothing was sent: {VERIFY}")


def refuse_mismatches(read: verify.Scan) -> None:
    """Stop at an object of the cache that changed, or at exchanged bytes anywhere: by the code."""
    for mismatch in verify.find_mismatches(read, verify.read_manifest(MANIFEST)):
        if mismatch.code == OTHER_SHA256 or mismatch[1:3] == (CACHE, CHANGED):
            place = f"{mismatch.path} in the {mismatch.place}"
            raise InputError(f"{place}: {mismatch.code}; nothing was sent: {VERIFY}")


def unsent(cache: ObjectStore, remote: ObjectStore, wanted: Collection[str]) -> Pairs:
    """Objects and records of runs that the remote lacks or has cut off: the path here and there.

    Lists of folders come last, as DVC sends them: a folder whose list is there is taken for whole.
    """
    here, there = cache.sizes(wanted), remote.sizes(wanted)
    objects = [md5 for md5 in here if here[md5] != there.get(md5)]
    objects.sort(key=lambda md5: md5.endswith(LIST))
    (source, mine), (target, theirs) = cache.runs(), remote.runs()
    runs = [name for name, size in mine.items() if size != theirs.get(name)]
    pairs = [(cache.odb.oid_to_path(md5), remote.odb.oid_to_path(md5)) for md5 in objects]
    return pairs + [(f"{source}/{name}", f"{target}/{name}") for name in runs]


def send(remote: ObjectStore, files: Pairs) -> None:
    """Put files into a remote; what is cut off meanwhile is seen by its size, and sent again."""
    fs = remote.odb.fs

    def put(pair: tuple[str, str]) -> None:
        fs.makedirs(fs.parent(pair[1]), exist_ok=True)
        fs.put_file(*pair)

    thread_map(put, files, max_workers=verify.JOBS, desc="sending", unit=" files", disable=None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ulna share`."""
    where = "where data go; else the default remote"
    parser.add_argument("remote", nargs="?", metavar="DVC_REMOTE", help=where)
    parser.add_argument("--git-remote", default="origin", help="where experiments go (%(default)s)")
    more = "the data of all branches, tags and commits, not only of what is checked out"
    parser.add_argument("--all", action="store_true", help=more)
    less = "leave the experiments and their data out"
    parser.add_argument("--no-experiments", action="store_true", help=less)


def run(arguments: argparse.Namespace) -> None:
    """Hash, send, and list what arrived."""
    with open_repo() as repo, verify.open_remote(repo, arguments.remote) as remote:
        name = arguments.remote or repo.config["core"]["remote"]
        cache = ObjectStore(CACHE, repo.cache.local)
        current = verify.outputs()
        read = verify.scan(current, [cache])
        refuse_mismatches(read)
        verify.refresh(read, verify.read_manifest(MANIFEST))
        mine = {} if arguments.no_experiments else experiments()
        commits = [*mine.values()]
        if arguments.all:
            commits += git("rev-list", "--branches", "--tags").split()
        known = chain(current, *map(verify.outputs, commits))
        wanted = wanted_objects(known, cache, remote)
        check_objects(wanted, cache, remote)
        verify_downloads(repo, name)
        dvc("push", "--remote", name, "--run-cache")
        # Data of experiments and other commits, metrics, and what DVC wrongly takes for sent.
        send(remote, unsent(cache, remote, wanted))
        if lacking := unsent(cache, remote, wanted):
            raise InputError(f"{len(lacking)} files are not whole in {name}: ./ulna share again")
        if mine:
            push_experiments(mine, arguments.git_remote, name)
        print(f"share: {len(wanted)} objects and {len(mine)} experiments are in {name}")
    files = ("params.yaml", str(CONFIG), "*.dvc", f"*{LOCK}", str(MANIFEST))
    changed = git("status", "--porcelain", "--", *files)
    names = ", ".join(line[3:] for line in changed.splitlines())
    print(f"share: commit {names}; then `git push`" if names else "share: `git push`, if not done")

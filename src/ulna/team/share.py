"""Send data, runs and experiments to a remote, so that nobody has to make them again.

`dvc push --run-cache` sends what dvc.lock names and the records of all runs, but not what these
runs made: a colleague who asks for the focal experiment trains it. Here the experiments go as well,
to the git remote and with their data. First everything is hashed, so that no damaged file is sent;
in the end the remote is listed, since DVC goes by what it remembers to have sent. manifest.sha256
is brought up to date. With all of it sent, in another clone

    dvc repro --pull --allow-missing     or     dvc exp run --pull --allow-missing -S loss=focal

trains nothing. Killed or cut off, it loses nothing: call it again.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ulna.console import progress
from ulna.errors import InputError
from ulna.team.manifest import MANIFEST, read_manifest
from ulna.team.tracked import (
    JOBS,
    LIST,
    Output,
    Place,
    cache_of,
    objects_of,
    opened,
    outputs,
    remote_of,
    shown,
)
from ulna.team.verify import WORKSPACE, judge, look, refresh

DVC = (sys.executable, "-m", "dvc")
# refs/exps/<the commit it began from, in two parts>/<name>; DVC keeps other things beside these.
EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/.+")
SHOWN = 10
# Where a remote may be written down, and the flag of `dvc remote modify` for each.
LEVELS = {"local": "--local", "repo": "--project", "global": "--global", "system": "--system"}


def git(*arguments: str) -> str:
    """What git says; an InputError with its reason where it fails."""
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise InputError(f"git {arguments[0]} says: {' '.join(done.stderr.split())}")
    return done.stdout


def experiments() -> dict[str, str]:
    """The experiments here, whichever commit they began from: ref -> commit."""
    refs = git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").splitlines()
    pairs = [line.split() for line in refs]
    return {ref: commit for ref, commit in pairs if EXPERIMENT.fullmatch(ref)}


def refuse_other_experiments(remote: str, mine: dict[str, str]) -> None:
    """Stop if the git remote has another experiment of the same name and the same origin."""
    try:
        lines = [line.split() for line in git("ls-remote", remote, "refs/exps/*").splitlines()]
    except InputError as error:
        raise InputError(
            f"experiments cannot go to the git remote {remote} ({error}): `git remote add {remote} "
            "URL`, --git-remote OTHER, or --no-experiments to send data alone; nothing was sent"
        ) from None
    theirs = {ref: commit for commit, ref in lines}
    for ref, commit in mine.items():
        if theirs.get(ref, commit) != commit:
            name = ref.rpartition("/")[2]
            raise InputError(
                f"experiment {name} is on {remote} as well, with another content: rename yours, "
                f"`dvc exp rename {name} NEW`, or `dvc exp pull --force {remote} {name}` to take "
                "that one instead; nothing was sent"
            )


def hold_to_hashes(repo: Any, name: str) -> None:
    """Let DVC hash what it takes from a remote, unless the config says otherwise."""
    for level, flag in LEVELS.items():
        # A damaged object, read-only as DVC leaves it, is otherwise taken for whole.
        known = repo.config.load_one(level).get("remote", {}).get(name, {})
        if "verify" in known:
            if not repo.config["remote"][name]["verify"]:
                print(f"share: remote {name} has verify = false: DVC does not hash what it takes")
            return
        if "url" in known:
            run_dvc("remote", "modify", flag, name, "verify", "true")
            place = ".dvc/config, commit it" if level == "repo" else f"the {level} config"
            print(f"share: remote {name} has verify = true from now on ({place})")
            return


def run_dvc(*arguments: str) -> None:
    """Run DVC, whose progress and errors are seen; InputError where it fails."""
    sys.stdout.flush()
    code = subprocess.run([*DVC, *arguments], check=False).returncode
    if code:
        raise InputError(
            f"`dvc {' '.join(arguments[:2])}` failed, for the reason above. What it had sent stays "
            "sent, nothing was lost: mend that, then ./ulna share again"
        )


def outputs_at(commit: str) -> list[Output]:
    """What dvc.lock and the .dvc files of a commit name.

    Read from git: DVC takes the config of the commit with it, and stops at those that are older
    than the remote. What lies in git is not in the DVC cache, as a rule.
    """
    tracked = git("ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    found = []
    for name in tracked:
        folder, _, file = name.rpartition("/")
        if file != "dvc.lock" and not (file.endswith(".dvc") and file != ".dvc"):
            continue
        try:
            content = YAML(typ="safe").load(git("show", f"{commit}:{name}")) or {}
        except YAMLError:
            # Such as a conflict that was committed: nobody can mend what is past.
            print(f"share: {name} of {commit[:10]} is not YAML: what it named is not sent")
            continue
        entries = content.get("stages", {}) if file == "dvc.lock" else {name: content}
        for stage, entry in entries.items():
            shared = not any("repo" in dep for dep in entry.get("deps", []))
            for out in entry.get("outs", []):
                path = (PurePosixPath(folder) / out["path"]).as_posix()
                cached = path not in tracked
                found.append(
                    Output(path, out.get("md5", ""), out.get("size"), cached, shared, stage)
                )
    return found


def wanted_of(
    repo: Any, places: Sequence[Place], commits: Collection[str]
) -> tuple[dict[str, str], list[Output]]:
    """All objects of the workspace and of commits: MD5 -> path; and folders of unknown content."""
    found: dict[str, str] = {}
    unknown: list[Output] = []
    for items in (outputs(repo), *map(outputs_at, sorted(set(commits)))):
        objects, lost = objects_of(items, places)
        found |= objects | uncached(items, places[0])
        unknown += lost
    return found, unknown


def uncached(items: Sequence[Output], cache: Place) -> dict[str, str]:
    """What git holds and the DVC cache as well, for the run cache: metrics, MD5 -> path.

    Without them in the remote a stage that writes metrics is not restored but run.
    """
    paths = {item.md5: item.path for item in items if not item.cached and item.md5}
    return {md5: paths[md5] for md5 in cache.sizes(paths)}


def check_own(cache: Place, objects: Collection[str], paths: dict[str, str]) -> None:
    """Hash objects of the cache before they are sent."""
    for md5 in progress(
        sorted(objects), len(objects), "share: hashing what is to be sent", "files"
    ):
        seen = cache.read(md5)
        if seen is None or seen.md5 != md5.removesuffix(LIST):
            raise InputError(
                f"{paths[md5]} is damaged in the cache ({cache.odb.oid_to_path(md5)}), so nothing "
                "was sent: ./ulna verify --mend, or remove that file and run `dvc repro`"
            )


def run_records(fs: Any, folder: str) -> dict[str, int]:
    """The records of runs below a folder: relative path -> bytes."""
    top = fs.join(folder, "runs")
    fs.fs.invalidate_cache()
    if not fs.exists(top):
        return {}
    paths = list(fs.find(top))
    with ThreadPoolExecutor(JOBS) as pool:
        sizes = pool.map(fs.size, paths)
        return {
            "/".join(fs.parts(path)[-3:]): size for path, size in zip(paths, sizes, strict=True)
        }


def gb(size: float) -> str:
    """Bytes in words.

    Example:
        >>> [gb(300), gb(5_250_000), gb(2_100_000_000)]
        ['0.0 MB', '5.2 MB', '2.10 GB']
    """
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `./ulna share` understands."""
    parser.add_argument(
        "remote", nargs="?", metavar="DVC_REMOTE", help="where data go; else the default remote"
    )
    parser.add_argument("--git-remote", default="origin", help="where experiments go (%(default)s)")
    parser.add_argument(
        "--all",
        action="store_true",
        help="the data of all branches, tags and commits, not only of what is checked out",
    )
    parser.add_argument(
        "--no-experiments", action="store_true", help="leave the experiments and their data out"
    )


def run(arguments: argparse.Namespace) -> None:
    """Say what will be sent, send it, and look whether it is there."""
    with opened() as repo:
        name, place = remote_of(repo, arguments.remote)
        mine = {} if arguments.no_experiments else experiments()
        if mine:
            refuse_other_experiments(arguments.git_remote, mine)
        cache = cache_of(repo)
        write_manifest_of(repo, cache)
        commits = [*mine.values()]
        if arguments.all:
            commits += git("rev-list", "--branches", "--tags").split()
        wanted, unknown = wanted_of(repo, [cache, place], commits)
        there = place.sizes(wanted)
        here = cache.sizes(wanted)
        nowhere = [wanted[md5] for md5 in wanted if md5 not in here and md5 not in there]
        nowhere += [output.path for output in unknown]
        if nowhere:
            raise InputError(
                f"{len(nowhere)} files are neither in the cache nor in remote {name}, so they "
                f"cannot be sent: {', '.join(sorted(nowhere)[:SHOWN])}; `dvc repro` makes them, "
                "`dvc pull -r OTHER` takes them from another remote; nothing was sent"
            )
        todo = {md5 for md5 in here if here[md5] != there.get(md5)}
        check_own(cache, todo, wanted)
        names = sorted(ref.rpartition("/")[2] for ref in mine)
        hold_to_hashes(repo, name)
        print(
            f"share: to remote {name} ({shown(place.url)}): {len(todo)} of {len(wanted)} files, "
            f"{gb(sum(here[md5] for md5 in todo))}, and the records of all runs; to "
            f"{arguments.git_remote}: {len(names)} experiments"
            + (f" ({', '.join(names[:SHOWN])})" if names else "")
        )
        runs = run_records(repo.cache.local.fs, str(Path(repo.stage_cache.cache_dir).parent))
        run_dvc("push", "--remote", name, "--run-cache")
        if mine:
            # Their data are sent below: DVC fails on those begun before the remote was set up.
            run_dvc("exp", "push", "--quiet", "--no-cache", arguments.git_remote, *sorted(mine))
        send_rest(cache, place, here, wanted)
        with place.reached():
            remote = repo.cloud.get_remote(name)
            sent = run_records(remote.fs, remote.path)
        lacking = [record for record, size in runs.items() if sent.get(record) != size]
        if lacking:
            raise InputError(
                f"{len(lacking)} records of runs are not whole in remote {name}, so a "
                "colleague would run these stages again: ./ulna share again"
            )
        print(
            f"share: {len(wanted)} files, {len(runs)} records of runs, {len(mine)} experiments: "
            "all are there"
        )
        remind()


def write_manifest_of(repo: Any, cache: Place) -> None:
    """Hash what is here, refuse what is damaged, and bring the manifest up to date."""
    found = look(repo, [cache], "share")
    path = Path(repo.root_dir, MANIFEST)
    records = read_manifest(path)
    faults = judge(found, records)
    damaged = [fault for fault in faults if fault.place == cache.name and fault.what != "missing"]
    deceptive = [fault for fault in faults if "another SHA-256" in fault.what]
    for fault in [*damaged, *deceptive][:1]:
        raise InputError(
            f"{fault.path} in the {fault.place} {fault.what}; nothing was sent: ./ulna verify "
            "names every such file and what mends it"
        )
    for fault in faults:
        if fault.place == WORKSPACE:
            print(
                f"share: {fault.path} in the workspace: {fault.what}; what dvc.lock names is sent"
            )
    if refresh(repo, found, records):
        print(f"share: {MANIFEST} written")


def send_rest(cache: Place, place: Place, here: dict[str, int], wanted: dict[str, str]) -> None:
    """Send what `dvc push` did not.

    That is data of experiments and other commits, metrics, and objects that it took for sent though
    they are missing or cut off in the remote.
    """
    there = place.sizes(wanted)
    rest = [md5 for md5, size in here.items() if there.get(md5) != size]
    # Lists of folders last, as DVC does: a folder whose list is there is taken to be whole.
    lists = [md5 for md5 in rest if md5.endswith(LIST)]
    files = [md5 for md5 in rest if not md5.endswith(LIST)]
    for group in filter(None, (files, lists)):
        with ThreadPoolExecutor(JOBS) as pool:
            sent = pool.map(lambda md5: place.replace(md5, Path(cache.odb.oid_to_path(md5))), group)
            for _ in progress(sent, len(group), "share: sending the rest", "files"):
                pass
    if rest:
        there = place.sizes(wanted)
    lacking = [
        wanted[md5] for md5 in wanted if md5 not in there or there[md5] != here.get(md5, there[md5])
    ]
    if lacking:
        raise InputError(
            f"{len(lacking)} files are not whole in {place.name}: "
            f"{', '.join(sorted(lacking)[:SHOWN])}; ./ulna share again"
        )


def remind() -> None:
    """Name what git does not have yet: without it nobody finds what was sent."""
    changed = git("status", "--porcelain", "--", "dvc.lock", "params.yaml", str(MANIFEST),
                  ".dvc/config", "*.dvc")  # fmt: skip
    names = [line[3:] for line in changed.splitlines()]
    if names:
        print(f"share: commit {', '.join(names)}; then `git push`")
    else:
        print("share: `git push`, if you have not: your colleagues need the commit")

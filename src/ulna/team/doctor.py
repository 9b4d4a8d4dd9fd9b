"""Tell whether this machine and this folder are ready: one line for each thing, with its fix.

`ok` is as it should be, a `note` is worth knowing, a `fault` stops `dvc repro` or will: with one
the exit code is 1. Nothing is changed, fetched or sent.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import psutil
from packaging.requirements import Requirement

from ulna.core import InputError, cores, first_ten, paths
from ulna.core.params import Params, load_params
from ulna.core.provenance import LOCK, has_gpu_driver
from ulna.core.yaml12 import parse_yaml
from ulna.data.mura import check_files, compare_with_official, describe_differences, read_index
from ulna.data.pretrained import find_weights, imagenet_to_fetch
from ulna.data.source import check_root, list_images, open_root
from ulna.team.revisions import git, open_repo
from ulna.team.verify import open_remote

OK, NOTE, FAULT = "ok", "note", "fault"
PYTHONS = ((3, 11), (3, 13))
# The run of the embedded data: 0.4 GB in the folder with DVC's cache, 1.4 GiB for a training.
GB_NEEDED, GIB_NEEDED = 1, 2
SECONDS_FOR_REMOTE = 10
SECONDS_FOR_TENSORFLOW = 60
WIDTH = 118
RWLOCK = Path(".dvc/tmp/rwlock")
# In a process of its own: a broken TensorFlow is a line here, not the end.
PROBE = """
import json, tensorflow as tf
details = tf.config.experimental.get_device_details
gpus = [details(gpu).get("device_name", gpu.name) for gpu in tf.config.list_physical_devices("GPU")]
cuda = bool(tf.sysconfig.get_build_info()["is_cuda_build"])
print(json.dumps({"gpus": gpus, "cuda": cuda}))
"""


class Finding(NamedTuple):
    """One line."""

    level: str
    text: str


def check_python(version: tuple[int, int], environ: Mapping[str, str]) -> Finding:
    """Its version, and that it finds stages."""
    received = "{}.{}".format(*version)
    if not PYTHONS[0] <= version <= PYTHONS[1]:
        fix = "install one of these, then `make clean setup PYTHON=/path/to/it`"
        return Finding(FAULT, f"{received}: TensorFlow 2.21 needs 3.11 to 3.13: {fix}")
    if environ.get("PYTHONSAFEPATH"):
        return Finding(FAULT, "PYTHONSAFEPATH is set: DVC finds no stage with it: unset it")
    python = shutil.which("python", path=environ.get("PATH"))
    if python is None or not Path(python).parent.samefile(Path(sys.executable).parent):
        fix = "`source .venv/bin/activate`"
        return Finding(NOTE, f"{received}; DVC would start {python or 'no python'} instead: {fix}")
    return Finding(OK, f"{received}, {sys.executable}")


def check_packages(lock: Path, installed: Callable[[str], str]) -> Finding:
    """That what is installed is what the lock file pins for this platform."""
    missing, other, pins = [], [], 0
    for line in re.findall(r"^\w[^\s=]*==[^\\\n]+", lock.read_text(encoding="utf-8"), re.M):
        pin = Requirement(line)
        if pin.marker and not pin.marker.evaluate():
            continue
        pins += 1
        expected = str(pin.specifier).removeprefix("==")
        try:
            received = installed(pin.name)
        except metadata.PackageNotFoundError:
            missing.append(pin.name)
            continue
        if received != expected:
            other.append(f"{pin.name} {received} (locked: {expected})")
    fix = f"`make clean setup` installs {lock} anew"
    if missing:
        return Finding(FAULT, f"{first_ten(missing, ', ')} missing: {fix}")
    if other:
        return Finding(NOTE, f"{first_ten(other, ', ')}: other bytes may come out: {fix}")
    return Finding(OK, f"{pins}, as in {lock}")


def check_machine(free_gb: float, free_gib: float, threads: int) -> Finding:
    """Room on the disk, memory, threads."""
    text = f"{threads} threads, {free_gib:.1f} GiB of memory free, {free_gb:.0f} GB of disk free"
    if free_gb < GB_NEEDED:
        return Finding(FAULT, f"{text}: free at least {GB_NEEDED} GB of the disk")
    if free_gib < GIB_NEEDED:
        return Finding(NOTE, f"{text}: a training takes {GIB_NEEDED} GiB or more: end other work")
    return Finding(OK, text)


def start_probe() -> subprocess.Popen[str]:
    """Start to ask TensorFlow what it sees, which takes it seconds."""
    return subprocess.Popen(
        [sys.executable, "-c", PROBE],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish_probe(probe: subprocess.Popen[str]) -> tuple[dict[str, Any] | None, str]:
    """TensorFlow's answer, None if it has none, and what it wrote to stderr."""
    try:
        out, errors = probe.communicate(timeout=SECONDS_FOR_TENSORFLOW)
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.communicate()
        return None, f"no answer in {SECONDS_FOR_TENSORFLOW} s"
    if probe.returncode:
        return None, errors.strip() or f"ended with code {probe.returncode}"
    return json.loads(out.splitlines()[-1]), errors


def check_gpu(
    seen: Mapping[str, Any] | None, errors: str, driver: bool, libraries: bool, visible: str | None
) -> Finding:
    """Whether TensorFlow runs, and on what.

    Args:
        seen: Its answer to `PROBE`.
        errors: What it wrote to stderr.
        driver: Whether there is a driver of NVIDIA.
        libraries: Whether CUDA's libraries are installed as packages of Python.
        visible: CUDA_VISIBLE_DEVICES.
    """
    last = (errors.strip().splitlines() or [""])[-1]
    if seen is None:
        return Finding(FAULT, f"TensorFlow cannot be imported ({last}): `make clean setup`")
    gpus = seen["gpus"]
    if len(gpus) > 1:
        return Finding(FAULT, f"{', '.join(gpus)}: a network runs on one: CUDA_VISIBLE_DEVICES=0")
    if gpus:
        return Finding(OK, f"{gpus[0]}, seen by TensorFlow")
    if not driver:
        return Finding(OK, "none (no driver of NVIDIA): networks run on the CPU")
    unused = "there is a driver of NVIDIA, but TensorFlow uses no GPU"
    if visible is not None and visible.strip() in ("", "-1"):
        return Finding(NOTE, f"{unused}: CUDA_VISIBLE_DEVICES={visible!r} hides it: unset it")
    if not seen["cuda"]:
        return Finding(NOTE, f"{unused}: this TensorFlow is built without CUDA: `make clean setup`")
    if not libraries:
        return Finding(NOTE, f"{unused}: CUDA's libraries are missing: `make repro GPU=1`")
    why = [line for line in errors.splitlines() if re.search("cuda|gpu|dlopen", line, re.I)]
    said = re.sub(r".*?\] ", "", (why or [last])[-1])
    return Finding(NOTE, f"{unused}: it says: {said} (is `nvidia-smi` content?)")


def check_data(root: Path) -> Finding:
    """The data set: where it is, its counts, that no listed image is missing."""
    what = check_root(root)
    if root == paths.PHANTOM_ROOT:
        return Finding(OK, f"{root}, the embedded phantom")
    if not root.exists():
        return Finding(OK, f"{root}: {what}")
    opened = open_root(root)
    index = read_index(opened)
    check_files(index, list_images(opened))
    differences = compare_with_official(index)
    counts = describe_differences(differences)
    of_mura = "mura" in str(root).lower()
    size = f"{len(index):,} images of {index['patient'].nunique():,} patients"
    return Finding(NOTE if differences and of_mura else OK, f"{root}, {what}, {size}; {counts}")


def check_weights(params: Params) -> Finding:
    """Pretrained weights of each network, without fetching any."""
    texts, level = [], OK
    for name in params.networks:
        config = params.training(name)
        published = imagenet_to_fetch(config, paths.PRETRAINED)
        if published is not None:
            level = NOTE
            texts.append(f"{name}: `dvc repro` will fetch {published.url}")
        elif (path := find_weights(config, paths.PRETRAINED)) is not None:
            texts.append(f"{name}: {path}")
    return Finding(level, "; ".join(texts) or "none are asked for")


def check_git() -> Finding:
    """That this is a clone, in the middle of no merge."""
    changed = git("status", "--porcelain", "--untracked-files=no").splitlines()
    if torn := [line[3:] for line in changed if "U" in line[:2] or line[:2] in ("AA", "DD")]:
        fix = "take one side of each, then `dvc repro`"
        return Finding(FAULT, f"both sides of a merge in {first_ten(torn, ', ')}: {fix}")
    if changed:
        names = first_ten([line[3:] for line in changed], ", ")
        return Finding(OK, f"differs from the last commit: {names}")
    return Finding(OK, "as in the last commit")


def check_dvc() -> Finding:
    """That no file of DVC's own was torn by a kill."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    for lock in git("ls-files", "*dvc.lock").splitlines():
        if Path(lock).exists():
            fix = f"`git checkout HEAD {lock}`, then `dvc repro`"
            try:
                COMPILED_LOCKFILE_SCHEMA(parse_yaml(Path(lock).read_text("utf-8"), lock))
            except (InputError, Invalid):
                return Finding(FAULT, f"{lock} is torn, as by a kill while it was written: {fix}")
    try:
        json.loads(RWLOCK.read_text("utf-8") if RWLOCK.exists() else "{}")
    except ValueError:
        return Finding(FAULT, f"{RWLOCK} is torn, as by a kill while it was written: remove it")
    return Finding(OK, "its own files are whole")


def check_remote() -> Finding:
    """That the default remote answers."""
    with open_repo() as repo:
        if not repo.config["core"].get("remote"):
            return Finding(NOTE, "none: results are on this machine alone; see docs/team.md")
        name = repo.config["core"]["remote"]
        with open_remote(repo, None) as remote:
            if not remote.odb.fs.exists(repo.cloud.get_remote(name).path):
                fix = "`ulna share` makes it; is the disk mounted?"
                return Finding(NOTE, f"{name} is empty or not there: {fix}")
    return Finding(OK, f"{name} answers")


def in_time(check: Callable[[], Finding], seconds: float) -> Finding:
    """The finding of a check that waits for a network; a note if it takes too long."""
    found: list[Finding] = []
    thread = Thread(target=lambda: found.append(attempt(check)), daemon=True)
    thread.start()
    thread.join(seconds)
    late = Finding(NOTE, f"no answer in {seconds} s: look at the network, the VPN, the address")
    return found[0] if found else late


def attempt(check: Callable[[], Finding]) -> Finding:
    """The finding of a check, or the fault that it ends in."""
    try:
        return check()
    except (InputError, OSError) as error:
        return Finding(FAULT, str(error))


def examine() -> Iterator[tuple[str, Finding]]:
    """Do all checks, each under its name."""
    with start_probe() as probe:
        try:
            yield "Python", check_python(sys.version_info[:2], os.environ)
            yield "packages", attempt(lambda: check_packages(LOCK, metadata.version))
            free = shutil.disk_usage(".").free / 1e9, psutil.virtual_memory().available / 2**30
            yield "machine", check_machine(*free, cores())
            yield from _examine_inputs()
            yield "git", attempt(check_git)
            yield "DVC", attempt(check_dvc)
            yield "remote", in_time(check_remote, SECONDS_FOR_REMOTE)
            libraries = any(d.name.startswith("nvidia-cu") for d in metadata.distributions())
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            yield "GPU", check_gpu(*finish_probe(probe), has_gpu_driver(), libraries, visible)
        finally:
            probe.kill()


def _examine_inputs() -> Iterator[tuple[str, Finding]]:
    try:
        params = load_params(paths.PARAMS)
    except InputError as error:
        yield "parameters", Finding(FAULT, str(error))
        return
    yield "parameters", Finding(OK, f"{paths.PARAMS} is valid")
    yield "data", attempt(lambda: check_data(Path(params.data.root)))
    yield "weights", attempt(lambda: check_weights(params))


def lay_out(name: str, finding: Finding) -> str:
    """A finding on lines of at most `WIDTH` characters."""
    head = f"{finding.level:<6}{name:<12}"
    lines: Iterable[str] = finding.text.splitlines()
    wrapped = [part for line in lines for part in textwrap.wrap(line, WIDTH - len(head))]
    return head + f"\n{'':{len(head)}}".join(wrapped)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`ulna doctor` has no arguments."""


def run(arguments: argparse.Namespace) -> None:
    """Print each finding as it is made; exit code 1 after a fault."""
    levels = []
    for name, finding in examine():
        print(lay_out(name, finding), flush=True)
        levels.append(finding.level)
    faults, notes = levels.count(FAULT), levels.count(NOTE)
    print(f"{faults} fault{'s' * (faults != 1)}, {notes} note{'s' * (notes != 1)}")
    if faults:
        raise SystemExit(1)

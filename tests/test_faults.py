"""Disks that fill up or fail: at every write, sync and rename, and at a byte of the kernel's."""

import errno
import io
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faulty_disk import FAULTS, Disk, no_file_larger_than, used
from tiny_stages import Stages, bytes_below

from stages.preprocess import preprocess
from ulna.core import InputError, paths
from ulna.core import io as ulna_io
from ulna.data import cache
from ulna.evaluation.localization import write_maps
from ulna.phantom.tree import write_phantom

HERE = Path(__file__).parent


def write_a_folder(folder: Path, number: int) -> None:
    with ulna_io.atomic_directory(folder) as partial:
        (partial / "inner").mkdir()
        (partial / "inner" / "deep.txt").write_text(f"deep {number}\n" * 3000)
        ulna_io.write_json(partial / "a.json", {"number": number})


# Each writes something that depends on a number: the old and the new differ.
WRITERS: dict[str, Callable[[Path, int], None]] = {
    "write_csv": lambda path, k: ulna_io.write_csv(path, pd.DataFrame({"x": range(k, 9000 + k)})),
    "write_json": lambda path, k: ulna_io.write_json(path, {"x": list(range(k, 9000 + k))}),
    "write_text": lambda path, k: ulna_io.write_text(path, f"{k}\n" * 9000),
    "replacing_folder": write_a_folder,
    "write_maps": lambda path, k: write_maps(
        path, pd.Series(["a"], name="image"), np.full((1, 60, 60), k, np.float32), {"test": k}
    ),
}


@pytest.mark.promise("C19")
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("fault", FAULTS, ids=errno.errorcode.get)
def test_whatever_fails_the_old_or_the_new_is_there_whole(writer, fault, tmp_path):
    """At every operation in turn; the old stays unless only its name had still to be synced."""
    write = WRITERS[writer]
    target = tmp_path / "output"
    write(target, 1)
    old = bytes_below(tmp_path)
    disk = Disk()
    with used(disk):
        write(target, 2)
    new = bytes_below(tmp_path)
    assert disk.done >= 4  # a write, a sync, a rename, a sync of its name
    assert set(old) == set(new) and old != new
    for operation in range(1, disk.done + 1):
        write(target, 1)
        with used(Disk(operation, fault)), pytest.raises(ulna_io.WriteError) as raised:
            write(target, 2)
        assert f"{target}" in str(raised.value)
        assert FAULTS[fault] in str(raised.value)
        assert ".partial-" not in str(raised.value)
        assert bytes_below(tmp_path) == (new if operation == disk.done else old), operation
        write(target, 2)
        assert bytes_below(tmp_path) == new


@pytest.mark.promise("C19")
def test_without_an_old_one_nothing_is_left(tmp_path):
    for writer, write in WRITERS.items():
        for operation in (1, 2, 3):
            with used(Disk(operation)), pytest.raises(OSError):
                write(tmp_path / "output", 1)
            assert list(tmp_path.iterdir()) == [], writer


@pytest.mark.promise("C19")
@pytest.mark.parametrize("writer", WRITERS)
def test_all_is_on_the_disk_before_it_gets_its_name_and_the_name_after(writer, tmp_path):
    """A power cut may otherwise leave a name without what belongs under it."""
    done: list[int | str] = []
    sync, rename, replace = os.fsync, os.rename, os.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda n: (done.append(os.fstat(n).st_ino), sync(n)))
        patch.setattr(os, "rename", lambda *a: (done.append("named"), rename(*a)))
        patch.setattr(os, "replace", lambda *a: (done.append("named"), replace(*a)))
        WRITERS[writer](tmp_path / "output", 1)
    last = len(done) - done[::-1].index("named") - 1
    output = tmp_path / "output"
    below = [output, *(output.rglob("*") if output.is_dir() else ())]
    assert {path.stat().st_ino for path in below} <= set(done[:last])
    assert done[last + 1 :] == [tmp_path.stat().st_ino]


@pytest.mark.promise("C19")
def test_what_a_killed_run_left_behind_goes_and_nothing_else(tmp_path):
    (tmp_path / ".partial-1-a.txt").write_text("half")
    (tmp_path / ".partial-1-b-a.txt").write_text("of another file")
    ulna_io.write_text(tmp_path / "a.txt", "whole")
    for name in (".partial-1-cache", ".partial-1-replaced-cache", ".partial-1-my-cache"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "WRIST.npy").write_bytes(b"half")
    write_a_folder(tmp_path / "cache", 1)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"a.txt", ".partial-1-b-a.txt", "cache", ".partial-1-my-cache"}


@pytest.mark.promise("C19")
def test_a_fault_of_reading_is_not_taken_for_one_of_writing(tmp_path):
    with (
        pytest.raises(ulna_io.WriteError, match=r"out .*in\.csv"),
        ulna_io.atomic_write(tmp_path / "out"),
    ):
        (tmp_path / "in.csv").read_text()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Stages:
    made = Stages(tmp_path_factory.mktemp("tiny"))
    for stage in made.outputs:
        made.run(stage)
    return made


def check_after_a_fault(tiny: Stages, stage, old, new, said: str) -> None:
    now = tiny.written(stage)
    assert set(now) == set(new)
    for name, data in now.items():
        assert data in (old[name], new[name]), f"{name} is half-written"
    lines = said.splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith(f"{stage.__name__}: ")
    assert any(name.split("/")[1] in lines[0] for name in new)


@pytest.mark.promise("C19")
@pytest.mark.parametrize("stage", Stages.outputs, ids=lambda stage: stage.__name__)
def test_a_stage_whose_disk_fails_shows_nothing_half_written(stage, tiny, capsys):
    """Ten operations each, chosen anew for either fault; then it runs as if nothing had been."""
    tiny.run(stage)
    new = tiny.written(stage)
    disk = Disk()
    with used(disk):
        tiny.run(stage)
    assert tiny.written(stage) == new
    for fault in FAULTS:
        for operation in sorted(random.Random(fault).sample(range(1, disk.done + 1), 5)):
            old = tiny.age(stage)
            capsys.readouterr()
            with used(Disk(operation, fault)), pytest.raises(SystemExit) as ended:
                tiny.run(stage)
            assert ended.value.code == 1
            check_after_a_fault(tiny, stage, old, new, capsys.readouterr().err)
    tiny.run(stage)
    assert tiny.written(stage) == new


@pytest.mark.promise("C19")
@pytest.mark.parametrize("stage", Stages.outputs, ids=lambda stage: stage.__name__)
def test_a_stage_that_the_kernel_stops_at_a_byte_shows_nothing_half_written(stage, tiny, capsys):
    tiny.run(stage)
    new = tiny.written(stage)
    largest = max(map(len, new.values()))
    # The lock of a stage, which is no output, holds some 8 bytes.
    for size in [16, largest - 1, *random.Random(7).sample(range(16, largest), 4)]:
        old = tiny.age(stage)
        capsys.readouterr()
        with no_file_larger_than(size), pytest.raises(SystemExit) as ended:
            tiny.run(stage)
        assert ended.value.code == 1
        check_after_a_fault(tiny, stage, old, new, capsys.readouterr().err)
    tiny.run(stage)
    assert tiny.written(stage) == new


def on_a_full_disk(folder: Path) -> None:
    """Run in a process of its own on a file system of 1 MB."""
    # It would not let preprocess begin.
    cache.require_free_space = lambda *arguments: None
    tiny = Stages(folder / "tiny")
    rest = folder / "rest"
    for stage in tiny.outputs:
        tiny.run(stage)
        new = tiny.written(stage)
        # Blocks of 4 KiB. The small tables of the other two get by with one.
        for blocks in (0, 1, 5) if stage is preprocess else (0,):
            old = tiny.age(stage)
            free = os.statvfs(folder)
            rest.write_bytes(b"0" * (free.f_bavail - blocks) * free.f_bsize)
            said = io.StringIO()
            with redirect_stderr(said), pytest.raises(SystemExit) as ended:
                tiny.run(stage)
            rest.unlink()
            assert ended.value.code == 1
            assert "No space left on device; free some" in said.getvalue()
            check_after_a_fault(tiny, stage, old, new, said.getvalue())
        tiny.run(stage)
        assert tiny.written(stage) == new


@pytest.mark.promise("C19")
def test_a_full_disk_shows_nothing_half_written(tmp_path):
    """A real one: a small file system in memory, mounted where no other process sees it."""
    mount = ("unshare", "--map-root-user", "--mount", "sh", "-c")
    script = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            [*mount, script, str(tmp_path), "true"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no file system may be mounted here")
    program = (
        "import sys, pathlib; sys.path[:0] = sys.argv[2:]; import test_faults; "
        "test_faults.on_a_full_disk(pathlib.Path(sys.argv[1]))"
    )
    found = (str(HERE), str(HERE.parent), str(HERE.parent / "src"))
    done = subprocess.run(
        [*mount, script, str(tmp_path), sys.executable, "-c", program, str(tmp_path), *found],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.promise("C19")
def test_work_that_would_fill_the_disk_is_refused_before_it_begins(tiny, monkeypatch, capsys):
    """Room for the squares is not enough: DVC copies them."""
    tiny.run(preprocess)
    new = tiny.written(preprocess)
    count = len(pd.read_csv(tiny.folder / paths.IMAGES))
    needed = 2 * count * 32**2
    usage = shutil.disk_usage(tiny.folder)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 1))
        patch.setattr(cache, "atomic_directory", pytest.fail)
        capsys.readouterr()
        tiny.run(preprocess)
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("preprocess: ") and "data/cache" in error and f"{count} images" in error
    assert tiny.written(preprocess) == new
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    tiny.run(preprocess)


def test_a_phantom_that_would_fill_the_disk_is_not_begun(tmp_path, monkeypatch):
    """A thousand patients have some 2,800 images, of 35 KB each in the mean."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=150 * 10**6))
    with pytest.raises(InputError, match=r"2\d\d MB .*phantom"):
        write_phantom(tmp_path / "phantom.zip", seed=1, patients=1000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "copies"), [("", 2), ("[cache]\n    dir = /large\n", 1), ("[core]\n", 2)]
)
def test_a_cache_on_another_disk_needs_no_room_here(config, copies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    Path(".dvc/config.local").write_text(config)
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**9 * copies))
    ulna_io.require_free_space(Path("data/cache"), 10**9, "the cache")
    with pytest.raises(InputError, match="[12],001 MB"):
        ulna_io.require_free_space(Path("data/cache"), 10**9 + 1, "the cache")

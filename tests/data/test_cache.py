import contextlib
import os
import platform
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cache_files import BAD, IMAGE, NAMES, content, files, table, write_root

import ulna.data.cache
from ulna.core import InputError
from ulna.data.cache import _keep_freed_memory, build_cache, load_cache
from ulna.data.images import decode, letterbox

SRC = Path(__file__).resolve().parents[2] / "src"
FRACATLAS = Path(__file__).resolve().parents[3] / "shared/data/fracatlas/MURA-v1.1"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_root(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture
def images() -> pd.DataFrame:
    return table()


@pytest.fixture
def folder(images, root, tmp_path) -> Path:
    build_cache(images, root, tmp_path / "cache", **IMAGE)
    return tmp_path / "cache"


def test_every_image_lies_at_its_rank_in_its_body_part(folder, images):
    cache = load_cache(folder)
    assert sorted(cache.arrays) == ["ELBOW", "WRIST"]
    data = files()
    for part, of_part in images.groupby("body_part"):
        assert cache.arrays[part].shape == (len(of_part), 32, 32)
        assert cache.arrays[part].dtype == np.uint8
        for row, name in enumerate(of_part["image"]):
            square = cache.arrays[part][row]
            if name in BAD:
                assert not square.any()
            else:
                assert np.array_equal(square, letterbox(decode(data[name], 1).pixels, 32, "pad"))


def test_the_table_is_in_the_order_of_the_prepared_one(folder, images):
    table = load_cache(folder).images
    good = images[~images["image"].isin(BAD)]
    assert list(table["image"]) == list(good["image"])
    assert list(table["body_part"]) == list(good["body_part"])
    # The row counts the rejected images as well.
    counted: dict[str, int] = {}
    rows = {}
    for image, part in zip(images["image"], images["body_part"], strict=True):
        rows[image] = counted.get(part, 0)
        counted[part] = rows[image] + 1
    assert list(table["row"]) == [rows[image] for image in good["image"]]


def test_the_table_holds_the_measurements_at_full_size(folder):
    first = load_cache(folder).images.iloc[0]
    pixels = decode(files()[first["image"]], 1).pixels
    assert (first["mode"], first["bit_depth"]) == ("L", 8)
    assert (first["height_px"], first["width_px"]) == pixels.shape == (20, 90)
    assert first["mean"] == round(pixels.mean(), 4)


@pytest.mark.promise("C22")
@pytest.mark.fault("image replaced")
def test_bad_images_are_rejected_by_name_and_reason(images, root, tmp_path):
    rejected = build_cache(images, root, tmp_path / "cache", **IMAGE)
    reasons = ["neither PNG nor JPEG nor DICOM by its content", "the file is empty"]
    assert rejected.to_dict("list") == {"image": list(BAD), "reason": reasons}
    written = (tmp_path / "cache/rejected.csv").read_text().splitlines()
    assert written == ["image,reason", *map(",".join, zip(BAD, reasons, strict=True))]
    assert not set(BAD) & set(load_cache(tmp_path / "cache").images["image"])


@pytest.mark.promise("C22")
def test_more_bad_images_than_allowed_stop_the_run(images, root, tmp_path):
    strict = IMAGE | {"max_bad_fraction": 0.06}
    with pytest.raises(InputError) as caught:
        build_cache(images, root, tmp_path / "cache", **strict)
    first, *named = str(caught.value).splitlines()
    assert first.startswith("2 of 30 images") and "image.max_bad_fraction" in first
    assert [line.partition(":")[0] for line in named] == [NAMES[3], NAMES[7]]
    assert list(tmp_path.iterdir()) == []


def test_as_many_bad_images_as_allowed_pass(images, root, tmp_path):
    limit = IMAGE | {"max_bad_fraction": 2 / 30}
    assert len(build_cache(images, root, tmp_path / "cache", **limit)) == 2


def test_an_error_names_the_first_ten_bad_images(images, root, tmp_path):
    small = IMAGE | {"max_megapixels": 1e-6}
    with pytest.raises(InputError) as caught:
        build_cache(images, root, tmp_path / "cache", **small)
    lines = str(caught.value).splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("30 of 30 images") and lines[-1] == "and 20 more"


def test_a_missing_image_is_rejected_without_an_absolute_path(images, tmp_path):
    root = write_root(tmp_path / "set")
    (root / NAMES[0]).unlink()
    rejected = build_cache(images, root, tmp_path / "cache", **IMAGE)
    assert rejected["image"][0] == NAMES[0]
    assert "missing" in rejected["reason"][0]
    assert str(tmp_path) not in (tmp_path / "cache/rejected.csv").read_text()


def test_no_text_of_an_image_reaches_the_cache(folder, root):
    assert b"CANARY" in (root / NAMES[0]).read_bytes()
    assert not any(b"CANARY" in path.read_bytes() for path in folder.iterdir())


@pytest.mark.promise("B14")
def test_the_number_of_processes_changes_nothing(folder, images, root, tmp_path, monkeypatch):
    # Batches of two, so that each of three processes gets several.
    monkeypatch.setattr(ulna.data.cache, "BATCH", 2)
    build_cache(images, root, tmp_path / "three", **IMAGE, workers=3)
    assert content(tmp_path / "three") == content(folder)


def test_two_runs_and_a_zip_give_the_same_bytes(folder, images, root, tmp_path):
    build_cache(images, root, tmp_path / "again", **IMAGE)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(root.rglob("*.*")):
            archive.write(path, f"MURA-v1.1/{path.relative_to(root).as_posix()}")
    build_cache(images, tmp_path / "set.zip", tmp_path / "zipped", **IMAGE)
    assert content(tmp_path / "again") == content(tmp_path / "zipped") == content(folder)


@pytest.mark.promise("C19")
@pytest.mark.parametrize(
    "place", ["data.cache.letterbox", "data.cache.write_csv", "core.io.os.fsync"]
)
def test_an_error_leaves_nothing_or_the_old_cache(
    images, root, folder, tmp_path, monkeypatch, place
):
    before = content(folder)
    calls = 0

    def fails_at_the_second(*_: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        return np.ones((32, 32), np.uint8)

    monkeypatch.setattr(f"ulna.{place}", fails_at_the_second)
    for name in ("cache", "new"):
        calls = 0
        with pytest.raises(OSError, match="No space left"):
            build_cache(images, root, tmp_path / name, **IMAGE)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert content(folder) == before


@pytest.mark.promise("C19")
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="lists processes with /proc")
def test_a_killed_run_leaves_no_cache_and_no_process_and_the_next_run_no_part(
    images, root, folder, tmp_path
):
    # An image that never ends holds the run where it can be killed.
    program = f"""
import sys, time
sys.path.insert(0, {str(SRC)!r})
from pathlib import Path
import pandas as pd
import ulna.data.cache

def stalls(*_):
    time.sleep(60)

if __name__ == "__main__":
    ulna.data.cache.BATCH = 1
    images = pd.read_csv({str(tmp_path / "images.csv")!r})
    root = Path({str(root)!r})
    ulna.data.cache.build_cache(images, root, Path("killed"), **{IMAGE!r}, workers=2)
else:
    ulna.data.cache.letterbox = stalls
"""
    images.to_csv(tmp_path / "images.csv", index=False)
    (tmp_path / "stalls.py").write_text(program)
    run = subprocess.Popen([sys.executable, "stalls.py"], cwd=tmp_path, start_new_session=True)
    partial = tmp_path / f".partial-{run.pid}-killed"
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    try:
        # Two workers, and the process that multiprocessing starts to clean up after them.
        wait_for(lambda: partial.is_dir() and len(children.read_text().split()) == 3)
        started = [int(child) for child in children.read_text().split()]
        run.kill()
        run.wait()
        wait_for(lambda: not any(is_alive(pid) for pid in started))
    finally:
        # Where the test fails, the group it started is still there.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert partial.is_dir() and not (tmp_path / "killed").exists()
    build_cache(images, root, tmp_path / "killed", **IMAGE)
    assert not partial.exists()
    assert content(tmp_path / "killed") == content(folder)


def wait_for(condition) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        # The name before it may hold blanks; Z is a process that has ended and was not asked after.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_fault_of_the_data_set_is_raised_before_processes_start(images, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        build_cache(images, tmp_path / "nowhere", tmp_path / "cache", **IMAGE, workers=2)


@pytest.mark.promise("F35")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_memory_does_not_grow_with_the_number_of_images(images, root, tmp_path):
    # 900 more squares of 512 pixels are 236 MB, 900 more rows of the table about 1 MB.
    few, many = (peak_mb(images, root, tmp_path, count) for count in (100, 1000))
    assert many - few < 20


def peak_mb(images: pd.DataFrame, root: Path, folder: Path, count: int) -> float:
    good = images[~images["image"].isin(BAD)].head(4)
    table = pd.concat([good] * (count // 4), ignore_index=True)
    table.to_csv(folder / "images.csv", index=False)
    program = f"""
import resource, sys
sys.path.insert(0, {str(SRC)!r})
from pathlib import Path
import pandas as pd
from ulna.data.cache import build_cache

images = pd.read_csv("images.csv")
build_cache(images, Path({str(root)!r}), Path("many"), **{IMAGE | {"size_px": 512}!r}, workers=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    return float(ended.stdout.split()[-1])


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries treat freed memory in other ways"
)
def test_memory_of_one_image_serves_the_next():
    _keep_freed_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        # Two buffers of an image of 512 x 400 pixels: 100 pages; without the call, 5,000 faults.
        np.ones(204_800, np.uint8).tobytes()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 1000


@pytest.mark.skipif(not FRACATLAS.is_dir(), reason="no FracAtlas beside the checkout")
def test_real_radiographs_are_all_cached(tmp_path):
    lines = (FRACATLAS / "valid_image_paths.csv").read_text().split()[:60]
    names = [line.removeprefix("MURA-v1.1/") for line in lines]
    images = pd.DataFrame({"image": names, "body_part": "HAND"})
    assert build_cache(images, FRACATLAS, tmp_path / "cache", **IMAGE).empty
    cache = load_cache(tmp_path / "cache")
    # Radiographs: black around, a bright part in the middle, none empty.
    squares = cache.arrays["HAND"].astype(float)
    assert (squares.std(axis=(1, 2)) > 5).all()
    assert cache.images["mean"].between(5, 150).all()


@pytest.mark.promise("D25")
@pytest.mark.parametrize(
    ("name", "damage", "fault"),
    [
        ("images.csv", None, "images.csv"),
        ("rejected.csv", None, "rejected.csv"),
        ("WRIST.npy", None, "WRIST.npy"),
        ("WRIST.npy", lambda data: data[:-1], "WRIST.npy"),
        ("WRIST.npy", lambda data: data + b"\0", "WRIST.npy"),
        ("WRIST.npy", lambda data: b"", "WRIST.npy"),
        ("WRIST.npy", lambda data: data.replace(b"|u1", b"|i1"), "int8"),
        (
            "WRIST.npy",
            lambda data: data.replace(b"(20, 32, 32)", b"(20, 1024,) "),
            "expected uint8",
        ),
        (
            "WRIST.npy",
            lambda data: data.replace(b"(20, 32, 32)", b"(5, 64, 64) "),
            "sizes",
        ),
        ("WRIST.npy", lambda data: data.replace(b"|u1", b"|O "), "WRIST.npy"),
        ("images.csv", lambda data: b"", "images.csv"),
        ("images.csv", lambda data: data.replace(b"row", b"place", 1), "columns"),
        ("images.csv", lambda data: data.replace(b",0,L,", b",x,L,", 1), "images.csv"),
        ("images.csv", lambda data: data.replace(b",0,L,", b",1,L,", 1), "rows of WRIST"),
        ("images.csv", lambda data: data.replace(b",0,L,", b",99,L,", 1), "rows of WRIST"),
        ("images.csv", lambda data: data.replace(b",0,L,", b",-1,L,", 1), "rows of WRIST"),
        ("images.csv", lambda data: data[: data.rindex(b"train")], "30 rows, but lists 27"),
        ("images.csv", lambda data: data + data.splitlines()[-1], "twice"),
    ],
)
def test_a_damaged_cache_is_refused(folder, name, damage, fault):
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if damage:
        assert damage(data) != data
        path.write_bytes(damage(data))
    with pytest.raises(InputError) as caught:
        load_cache(folder)
    assert fault in str(caught.value)
    assert "dvc repro preprocess" in str(caught.value)


def test_a_cache_without_arrays_is_refused(folder):
    for path in folder.glob("*.npy"):
        path.unlink()
    for name in ("images.csv", "rejected.csv"):
        header = (folder / name).read_text().splitlines()[0]
        (folder / name).write_text(header + "\n")
    with pytest.raises(InputError, match=folder.name):
        load_cache(folder)


def test_a_cache_without_rejected_images_is_valid(images, root, tmp_path):
    good = images[~images["image"].isin(BAD)]
    build_cache(good, root, tmp_path / "cache", **IMAGE)
    assert len(load_cache(tmp_path / "cache").images) == 28


def test_arrays_are_read_only_and_memory_mapped(folder):
    for array in load_cache(folder).arrays.values():
        assert isinstance(array, np.memmap) and not array.flags.writeable


def test_gather_gives_images_in_the_order_asked_for(folder):
    cache = load_cache(folder)
    parts = np.array(["WRIST", "ELBOW", "WRIST", "WRIST"], object)
    rows = np.array([5, 2, 0, 5])
    pixels = cache.gather(parts, rows)
    assert pixels.shape == (4, 32, 32) and pixels.dtype == np.uint8
    for k in range(4):
        assert np.array_equal(pixels[k], cache.arrays[parts[k]][rows[k]])


def test_images_one_at_a_time_are_those_of_gather(folder):
    cache = load_cache(folder)
    shuffled = cache.images.sample(frac=1, random_state=1)
    assert np.array_equal(list(cache.squares(shuffled)), cache.gather_samples(shuffled))


def test_gather_of_nothing_is_empty(folder):
    empty = load_cache(folder).gather(np.array([], object), np.array([], int))
    assert empty.shape == (0, 32, 32)


def test_gather_refuses_an_unknown_body_part(folder):
    with pytest.raises(InputError, match="SKULL, .*ELBOW, WRIST"):
        load_cache(folder).gather(np.array(["SKULL"], object), np.array([0]))

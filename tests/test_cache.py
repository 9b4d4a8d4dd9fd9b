from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cache_files import BAD, IMAGE, table, write_root

from ulna.data.cache import build_cache, gather, load_cache
from ulna.errors import InputError

SRC = Path(__file__).resolve().parents[1] / "src"
FRACATLAS = Path(__file__).resolve().parents[2] / "shared/data/fracatlas/MURA-v1.1"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_root(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture
def images() -> pd.DataFrame:
    return table()


@pytest.fixture
def folder(images, root, tmp_path) -> Path:
    build_cache(images, root, tmp_path / "cache", IMAGE)
    return tmp_path / "cache"


@pytest.mark.promise("D25")
@pytest.mark.parametrize(
    "name, damage, fault",
    [
        ("images.csv", None, "images.csv is missing"),
        ("rejected.csv", None, "rejected.csv is missing"),
        ("WRIST.npy", None, "WRIST.npy is missing"),
        ("WRIST.npy", lambda data: data[:-1], "WRIST.npy is damaged"),
        ("WRIST.npy", lambda data: data + b"\0", "WRIST.npy is longer than its header says"),
        ("WRIST.npy", lambda data: b"", "WRIST.npy is damaged"),
        ("WRIST.npy", lambda data: data.replace(b"|u1", b"|i1"), "holds int8"),
        (
            "WRIST.npy",
            lambda data: data.replace(b"(20, 32, 32)", b"(20, 1024,) "),
            "expected uint8",
        ),
        (
            "WRIST.npy",
            lambda data: data.replace(b"(20, 32, 32)", b"(5, 64, 64) "),
            "different sizes",
        ),
        ("WRIST.npy", lambda data: data.replace(b"|u1", b"|O "), "WRIST.npy is damaged"),
        ("images.csv", lambda data: b"", "images.csv is damaged"),
        ("images.csv", lambda data: data.replace(b"row", b"place", 1), "has the columns"),
        ("images.csv", lambda data: data.replace(b",0,L,", b",x,L,", 1), "images.csv is damaged"),
        ("images.csv", lambda data: data.replace(b",0,L,", b",1,L,", 1), "twice or outside"),
        ("images.csv", lambda data: data.replace(b",0,L,", b",99,L,", 1), "twice or outside"),
        ("images.csv", lambda data: data.replace(b",0,L,", b",-1,L,", 1), "twice or outside"),
        ("images.csv", lambda data: data[: data.rindex(b"train")], "has places for 30 images"),
        ("images.csv", lambda data: data + data.splitlines()[-1], "lists an image twice"),
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
    assert str(caught.value).endswith(": run `dvc repro preprocess`")


def test_a_cache_without_arrays_is_refused(folder):
    for path in folder.glob("*.npy"):
        path.unlink()
    for name in ("images.csv", "rejected.csv"):
        header = (folder / name).read_text().splitlines()[0]
        (folder / name).write_text(header + "\n")
    with pytest.raises(InputError, match="holds no images"):
        load_cache(folder)


def test_a_cache_without_images_set_aside_is_sound(images, root, tmp_path):
    good = images[~images["image"].isin(BAD)]
    build_cache(good, root, tmp_path / "cache", IMAGE)
    assert len(load_cache(tmp_path / "cache").images) == 28


def test_arrays_are_read_only_and_memory_mapped(folder):
    for array in load_cache(folder).arrays.values():
        assert isinstance(array, np.memmap) and not array.flags.writeable


def test_gather_gives_images_in_the_order_asked_for(folder):
    cache = load_cache(folder)
    parts = np.array(["WRIST", "ELBOW", "WRIST", "WRIST"], object)
    rows = np.array([5, 2, 0, 5])
    pixels = gather(cache, parts, rows)
    assert pixels.shape == (4, 32, 32) and pixels.dtype == np.uint8
    for k in range(4):
        assert np.array_equal(pixels[k], cache.arrays[parts[k]][rows[k]])


def test_gather_of_nothing_is_empty(folder):
    empty = gather(load_cache(folder), np.array([], object), np.array([], int))
    assert empty.shape == (0, 32, 32)


def test_gather_refuses_an_unknown_body_part(folder):
    with pytest.raises(InputError, match="holds no SKULL, only ELBOW, WRIST"):
        gather(load_cache(folder), np.array(["SKULL"], object), np.array([0]))

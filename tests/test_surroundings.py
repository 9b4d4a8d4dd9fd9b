"""What surrounds a stage without a network changes none of its bytes."""

import os
import random
import time

import pytest
from tiny_stages import Stages


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Stages:
    return Stages(tmp_path_factory.mktemp("tiny"))


def everything(tiny: Stages) -> dict[str, bytes]:
    written = {}
    for stage in tiny.outputs:
        tiny.run(stage)
        written |= tiny.written(stage)
    return written


class Shuffled:
    """A folder that is read in another order, whatever the file system's."""

    def __init__(self, real, *arguments) -> None:
        with real(*arguments) as entries:
            self.entries = sorted(entries, key=lambda entry: entry.name)
        random.Random(3).shuffle(self.entries)

    def __iter__(self):
        return iter(self.entries)

    def __next__(self):
        if not self.entries:
            raise StopIteration
        return self.entries.pop()

    def __enter__(self):
        return self

    def __exit__(self, *fault) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.promise("B12")
def test_the_order_of_folders_the_clock_and_the_umask_change_nothing(tiny, monkeypatch):
    plain = everything(tiny)
    assert len(plain) > 10

    listed, scanned = os.listdir, os.scandir
    monkeypatch.setattr(os, "listdir", lambda *a: sorted(listed(*a), reverse=True))
    monkeypatch.setattr(os, "scandir", lambda *a: Shuffled(scanned, *a))
    folder = tiny.folder / "data" / "MURA-v1.1" / "train" / "XR_WRIST"
    for names in ([path.name for path in folder.iterdir()], [e.name for e in os.scandir(folder)]):
        assert names != sorted(names)
    monkeypatch.setattr(time, "time", lambda: 981173106.0)  # in 2001
    before = os.umask(0o077)
    try:
        other = everything(tiny)
    finally:
        os.umask(before)
    assert other == plain
    assert (tiny.folder / "data" / "prepared" / "images.csv").stat().st_mode & 0o077 == 0

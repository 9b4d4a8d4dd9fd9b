"""The journal: what was finished survives, what was not is done again."""

import errno
import json
import os

import pytest

from ulna.core import InputError
from ulna.inference.journal import Journal, digest

KEY = {"bundle": "ab", "version": "0.1.0"}


def leave(path, key=KEY, records=(("d1", {"n": 1}), ("d2", {"n": 2}))):
    """A journal as a run that broke off leaves it."""
    with pytest.raises(KeyboardInterrupt), Journal(path, key) as journal:
        for name, record in records:
            journal.append(name, record)
        raise KeyboardInterrupt


def test_a_finished_run_leaves_no_journal(tmp_path):
    path = tmp_path / "deep" / "out.json.partial"
    with Journal(path, KEY) as journal:
        journal.append("d1", {"n": 1})
        assert path.exists()
    assert not path.exists()


def test_a_run_that_fails_before_its_first_study_leaves_none(tmp_path):
    leave(tmp_path / "out.partial", records=())
    assert list(tmp_path.iterdir()) == []


def test_a_broken_run_is_gone_on_with(tmp_path):
    path = tmp_path / "out.partial"
    leave(path)
    with Journal(path, KEY) as journal:
        assert len(journal) == 2 and "d1" in journal and "d3" not in journal
        journal.append("d3", {"n": 3})
        assert [journal.read(name)["n"] for name in ("d2", "d3", "d1")] == [2, 3, 1]


def test_records_of_another_key_are_not_used(tmp_path):
    path = tmp_path / "out.partial"
    leave(path)
    with Journal(path, {**KEY, "bundle": "cd"}) as journal:
        assert len(journal) == 0
        journal.append("d1", {"n": 9})
        assert journal.read("d1") == {"n": 9}


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_record_that_was_cut_off_anywhere_is_done_again(cut, tmp_path):
    path = tmp_path / "out.partial"
    leave(path)
    whole = path.read_bytes()
    last = len(whole) - len(whole.splitlines(keepends=True)[-1])
    path.write_bytes(whole[: max(last, len(whole) - cut)])
    with pytest.raises(KeyboardInterrupt), Journal(path, KEY) as journal:
        assert "d1" in journal and "d2" not in journal
        journal.append("d2", {"n": 2})
        raise KeyboardInterrupt
    assert path.read_bytes() == whole


def test_zeros_that_a_power_cut_left_are_no_record(tmp_path):
    path = tmp_path / "out.partial"
    leave(path)
    path.write_bytes(path.read_bytes() + bytes(100))
    with Journal(path, KEY) as journal:
        assert len(journal) == 2


def test_studies_with_refused_files_are_tried_again(tmp_path):
    path = tmp_path / "out.partial"
    leave(path, records=[("d1", {"refused": [{"image": "a"}]}), ("d2", {"refused": []})])
    with Journal(path, KEY) as journal:
        assert "d1" not in journal and "d2" in journal


def test_a_journal_that_its_run_removed_meanwhile_is_not_written_to(tmp_path, monkeypatch):
    path = tmp_path / "out.partial"
    monkeypatch.setattr("fcntl.flock", lambda *_: path.unlink())
    with pytest.raises(InputError, match="another `ulna predict`"):
        Journal(path, KEY)


def test_a_second_process_is_kept_out(tmp_path):
    path = tmp_path / "out.partial"
    with Journal(path, KEY), pytest.raises(InputError, match="another `ulna predict`"):
        Journal(path, KEY)


def test_a_file_that_is_no_journal_is_not_touched(tmp_path):
    path = tmp_path / "notes.partial"
    path.write_text("dear diary\n")
    with pytest.raises(InputError, match="no journal"):
        Journal(path, KEY)
    assert path.read_text() == "dear diary\n"


def test_a_digest_tells_values_apart_and_not_processes():
    parts = ("a", None, [["a/1.png", 10, 99]])
    assert digest(*parts) == digest(*json.loads(json.dumps(parts)))
    assert digest(*parts) != digest("a", None, [["a/1.png", 10, 98]])
    assert len(digest("x\udcff")) == 32


def test_a_full_disk_is_named_and_loses_nothing_before(tmp_path, monkeypatch):
    path = tmp_path / "out.partial"
    with pytest.raises(OSError, match="out.partial was not written: No space left"):
        with Journal(path, KEY) as journal:
            journal.append("d1", {"n": 1})
            full = FullDisk(journal._file)
            monkeypatch.setattr(journal, "_file", full)
            journal.append("d2", {"n": 2})
    with Journal(path, KEY) as journal:
        assert "d1" in journal and "d2" not in journal


class FullDisk:
    """Takes a few bytes, then none."""

    def __init__(self, file):
        self.file, self.room = file, 5

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written, self.room = self.file.write(data[: self.room]), 0
        return written

    def __getattr__(self, name):
        return getattr(self.file, name)

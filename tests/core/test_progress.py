"""The progress of long work."""

import sys

from ulna.core import progress


def test_progress_passes_items_on_and_ends_with_a_line(capsys):
    assert list(progress.progress(iter("abc"), 3, "decode")) == ["a", "b", "c"]
    assert capsys.readouterr().out.startswith("decode: 3 images in ")


def test_a_long_run_logs_its_progress(capsys, monkeypatch):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    list(progress.progress(range(4), 4, "decode"))
    lines = capsys.readouterr().out.splitlines()
    assert ["2 of 4" in lines[0], "40 s" in lines[0]] == [True, True]
    assert ["4 of 4" in lines[1], " 0 s" in lines[1]] == [True, True]


def test_work_that_was_done_before_counts(capsys):
    list(progress.progress("ab", 5, "decode", done=3, lines_to=sys.stderr))
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("decode: 5 images in ")

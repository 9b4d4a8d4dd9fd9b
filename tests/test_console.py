import pytest

from ulna import console
from ulna.errors import InputError


def test_bad_input_ends_in_its_sentence_and_exit_code_1(capsys):
    def prepare() -> None:
        raise InputError("a.csv, line 3: expected 0 or 1, received 2")

    with pytest.raises(SystemExit) as caught:
        console.run(prepare)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "prepare: a.csv, line 3: expected 0 or 1, received 2\n"


def test_a_fault_of_ours_keeps_its_traceback():
    def prepare() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        console.run(prepare)


def test_the_wrong_arguments_are_said_with_the_usage(capsys):
    def train(arch: str) -> None:
        raise AssertionError

    with pytest.raises(SystemExit) as caught:
        console.run(train)
    assert caught.value.code == 2
    assert "usage: python -m stages.train ARCH" in capsys.readouterr().err


def test_help_shows_what_a_stage_does(capsys):
    def train(arch: str) -> None:
        """Train a network."""

    with pytest.raises(SystemExit) as caught:
        console.run(train, "--help")
    assert caught.value.code == 0
    assert capsys.readouterr().out == "usage: python -m stages.train ARCH\n\nTrain a network.\n"


def test_progress_passes_items_on_and_ends_with_a_line(capsys):
    assert list(console.progress(iter("abc"), 3, "decode")) == ["a", "b", "c"]
    assert capsys.readouterr().out.startswith("decode: 3 images in ")


def test_a_long_run_in_a_log_says_how_far_it_is(capsys, monkeypatch):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    list(console.progress(range(4), 4, "decode"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "decode: 2 of 4 images, about 40 s to go",
        "decode: 4 of 4 images, about 0 s to go",
    ]

"""The request of `ulna predict`: what to read, what to write."""

import argparse
import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from ulna.core import InputError
from ulna.inference import request


def parse(*arguments):
    parser = argparse.ArgumentParser()
    request.add_arguments(parser)
    return parser.parse_args(["in", *arguments])


def test_the_first_output_names_the_journal():
    targets = request.parse_targets(parse("--cam", "c", "--csv", "b", "--json", "a"))
    assert targets.paths == (Path("a"), Path("b"), Path("c"))
    assert (targets.text, targets.json_lines, targets.quiet) == (True, False, False)


def test_json_lines_are_all_that_is_printed():
    targets = request.parse_targets(parse("--json", "-"))
    assert targets.paths == () and targets.json_lines and not targets.text


@pytest.mark.parametrize("option", ["--csv", "--report", "--cam"])
def test_only_json_can_be_printed(option):
    with pytest.raises(InputError, match="only --json can be -"):
        request.parse_targets(parse("--json", "-", option, "-"))


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"a.png\nb c.png\n", ["a.png", "b c.png"]),
        (b"a.png\r\n\r\nb.png", ["a.png", "b.png"]),
        (b"a\nb.png\0c.png\0", ["a\nb.png", "c.png"]),
        ("\u2028.png\n".encode(), ["\u2028.png"]),
        (b"\xff.png\n", [os.fsdecode(b"\xff.png")]),
        (b"\xef\xbb\xbfa.png\r\n", ["a.png"]),
        (b"scan[1].png\n*.png\n", ["scan[1].png", "*.png"]),
    ],
)
def test_a_list_of_paths_is_read_as_it_is(data, paths, monkeypatch):
    monkeypatch.setattr(request.sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert request.list_paths(["first.png", "-"]) == ["first.png", *paths]


def test_patterns_are_those_of_the_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.png", "c.txt"):
        Path(name).touch()
    assert request.list_paths(["*.png", "c.txt"]) == ["a.png", "b.png", "c.txt"]
    with pytest.raises(InputError, match="matches"):
        request.list_paths(["*.dcm"])


def test_an_empty_list_is_refused(monkeypatch):
    monkeypatch.setattr(request.sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\n")))
    with pytest.raises(InputError, match="lists no path"):
        request.list_paths(["-"])


def test_overlays_beside_what_is_read_are_welcome(tmp_path):
    (tmp_path / "in").mkdir()
    request.refuse_overlays_among([str(tmp_path / "in")], tmp_path / "overlays")
    request.refuse_overlays_among([str(tmp_path / "in")], None)
    with pytest.raises(InputError, match="which is read"):
        request.refuse_overlays_among([str(tmp_path / "in")], tmp_path / "in/../in/overlays")


@pytest.mark.parametrize("option", ["--json", "--csv", "--report", "--cam"])
def test_an_empty_output_is_refused(option):
    with pytest.raises(InputError, match=f"{option} is empty"):
        request.parse_targets(parse(option, ""))


@pytest.mark.parametrize("given", [".", "..", "x/.."])
def test_a_folder_for_overlays_has_a_name_of_its_own(given):
    cam = request.parse_targets(parse("--cam", given)).cam
    assert cam == Path(os.path.abspath(given)) and cam.name not in ("", ".", "..")


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "real.csv").touch()
    (tmp_path / "link.csv").symlink_to("real.csv")
    targets = request.parse_targets(parse("--csv", str(tmp_path / "link.csv")))
    assert targets.csv == (tmp_path / "real.csv").resolve()

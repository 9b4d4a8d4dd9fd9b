import json
import math
import os
import stat

import pandas as pd
import pytest

from ulna.core.io import WriteError, atomic_write, sha256, write_csv, write_json, write_text


@pytest.mark.promise("C19")
def test_an_error_leaves_the_old_file_and_no_partial_one(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), atomic_write(path) as partial:
        partial.write_text("ne")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made_and_the_file_is_replaced(tmp_path):
    path = tmp_path / "a" / "b.txt"
    for text in ("one", "two"):
        with atomic_write(path) as partial:
            partial.write_text(text)
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_not_visible_before_the_end(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as partial:
        partial.write_text("x")
        assert not path.exists()


def test_undefined_numbers_become_null(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"study": {"kappa": math.nan, "n": 3, "list": [1.0, math.inf]}})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "study": {"kappa": None, "n": 3, "list": [1.0, None]}
    }


def test_a_table_comes_back_with_the_same_numbers(tmp_path):
    table = pd.DataFrame({"x": [0.1, 1 / 3, 5e-324], "name": ["a", "b,c", 'd"e']})
    write_csv(tmp_path / "t.csv", table, exact=True)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), table, check_exact=True)
    assert b"\r" not in (tmp_path / "t.csv").read_bytes()


def test_the_last_bits_of_a_number_change_no_byte(tmp_path):
    """They are those of the processor. Integers, text and small numbers keep what they are."""
    one = {"x": [2 / 3, 1 / 3e20, -1.0], "n": [2**53 + 1, 1, 0], "name": ["a", "0.12345678901", ""]}
    two = one | {"x": [math.nextafter(value, 2.0) for value in one["x"]]}
    for name, values in (("one", one), ("two", two)):
        write_csv(tmp_path / f"{name}.csv", pd.DataFrame(values))
        write_json(tmp_path / f"{name}.json", values)
    text, numbers = (
        (tmp_path / "one.csv").read_text(),
        json.loads((tmp_path / "one.json").read_text()),
    )
    assert (tmp_path / "two.csv").read_text() == text
    assert json.loads((tmp_path / "two.json").read_text()) == numbers
    assert text == (
        "x,n,name\n0.6666666667,9007199254740993,a\n3.333333333e-21,1,0.12345678901\n-1.0,0,\n"
    )
    assert numbers == one | {"x": [0.6666666667, 3.333333333e-21, -1.0]}


def test_sha256_of_three_letters_is_the_published_one(tmp_path):
    """FIPS 180-2, appendix B.1."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_pipe_or_device_is_not_replaced_by_a_file(tmp_path):
    # A pipe of this test's own: as root, a device would be lost for all of the machine.
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WriteError, match="pipe was not written: it is a device or a pipe"):
        write_text(tmp_path / "pipe", "x")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert os.listdir(tmp_path) == ["pipe"]

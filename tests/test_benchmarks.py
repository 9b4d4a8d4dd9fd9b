"""The benchmarks can be imported, and what they make and work out is right; nothing is timed."""

import ast
from dataclasses import asdict

import pandas as pd
import pytest
from mura_tree import official_studies
from PIL import Image

from benchmarks import __main__ as table
from benchmarks import mura_sized, scale
from benchmarks.epoch_memory import anonymous_mib
from benchmarks.timing import Row, Run, in_turns, ratio, run_process, spread
from ulna.data.mura import MURA_V1_1, check_files, compare_with_official, parse_index, read_index
from ulna.data.source import list_images, open_root


@pytest.mark.parametrize("name", table.BENCHMARKS)
def test_a_benchmark_has_a_run_and_says_how_to_run_it(name):
    """Read, not imported: half of them would import TensorFlow."""
    parsed = ast.parse((table.FOLDER / f"{name}.py").read_text())
    functions = [node.name for node in parsed.body if isinstance(node, ast.FunctionDef)]
    assert "run" in functions
    assert f"python -m benchmarks.{name}" in (ast.get_docstring(parsed) or "")


def test_the_table_names_aims_that_are_not_met():
    """Two figures measured by nobody: one row meets its aim, one does not."""
    rows = [
        asdict(Row("a thing", "2 s", "1 s", "0.5", "at least 0.4", True)),
        asdict(Row("another", "2 s", "9 s", "0.2", "at least 0.4", False, "it rained")),
    ]
    result = {"date": "2000-01-01", "loop_s": 1.0, "load": 0.5, "rows": rows}
    text = table.table({"training": result})
    assert "| a thing | 2 s | 1 s | 0.5 | at least 0.4 | yes |" in text
    assert "| another | 2 s | 9 s | 0.2 | at least 0.4 | **no** |" in text
    assert "- it rained" in text


def test_contenders_take_turns():
    called = []

    def contender(name: str) -> float:
        called.append(name)
        return len(called)

    taken = in_turns({"a": lambda: contender("a"), "b": lambda: contender("b")}, 2)
    assert called == ["a", "b", "a", "b"]
    assert taken == {"a": [1, 3], "b": [2, 4]}
    # Each round on its own: 2 / 1 and 4 / 3.
    assert ratio(taken["b"], taken["a"]) == pytest.approx((2 + 4 / 3) / 2)
    assert spread(taken["a"], 0, "calls") == "2 calls (1 to 3)"


def test_a_process_is_measured_alone(tmp_path):
    held = bytearray(100 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    small = run_process(["python", "-S", "-c", "import os; print(os.getcwd())"], tmp_path)
    assert small.output.strip() == str(tmp_path)
    assert small.peak_mib < 60
    large = run_process(["python", "-S", "-c", "bytes(1) + b'x' * 80 * 2**20"], tmp_path)
    assert large.peak_mib > 80
    with pytest.raises(RuntimeError, match="ended with 3:\nsaid"):
        run_process(["python", "-S", "-c", "print('said'); raise SystemExit(3)"], tmp_path)


def test_the_full_data_set_has_the_counts_of_mura():
    images = parse_index(mura_sized.csv_files(mura_sized.MURA_IMAGES))
    assert compare_with_official(images) == []
    assert len(images) == mura_sized.MURA_IMAGES


def test_a_smaller_data_set_keeps_the_shares_of_mura():
    size = 2000
    images = parse_index(mura_sized.csv_files(size))
    assert abs(len(images) - size) < 0.01 * size
    for split, counts in MURA_V1_1.items():
        for part, of_part in counts.items():
            rows = images[images["official_split"] == split]
            rows = rows if part == "all" else rows[rows["body_part"] == part]
            official = of_part.normal_images + of_part.abnormal_images
            expected = official * size / mura_sized.MURA_IMAGES
            assert abs(len(rows) - expected) < 8 + 0.05 * expected


def test_a_folder_and_a_zip_hold_the_same_data_set(tmp_path):
    pictures = mura_sized.write_pictures(tmp_path / "pictures", 2)
    assert pictures[0].read_bytes() != pictures[1].read_bytes()
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.mode == "L"
            assert sorted(image.size) == [mura_sized.SHORT_PX, mura_sized.LONG_PX]
            # Small files for the .zip: hundreds of entries.
            small = image.resize((5, 4))
        small.save(picture)
    folder = open_root(mura_sized.write_folder(tmp_path / "MURA", 300, pictures))
    archive = open_root(mura_sized.write_zip(tmp_path / "MURA.zip", 300, pictures))
    index = read_index(folder)
    pd.testing.assert_frame_equal(index, read_index(archive))
    assert check_files(index, list_images(folder)) == check_files(index, list_images(archive)) == 0


def test_what_a_thousand_images_cost_is_a_difference():
    measured = [
        scale.Measured(images, Run(seconds, 0.0, ""), 0.0)
        for images, seconds in ((1000, 3.0), (3000, 7.0), (13_000, 37.0))
    ]
    assert scale.seconds_per_thousand(measured) == [2.0, 3.0]
    row = scale.growth_row("preprocess", measured)
    assert row.ours == "1,000: 3.0 s, 3,000: 7.0 s, 13,000: 37.0 s"
    # 1.5 times as dear: that is not linear.
    assert row.met is False
    assert scale.growth_row("preprocess", measured[:2]).met is True


def test_anonymous_memory_is_read_from_status():
    assert anonymous_mib("VmRSS:\t9000 kB\nRssAnon:\t    512 kB\nRssFile:\t1 kB\n") == 0.5


def test_the_table_shows_each_row_and_its_note():
    rows = [
        {**vars(Row("ours against theirs", "1 s", "2 s", "2.0", "3", False, "the reason"))},
        {**vars(Row("alone", "4 s"))},
    ]
    text = table.table({"scale": {"date": "2026-01-02", "loop_s": 1.0, "load": 0.5, "rows": rows}})
    assert "## Scale" in text and "- the reason" in text
    assert "| ours against theirs | 1 s | 2 s | 2.0 | 3 | **no** |" in text
    assert "| alone | 4 s |  |  |  |  |" in text


def test_studies_are_sorted_so_that_every_nth_keeps_the_shares():
    listed = [study[:2] for study in official_studies()]
    assert listed == sorted(listed)

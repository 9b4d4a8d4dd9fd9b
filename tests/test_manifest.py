import hashlib
import subprocess

import pytest

from ulna.errors import InputError
from ulna.team.verify import (
    Output,
    digest_of_list,
    read_manifest,
    record_of,
    write_manifest,
)

A, B, C = (hashlib.sha256(letter).hexdigest() for letter in (b"a", b"b", b"c"))
FOLDER = "d" * 32 + ".dir"


def output(path: str, md5: str, stage: str = "train@cnn") -> Output:
    return Output(path, md5, stage)


@pytest.fixture
def records():
    model = record_of(output("models/cnn", FOLDER), {"models/cnn/b": B, "models/cnn/a": A})
    table = record_of(output("a table.csv", "e" * 32), {"a table.csv": C})
    scans = record_of(output("data/mine", FOLDER, "data/mine.dvc"), {"data/mine/john_doe.png": A})
    return {"models/cnn": model, "a table.csv": table, "data/mine": scans}


def test_what_is_written_is_read(tmp_path, records):
    path = tmp_path / "manifest.sha256"
    write_manifest(path, records)
    assert read_manifest(path) == records


def test_sha256sum_reads_it(tmp_path, records):
    write_manifest(tmp_path / "manifest.sha256", records)
    (tmp_path / "models/cnn").mkdir(parents=True)
    for name, content in (("models/cnn/a", "a"), ("models/cnn/b", "b"), ("a table.csv", "c")):
        (tmp_path / name).write_text(content)
    command = ["sha256sum", "--check", "--strict", "manifest.sha256"]
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 0
    (tmp_path / "a table.csv").write_text("other")
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 1


def test_names_of_files_in_a_data_set_stay_out_of_git(tmp_path, records):
    """A name may be a patient's."""
    write_manifest(tmp_path / "manifest.sha256", records)
    assert "john_doe" not in (tmp_path / "manifest.sha256").read_text()


def test_a_folder_has_the_digest_that_the_shell_gives_it(tmp_path):
    digests = {}
    for name in ("b", "a/z", "a-b", "A", "é"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        digests[f"set/{name}"] = hashlib.sha256(name.encode()).hexdigest()
    command = "find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
    shown = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path / "set", check=True, capture_output=True, text=True
    )
    assert digest_of_list("set", digests) == shown.stdout.split()[0]


def test_no_manifest_has_no_records(tmp_path):
    assert read_manifest(tmp_path / "manifest.sha256") == {}


def test_a_line_that_is_none_is_named(tmp_path, records):
    path = tmp_path / "manifest.sha256"
    write_manifest(path, records)
    path.write_text(path.read_text().replace(B, "<<<<<<< HEAD"))
    with pytest.raises(InputError, match=r"manifest.sha256, line \d+"):
        read_manifest(path)

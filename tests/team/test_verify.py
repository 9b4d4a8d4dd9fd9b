"""A mismatch in the workspace, the cache or a remote is named; its fix repairs it."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_repository import make
from tiny_pipeline import ROOT, commit, dvc, environment

from ulna.cli import main
from ulna.core import InputError
from ulna.team import verify as module
from ulna.team.verify import Output, digest_of_list, read_manifest, record_of, write_manifest

pytestmark = pytest.mark.slow

# Two contents of the same MD5, by Wang, Feng, Lai and Yu (2004), "Collisions for hash functions".
COLLISION = (
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70"
)
CHANGED_DIGITS = (38, 90, 118, 166, 218, 246)
MISMATCH = re.compile(r"^(\S.*)\n  (\S+): (\w+)\n  fix: (.*)$", re.MULTILINE)
NAME = "data/many/6.bin"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder with a repository and its remote, in which all is well."""
    folder = tmp_path_factory.mktemp("verify") / "both"
    clone = make(folder / "clone")
    (clone / "ulna").symlink_to(ROOT / "ulna")
    (clone / ".git/info/exclude").write_text("ulna\n")
    dvc(clone, "remote", "add", "--default", "team", "../team")
    subprocess.run([sys.executable, "ulna", "share"], cwd=clone, env=environment(), check=True)
    commit(clone)
    return folder


@pytest.fixture
def clone(whole, tmp_path, monkeypatch) -> Path:
    """A copy of both, entered."""
    shutil.copytree(whole, tmp_path / "both", symlinks=True)
    monkeypatch.chdir(tmp_path / "both/clone")
    return tmp_path / "both/clone"


@pytest.fixture
def verify(capsys):
    """`./ulna verify` in this process: path, place, code and fix of each mismatch."""

    def call(*arguments: str) -> list[tuple[str, str, str, str]]:
        capsys.readouterr()
        try:
            main("verify", *arguments)
            code = 0
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        mismatches = MISMATCH.findall(captured.out)
        assert code == bool(mismatches), captured
        return mismatches

    return call


def digest_of(path: Path) -> module.Digest:
    return module.digest_of(lambda: path.open("rb"))


def codes(mismatches: list[tuple[str, str, str, str]]) -> set[tuple[str, ...]]:
    return {mismatch[:3] for mismatch in mismatches}


def harm(path: Path, how: str) -> None:
    """Change a file as a disk, a cut line or a stranger does: its times and its mode stay."""
    before, content = path.stat(), path.read_bytes()
    path.chmod(0o644)
    if how == "missing":
        path.unlink()
        return
    cut = content[: len(content) // 2]
    path.write_bytes(cut if how == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def object_of(md5: str, place: str) -> Path:
    """Where the cache or the remote keeps an object."""
    top = {"cache": ".dvc/cache", "remote": "../team"}[place]
    return Path(top, "files/md5", md5[:2], md5[2:])


def follow(mismatches: list[tuple[str, str, str, str]]) -> None:
    """Type every fix that was offered."""
    for fix in dict.fromkeys(fix for *_, fix in mismatches):
        command = fix.split(", or ")[0].split(", then commit")[0]
        command = command.replace("./ulna", f"{sys.executable} ulna")
        done = subprocess.run(["sh", "-c", command], env=environment(), check=False)
        assert done.returncode == 0, command


@pytest.mark.promise("D25")
@pytest.mark.parametrize("how", ["missing", "flipped", "cut"])
def test_a_wrong_object_of_the_cache_is_found_and_repaired(clone, verify, how):
    """DVC keeps objects read-only (0444), and takes such a one for what it was."""
    stored = object_of(digest_of(Path(NAME)).md5, "cache")
    assert stored.stat().st_mode & 0o777 == 0o444
    harm(stored, how)
    mismatches = verify()
    assert codes(mismatches) == {(NAME, "cache", "missing" if how == "missing" else "changed")}
    follow(mismatches)
    assert digest_of(stored) == digest_of(Path(NAME))
    assert not verify()


@pytest.mark.promise("D25")
def test_a_flipped_byte_in_the_remote_is_found_and_repaired(clone, verify):
    stored = object_of(digest_of(Path(NAME)).md5, "remote")
    harm(stored, "flipped")
    assert not verify()
    assert codes(verify("--remote")) == {(NAME, "remote", "changed")}
    stored.unlink()
    main("share")
    assert not verify("--remote", "team")


@pytest.mark.parametrize("place", ["cache", "remote"])
def test_the_list_of_a_folder_is_hashed_as_well(clone, verify, place):
    (listing,) = Path({"cache": ".dvc/cache", "remote": "../team"}[place]).rglob("*.dir")
    harm(listing, "cut")
    assert codes(verify("--remote")) == {("data/many", place, "changed")}


@pytest.mark.promise("D25")
@pytest.mark.parametrize("how", ["missing", "flipped"])
def test_a_wrong_file_in_the_workspace_is_found_and_repaired(clone, verify, how):
    for name in (NAME, "copied.bin", "lines.json"):
        harm(Path(name), how)
    mismatches = verify()
    code = "missing" if how == "missing" else "changed"
    # A file alone that is not here is not wrong: it was not pulled.
    wrong = {NAME, "lines.json"} | ({"copied.bin"} if how == "flipped" else set())
    assert codes(mismatches) == {(name, "workspace", code) for name in wrong}
    follow(mismatches)
    assert not verify()


def test_a_wrong_file_and_its_object_are_repaired_from_the_remote(clone, verify):
    stored = object_of(digest_of(Path("data/set.bin")).md5, "cache")
    for path in (Path("data/set.bin"), stored):
        harm(path, "flipped")
    mismatches = verify()
    places = {("data/set.bin", "cache"), ("data/set.bin", "workspace"), ("copied.bin", "cache")}
    assert {mismatch[:2] for mismatch in mismatches} == places
    follow(sorted(mismatches, key=lambda mismatch: mismatch[1]))
    assert not verify("--remote")


@pytest.mark.promise("D25")
def test_a_half_pushed_remote_is_found_and_shared_again(clone, verify):
    """DVC's own word is that all is there: its list of the folder is."""
    stored = sorted(path for path in Path("../team/files").rglob("*/*") if path.is_file())
    lost = [path for path in stored if path.suffix != ".dir"][::2]
    for path in lost:
        path.unlink()
    assert {mismatch[1:3] for mismatch in verify("--remote")} == {("remote", "missing")}
    main("share")
    assert not verify("--remote")


@pytest.mark.promise("D25")
def test_bytes_of_the_same_md5_differ_in_sha256_and_are_not_shared(clone, verify):
    intact = bytes.fromhex(COLLISION)
    Path("data/one.bin").write_bytes(intact)
    dvc(clone, "add", "--quiet", "data/one.bin")
    assert not verify("--write")
    changed = list(COLLISION)
    for digit in CHANGED_DIGITS:
        changed[digit] = f"{int(changed[digit], 16) ^ 8:x}"
    other = bytes.fromhex("".join(changed))
    Path("data/one.bin").write_bytes(other)
    assert other != intact
    assert codes(verify()) == {("data/one.bin", "workspace", "other_sha256")}
    with pytest.raises(SystemExit):
        main("share")
    assert not object_of(digest_of(Path("data/one.bin")).md5, "remote").exists()


def test_of_many_mismatches_the_first_ten_are_listed_and_all_if_asked_for(clone, verify, capsys):
    """As of a clone whose remote is gone, with 130 of them."""
    files = sorted(Path("data/many").iterdir())
    for path in files:
        path.unlink()
    assert len(verify()) == 10 < len(files)
    with pytest.raises(SystemExit):
        main("verify")
    text = capsys.readouterr().out
    assert f"and {len(files) - 10} more" in text and f": {len(files)} mismatches" in text
    assert len(verify("--all")) == len(files)


def test_a_clone_without_data_lacks_nothing_that_the_remote_has(clone, verify):
    shutil.rmtree(".dvc/cache")
    shutil.rmtree("data/many")
    for name in ("data/set.bin", "copied.bin"):
        Path(name).unlink()
    assert not verify("--remote")
    mismatches = verify()
    assert codes(mismatches) == {
        (name, "workspace", "absent") for name in ("data/many", "data/set.bin", "copied.bin")
    }
    follow(mismatches)
    assert not verify()


def test_a_manifest_that_is_older_than_the_data_is_named(clone, verify):
    Path("data/set.bin").write_bytes(b"new")
    dvc(clone, "add", "--quiet", "data/set.bin")
    dvc(clone, "repro", "--quiet")
    manifest = Path("manifest.sha256")
    text = re.sub("# md5 .*lines.json\n.*\n", "", manifest.read_text())
    manifest.write_text(f"{text}# md5 {'0' * 32}  gone.csv\n")
    mismatches = verify()
    assert codes(mismatches) == {
        (name, "manifest.sha256", code)
        for name, code in {
            "data/set.bin": "outdated",
            "copied.bin": "outdated",
            "lines.json": "unrecorded",
            "gone.csv": "outdated",
        }.items()
    }
    follow(mismatches)
    assert not verify()


@pytest.mark.parametrize("name", ["manifest.sha256", "dvc.lock"])
def test_a_merge_that_was_not_ended_is_refused_by_its_file(clone, capsys, name):
    text = Path(name).read_text()
    Path(name).write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n")
    with pytest.raises(SystemExit):
        main("verify")
    assert name in capsys.readouterr().err


def test_an_unknown_remote_is_refused_with_those_there_are(clone, capsys):
    with pytest.raises(SystemExit):
        main("verify", "--remote", "temple")
    captured = capsys.readouterr().err
    assert captured.startswith("verify: remote temple is not set up (known: team): ")
    dvc(clone, "remote", "default", "--unset")
    with pytest.raises(SystemExit):
        main("verify", "--remote")
    captured = capsys.readouterr().err
    assert captured.startswith("verify: no default remote is set up (known: team): ")


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


def test_a_malformed_line_is_named(tmp_path, records):
    path = tmp_path / "manifest.sha256"
    write_manifest(path, records)
    path.write_text(path.read_text().replace(B, "<<<<<<< HEAD"))
    with pytest.raises(InputError, match=r"manifest.sha256, line \d+"):
        read_manifest(path)

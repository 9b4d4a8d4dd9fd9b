"""Whatever is wrong in the workspace, the cache or a remote is named, and its mend mends it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_repository import by_hand, make
from tiny_pipeline import ROOT, commit, dvc, environment, run

from ulna.cli import main
from ulna.team.tracked import digest_of

pytestmark = pytest.mark.slow

# Two contents of the same MD5, by Wang, Feng, Lai and Yu (2004), "Collisions for hash functions".
COLLISION = (
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70"
)
CHANGED_DIGITS = (38, 90, 118, 166, 218, 246)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder with a repository and its remote, in which all is well."""
    folder = tmp_path_factory.mktemp("verify") / "both"
    clone = make(folder / "clone")
    (clone / "ulna").symlink_to(ROOT / "ulna")
    (clone / ".git/info/exclude").write_text("ulna\n")
    dvc(clone, "remote", "add", "--default", "team", "../team")
    done = run(clone, sys.executable, "ulna", "share")
    assert done.returncode == 0, done.stdout + done.stderr
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
    """`./ulna verify` in this process: what it says, its exit code asserted."""

    def call(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        try:
            main("verify", *arguments)
            ended = 0
        except SystemExit as end:
            ended = end.code
        said = "".join(capsys.readouterr())
        assert ended == code, said
        return said

    return call


def harm(path: Path, how: str) -> None:
    """Change a file as a disk, a cut line or a stranger does: its times stay."""
    before = path.stat()
    content = path.read_bytes()
    path.chmod(0o644)
    if how == "missing":
        path.unlink()
        return
    if how == "flipped":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "longer":
        path.write_bytes(content + b"more")
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def object_of(path: Path, place: str) -> Path:
    """Where the cache or the remote keeps the bytes of a file."""
    seen = digest_of(path)
    top = {"cache": ".dvc/cache", "remote team": "../team"}[place]
    return Path(top, "files/md5", seen.md5[:2], seen.md5[2:])


def follow(said: str) -> None:
    """Type every mend that was offered."""
    for line in dict.fromkeys(re.findall(r"  mend: (.*)", said)):
        command = line.split(", which")[0].split(", or ")[0].split(", then")[0]
        command = command.replace("./ulna", f"{sys.executable} ulna")
        done = subprocess.run(["sh", "-c", command], env=environment(), check=False)
        assert done.returncode == 0, command


WORDS = {
    "missing": "missing",
    "flipped": "changed bytes: their MD5 is",
    "truncated": "truncated: 1003 of 2006 bytes",
    "longer": "changed: 2010 instead of 2006 bytes",
}


@pytest.mark.promise("D25")
@pytest.mark.parametrize("how", ["missing", "flipped", "truncated", "longer"])
@pytest.mark.parametrize("place", ["cache", "remote team"])
def test_a_wrong_object_is_found_and_mended(clone, verify, place, how):
    """DVC keeps objects read-only (0444), and takes such a one for what it was."""
    name = "data/many/6.bin"
    stored = object_of(Path(name), place)
    assert stored.stat().st_mode & 0o777 == 0o444
    harm(stored, how)
    said = verify("--remote", code=1)
    assert f"{name}\n  {place}: {WORDS[how]}" in said
    assert "looked at workspace and cache and remote team: 1 faults" in said
    assert "1 objects replaced" in verify("--remote", "--mend")
    assert digest_of(stored) == digest_of(Path(name))
    assert stored.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("place", ["cache", "remote team"])
def test_the_list_of_a_folder_is_hashed_as_well(clone, verify, place):
    top = {"cache": ".dvc/cache", "remote team": "../team"}[place]
    (listing,) = Path(top).rglob("*.dir")
    content = listing.read_bytes()
    harm(listing, "truncated")
    assert f"data/many\n  {place}: truncated" in verify("--remote", code=1)
    verify("--remote", "--mend")
    assert listing.read_bytes() == content


@pytest.mark.promise("D25")
@pytest.mark.parametrize("how", ["missing", "flipped", "truncated"])
def test_a_wrong_file_in_the_workspace_is_found_and_its_mend_mends(clone, verify, how):
    for name in ("data/many/6.bin", "copied.bin", "lines.json"):
        harm(Path(name), how)
    said = verify(code=1)
    named = re.findall(r"^(?! |verify|share)\S+$", said, re.MULTILINE)
    # A file alone that is not here is not wrong: it was not pulled.
    assert sorted(named) == (
        ["data/many/6.bin", "lines.json"]
        if how == "missing"
        else ["copied.bin", "data/many/6.bin", "lines.json"]
    )
    follow(said)
    verify()


def test_a_wrong_object_and_file_are_mended_from_the_remote(clone, verify):
    stored = object_of(Path("data/set.bin"), "cache")
    for path in (Path("data/set.bin"), Path("copied.bin"), stored):
        harm(path, "flipped")
    verify("--remote", "--mend", code=1)
    follow(verify("--remote", code=1))
    verify("--remote")


def test_a_file_that_no_list_names_is_found(clone, verify):
    Path("data/many/stranger.bin").write_text("here")
    said = verify(code=1)
    assert "data/many/stranger.bin\n  workspace: is not part of data/many in dvc.lock" in said
    follow(said)
    verify()


@pytest.mark.promise("D25")
def test_a_half_pushed_remote_is_found_and_shared_again(clone, verify):
    """DVC's own word is that all is there: its list of the folder is."""
    stored = sorted(Path("../team/files").rglob("*/*"))
    lost = [path for path in stored if path.is_file() and path.suffix != ".dir"][::2]
    for path in lost:
        path.unlink()
    said = verify("--remote", "team", code=1)
    assert "remote team: missing" in said
    done = run(clone, sys.executable, "ulna", "share")
    assert done.returncode == 0, done.stderr
    verify("--remote", "team")


@pytest.mark.promise("D25")
def test_bytes_of_the_same_md5_are_told_by_their_sha256(clone, verify):
    sound = bytes.fromhex(COLLISION)
    Path("data/one.bin").write_bytes(sound)
    dvc(clone, "add", "--quiet", "data/one.bin")
    verify("--write")
    changed = list(COLLISION)
    for digit in CHANGED_DIGITS:
        changed[digit] = f"{int(changed[digit], 16) ^ 8:x}"
    other = bytes.fromhex("".join(changed))
    Path("data/one.bin").write_bytes(other)
    assert other != sound
    said = verify(code=1)
    assert "data/one.bin\n  workspace: has the MD5 of dvc.lock but another SHA-256" in said
    assert "1 faults" in said


def test_a_clone_without_data_lacks_nothing_that_the_remote_has(clone, verify):
    shutil.rmtree(".dvc/cache")
    shutil.rmtree("data/many")
    for name in ("data/set.bin", "copied.bin"):
        Path(name).unlink()
    assert "all is well" in verify("--remote")
    said = verify(code=1)
    assert "data/many\n" in said
    assert "not here, so nothing was checked" in said
    follow(said)
    assert "4 of them here" in verify()


def test_a_manifest_older_than_the_data_is_said_to_be(clone, verify):
    Path("data/set.bin").write_bytes(b"new")
    dvc(clone, "add", "--quiet", "data/set.bin")
    dvc(clone, "repro", "--quiet")
    said = verify(code=1)
    named = said.split("  manifest: has the SHA-256 of an older dvc.lock")[0].split()
    assert {"data/set.bin", "copied.bin"} <= set(named)
    follow(said)
    verify()


def test_an_output_that_the_manifest_lacks_or_has_too_many_is_named(clone, verify):
    path = Path("manifest.sha256")
    text = path.read_text()
    path.write_text(re.sub("# md5 .*copied.bin\n.*\n", "", text) + f"# md5 {'0' * 32}  gone.csv\n")
    said = verify(code=1)
    assert "copied.bin\n  manifest: has no SHA-256 yet" in said
    assert "gone.csv\n  manifest: is no longer in dvc.lock" in said
    path.unlink()
    assert "manifest.sha256\n  manifest: is missing" in verify(code=1)
    verify("--write")
    assert path.read_text() == text


def test_a_merge_that_was_not_ended_is_said_in_a_sentence(clone, verify):
    for name, words in (
        ("manifest.sha256", "./ulna verify --write` writes it anew"),
        ("dvc.lock", "dvc.lock holds both sides of a merge: take one"),
    ):
        path = Path(name)
        text = path.read_text()
        path.write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n")
        assert words in verify(code=1)
        path.write_text(text)


def test_without_a_remote_or_with_an_unknown_one_the_way_out_is_named(clone, verify):
    assert "there is no remote 'temple', but team" in verify("--remote", "temple", code=1)
    dvc(clone, "remote", "remove", "team")
    assert "`dvc remote add --default team URL`" in verify("--remote", code=1)
    verify()


def test_a_folder_that_git_holds_is_looked_at(tmp_path, monkeypatch, verify):
    """No store has the list of its files."""
    monkeypatch.chdir(by_hand(tmp_path))
    verify("--write")
    assert "held/a.txt" in Path("manifest.sha256").read_text()
    assert "all is well" in verify()
    for how, said in (
        ("flipped", "held\n  workspace: is not the folder that dvc.lock names"),
        ("missing", "held\n  workspace: missing"),
    ):
        harm(Path("held/a.txt"), how)
        if how == "missing":
            Path("held").rmdir()
        words = verify(code=1)
        assert said in words
        # What is not here keeps its record; what is here must be what it is to record.
        again = verify("--write", code=1)
        assert ("is neither here nor in the cache" in again) == (how == "flipped")
        follow(words)
        verify()


def test_a_mend_quotes_names(clone, verify):
    """`rm -f my scan.png` would remove another file."""
    Path("data/many/my scan.png").write_text("here")
    Path("data/many/my").write_text("here")
    said = verify(code=1)
    assert "  mend: rm 'data/many/my scan.png'" in said
    Path("data/many/my").unlink()
    follow(verify(code=1))
    verify()

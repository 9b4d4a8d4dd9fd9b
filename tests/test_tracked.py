import hashlib
import io
import json
import posixpath
from pathlib import Path
from types import SimpleNamespace

import pytest
from dvc.analytics import is_enabled
from dvc.config import Config
from fsspec.implementations.memory import MemoryFileSystem
from small_repository import by_hand
from tiny_pipeline import environment

from ulna.errors import InputError
from ulna.team.tracked import CHUNK_BYTES, Output, Place, digest, files_of, in_full, reaching


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def place() -> Place:
    """A store in memory that holds one folder of two files."""
    fs = MemoryFileSystem(skip_instance_cache=True)
    fs.store = {}
    listing = json.dumps([{"md5": md5(b"b"), "relpath": "b"}, {"md5": md5(b"a"), "relpath": "a"}])
    odb = SimpleNamespace(fs=fs, path="/md5", oid_to_path=lambda oid: f"/md5/{oid[:2]}/{oid[2:]}")
    place = Place("remote team", odb, "memory://team")
    name = f"{md5(listing.encode())}.dir"
    for oid, content in ((name, listing.encode()), (md5(b"a"), b"a"), (md5(b"b"), b"b")):
        fs.pipe_file(odb.oid_to_path(oid), content)
    place.odb.name = name
    return place


def output(place: Place) -> Output:
    return Output("models/cnn", place.odb.name, 2, cached=True, shared=True, stage="train@cnn")


def test_both_digests_are_those_of_the_whole_file():
    content = b"x" * (2 * CHUNK_BYTES + 1)
    seen = digest(io.BytesIO(content))
    assert seen.size == len(content)
    assert seen.md5 == md5(content)
    assert seen.sha256 == hashlib.sha256(content).hexdigest()


def test_a_folder_has_the_files_of_its_list_in_order(place):
    assert list(files_of(output(place), [place]).items()) == [
        ("models/cnn/a", md5(b"a")),
        ("models/cnn/b", md5(b"b")),
    ]


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_a_list_that_is_missing_or_damaged_is_not_taken(place, harm):
    path = place.odb.oid_to_path(place.odb.name)
    if harm == "missing":
        place.odb.fs.rm(path)
    else:
        place.odb.fs.pipe_file(path, b"[]")
    assert files_of(output(place), [place]) is None


def test_an_object_that_is_not_there_was_not_seen(place):
    assert place.read(md5(b"c")) is None
    assert place.read(md5(b"a")) == digest(io.BytesIO(b"a"))


def test_an_error_is_told_with_what_it_came_from():
    try:
        try:
            raise OSError("disk full")
        except OSError as error:
            raise ValueError("upload failed") from error
    except ValueError as error:
        assert in_full(error) == "upload failed: disk full"
    assert in_full(KeyError()) == "KeyError"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (TimeoutError("timed out"), "look at the address, the key and the network"),
        (
            RuntimeError("ssh is supported, but requires 'dvc-ssh' to be installed"),
            "`make remotes` installs what ssh:// and s3:// need",
        ),
    ],
)
def test_whatever_a_remote_raises_becomes_a_sentence(error, advice):
    with (
        pytest.raises(InputError, match="remote team .ssh://host. does not answer") as caught,
        reaching("remote team", "ssh://host"),
    ):
        raise error
    assert advice in str(caught.value)


def test_a_password_in_an_address_is_not_printed():
    url = "ssh://me:secret@host/srv"
    with (
        pytest.raises(InputError, match=r"remote team \(ssh://me:\*\*\*@host/srv\)") as caught,
        reaching("remote team", url),
    ):
        raise TimeoutError(f"{url} timed out")
    assert "secret" not in str(caught.value)


def test_only_what_a_remote_raises_is_told_of_it(place, tmp_path):
    """The cache's errors, and faults elsewhere, stay what they are."""

    def fail(*_, **__):
        raise PermissionError("not yours")

    place.odb.fs = SimpleNamespace(
        fs=SimpleNamespace(invalidate_cache=fail),
        join=posixpath.join,
        parent=posixpath.dirname,
        **dict.fromkeys(["ls", "open", "makedirs", "put_file"], fail),
    )
    wanted = [place.odb.name]
    calls = [
        lambda store: store.sizes(wanted),
        lambda store: store.read(*wanted),
        lambda store: store.listing(*wanted),
        lambda store: store.replace(*wanted, tmp_path / "source"),
    ]
    for call in calls:
        with pytest.raises(InputError, match="remote team .* does not answer .* not yours"):
            call(place)
        with pytest.raises(PermissionError):
            call(Place("cache", place.odb))


def test_dvc_in_tests_has_no_settings_of_the_user_and_reports_nothing(tmp_path, monkeypatch):
    """Tests of a clone without a remote would meet the user's own."""
    monkeypatch.chdir(by_hand(tmp_path))
    assert not is_enabled()
    config = Config.from_cwd()
    assert not any(Path(config.files[level]).exists() for level in ("global", "system"))
    assert environment()["DVC_GLOBAL_CONFIG_DIR"] == Config.get_dir("global")
    assert environment()["DVC_NO_ANALYTICS"]

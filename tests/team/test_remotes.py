"""Remotes as DVC meets them: a server by SSH and an object store.

The server is OpenSSH's own sshd on this machine. The object store is not Amazon's but moto, which
answers as S3 does, in memory.
"""

import contextlib
import getpass
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from needs import program, require
from small_repository import git, make, ulna
from tiny_pipeline import commit, copy_of, dvc, environment, run

pytestmark = pytest.mark.slow

SECONDS_TO_START = 60.0
DVC = (sys.executable, "-m", "dvc")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A repository of a few files, never to be changed."""
    return make(tmp_path_factory.mktemp("small") / "clone")


@pytest.fixture
def clone(small, tmp_path) -> Path:
    """A copy of it that shares no history of DVC's with another test."""
    return copy_of(small, tmp_path / "clone")


def colleague(clone: Path, folder: Path) -> Path:
    """A second clone: what git has, and nothing of DVC's."""
    git(folder, "clone", "--quiet", str(clone), "colleague")
    local = clone / ".dvc/config.local"
    if local.exists():
        shutil.copy(local, folder / "colleague/.dvc/config.local")
    return folder / "colleague"


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a data set."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*.bin")
        if ".dvc" not in path.parts
    }


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def serving(port: int, log: Path, *command: str | Path) -> Iterator[None]:
    """Start a server, wait until it answers, and end it."""
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, env=environment())
        try:
            end = time.monotonic() + SECONDS_TO_START
            while server.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            assert server.poll() is None, log.read_text()
            yield
        finally:
            server.terminate()
            server.wait(SECONDS_TO_START)


@dataclass(frozen=True)
class Server:
    """A place to share in: its URL, a folder where it keeps things, and what DVC must be told."""

    url: str
    folder: Path
    options: dict[str, str]
    home: Path

    def add(self, clone: Path) -> None:
        """Tell DVC of it: the address for all, keys for this clone alone."""
        # What `dvc remote add --default` and `dvc remote modify --local` write, a second each.
        config = clone / ".dvc/config"
        config.write_text(
            f"{config.read_text()}[core]\n    remote = team\n"
            f"['remote \"team\"']\n    url = {self.url}\n"
        )
        commit(clone)
        lines = "".join(f"    {option} = {value}\n" for option, value in self.options.items())
        (clone / ".dvc/config.local").write_text(f"['remote \"team\"']\n{lines}")

    def bucket(self) -> Any:
        """Of an object store."""
        import boto3

        options = self.options
        return boto3.resource(
            "s3",
            endpoint_url=options["endpointurl"],
            aws_access_key_id=options["access_key_id"],
            aws_secret_access_key=options["secret_access_key"],
            region_name=options["region"],
        ).Bucket("team")

    def change(self, content: bytes, other: bytes) -> None:
        """Exchange an object behind DVC's back."""
        md5 = hashlib.md5(content).hexdigest()
        inside = f"files/md5/{md5[:2]}/{md5[2:]}"
        if self.url.startswith("s3"):
            key = f"{self.url.removeprefix('s3://team/')}/{inside}"
            self.bucket().put_object(Key=key, Body=other)
            return
        stored = self.folder / inside
        assert stored.stat().st_mode & 0o777 == 0o444 or self.url.startswith("ssh")
        stored.chmod(0o644)
        stored.write_bytes(other)
        stored.chmod(0o444)


@pytest.fixture(scope="module")
def ssh(tmp_path_factory) -> Iterator[Server]:
    """OpenSSH's server on a port of its own, with a key of its own, for this user alone."""
    require(find_spec("dvc_ssh"), "dvc-ssh is not installed (requirements-remotes-dev.lock)")
    sshd, keygen = program("sshd"), program("ssh-keygen")
    folder = tmp_path_factory.mktemp("ssh")
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    for key in (folder / "host_key", home / ".ssh/id_team", folder / "stranger"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    keys = folder / "authorized_keys"
    keys.write_text((home / ".ssh/id_team.pub").read_text())
    # sshd checks that nobody else may write to any folder above; pytest's lie below /tmp.
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\n"
        f"AuthorizedKeysFile {keys}\nStrictModes no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin yes\n"
        f"PidFile {folder}/pid\nSubsystem sftp internal-sftp\n"
    )
    host = (folder / "host_key.pub").read_text().split()[:2]
    (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(host)}\n")
    if os.geteuid() == 0:
        # Where sshd keeps the part of it that has no rights; Debian's unit makes it at boot.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with serving(port, folder / "log", sshd, "-D", "-e", "-f", folder / "sshd_config"):
        yield Server(
            url=f"ssh://{getpass.getuser()}@127.0.0.1:{port}{folder}/kept",
            folder=folder / "kept",
            options={"keyfile": str(home / ".ssh/id_team")},
            home=home,
        )


@pytest.fixture(scope="module")
def s3(tmp_path_factory) -> Iterator[Server]:
    """moto's server: the protocol of S3, not Amazon's implementation of it."""
    for module in ("dvc_s3", "moto", "flask_cors"):
        require(find_spec(module), f"{module} is not installed (requirements-remotes-dev.lock)")
    folder = tmp_path_factory.mktemp("s3")
    port = free_port()
    start = "import sys, moto.server; moto.server.main(['-p', sys.argv[1]])"
    url = f"http://127.0.0.1:{port}"
    with serving(port, folder / "log", sys.executable, "-W", "ignore", "-c", start, str(port)):
        server = Server(
            url="s3://team/ulna",
            folder=folder,
            options={
                "endpointurl": url,
                "access_key_id": "key",
                "secret_access_key": "secret",
                "region": "us-east-1",
            },
            home=folder,
        )
        server.bucket().create()
        yield server


@pytest.mark.promise("D25")
@pytest.mark.parametrize("kind", ["ssh", "s3"])
def test_what_is_shared_is_what_a_colleague_gets_or_nothing(kind, request, clone, tmp_path):
    """Bytes that changed in the remote are refused, named, and sent again once they are removed.

    The changed object keeps its length, so no listing tells it.
    """
    server = request.getfixturevalue(kind)
    home = {"HOME": str(server.home)}
    server.add(clone)
    ulna(clone, "share", **home)
    commit(clone)
    other = colleague(clone, tmp_path)
    dvc(other, "pull", **home)
    assert tree(other) == tree(clone)

    content = (clone / "data/set.bin").read_bytes()
    server.change(content, bytes([content[0] ^ 1]) + content[1:])
    (tmp_path / "third").mkdir()
    third = colleague(clone, tmp_path / "third")
    assert run(third, *DVC, "pull", **home).returncode != 0
    assert not (third / "data/set.bin").exists()
    assert "remote: changed" in ulna(clone, "verify", "--remote", code=1, **home)


def kill_while_pushing(clone: Path, kept: Path, files: int, **variables: str) -> bool:
    """Start `dvc push` and SIGKILL it and all that it started; whether it was still at work.

    Args:
        clone: What is pushed.
        kept: The remote's folder.
        files: At how many more in the remote, the one that is being written included.
        variables: Of the environment.
    """

    def count() -> int:
        return sum(path.is_file() for path in kept.rglob("*"))

    before = count()
    push = subprocess.Popen(
        [*DVC, "push", "--run-cache", "--jobs", "2"],
        cwd=clone,
        env=environment(**variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while push.poll() is None and count() < before + files:
        time.sleep(0.001)
    at_work = push.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(push.pid, signal.SIGKILL)
    push.wait()
    return at_work


def test_a_push_that_was_killed_is_made_whole_by_share(clone, ssh, tmp_path):
    """What was sent in part is not taken for sent: `ulna share` sees its length."""
    for number in range(8):
        (clone / f"data/many/large{number}.bin").write_bytes(os.urandom(3_000_000))
    dvc(clone, "add", "--quiet", "data/many")
    server = replace(ssh, url=f"{ssh.url}/killed", folder=ssh.folder / "killed")
    home = {"HOME": str(server.home)}
    server.add(clone)
    assert kill_while_pushing(clone, server.folder, 12, **home)
    ulna(clone, "share", **home)
    commit(clone)
    ulna(clone, "verify", "--remote", **home)
    other = colleague(clone, tmp_path)
    dvc(other, "pull", **home)
    assert tree(other) == tree(clone)


def test_a_wrong_key_is_refused_by_the_name_of_the_remote(clone, ssh):
    stranger = replace(ssh, options={"keyfile": str(ssh.home.parent / "stranger")})
    stranger.add(clone)
    before = tree(clone)
    said = ulna(clone, "share", code=1, HOME=str(ssh.home))
    assert "remote team" in said and "Permission denied" in said and "Traceback" not in said
    assert tree(clone) == before

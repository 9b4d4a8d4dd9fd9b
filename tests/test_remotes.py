"""Places to share in, each as DVC meets it: a folder, a server by SSH, an object store, one cache.

The server is OpenSSH's own sshd on this machine. The object store is not Amazon's but moto, which
answers as S3 does, in memory.
"""

import contextlib
import getpass
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from needs import program, require
from small_repository import git, make, ulna
from tiny_pipeline import commit, copy_of, dvc, environment, run

pytestmark = pytest.mark.slow

SECONDS_TO_START = 20.0


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


def wait_for(port: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate())


@dataclass(frozen=True)
class Server:
    """A place to share in: its URL, a folder where it keeps things, and what DVC must be told."""

    url: str
    folder: Path
    options: dict[str, str]
    home: Path

    def add(self, clone: Path, name: str = "team") -> None:
        """Tell DVC of it: the address for all, keys for this clone alone."""
        dvc(clone, "remote", "add", "--default", name, self.url)
        commit(clone)
        for option, value in self.options.items():
            dvc(clone, "remote", "modify", "--local", name, option, value)


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
    server = subprocess.Popen(
        [sshd, "-D", "-e", "-f", folder / "sshd_config"],
        stdout=subprocess.PIPE,
        stderr=(folder / "log").open("w"),
    )
    try:
        wait_for(port, server)
        yield Server(
            url=f"ssh://{getpass.getuser()}@127.0.0.1:{port}{folder}/kept",
            folder=folder / "kept",
            options={"keyfile": str(home / ".ssh/id_team")},
            home=home,
        )
    finally:
        server.terminate()
        server.wait(SECONDS_TO_START)


@pytest.fixture(scope="module")
def s3(tmp_path_factory) -> Iterator[Server]:
    """moto's server: the protocol of S3, not Amazon's implementation of it."""
    for module in ("dvc_s3", "moto", "flask_cors"):
        require(find_spec(module), f"{module} is not installed (requirements-remotes-dev.lock)")
    folder = tmp_path_factory.mktemp("s3")
    port = free_port()
    program_ = (
        "import sys, moto.server\n"
        "moto.server.main(['--host', '127.0.0.1', '--port', sys.argv[1]])\n"
    )
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", program_, str(port)],
            stdout=log,
            stderr=log,
            env=environment(MOTO_S3_CUSTOM_ENDPOINTS=f"http://127.0.0.1:{port}"),
        )
    try:
        wait_for(port, server)
        import urllib.request

        bucket = urllib.request.Request(f"http://127.0.0.1:{port}/team", method="PUT")
        urllib.request.urlopen(bucket, timeout=SECONDS_TO_START).close()
        yield Server(
            url="s3://team/ulna",
            folder=folder,
            options={
                "endpointurl": f"http://127.0.0.1:{port}",
                "access_key_id": "key",
                "secret_access_key": "secret",
                "region": "us-east-1",
            },
            home=folder,
        )
    finally:
        server.terminate()
        server.wait(SECONDS_TO_START)


@pytest.mark.parametrize("kind", ["ssh", "s3"])
def test_what_is_shared_is_what_a_colleague_gets(kind, request, clone, tmp_path):
    server = request.getfixturevalue(kind)
    home = {"HOME": str(server.home)}
    server.add(clone)
    said = ulna(clone, "share", **home)
    assert f"share: to remote team ({server.url}): 16 of 16 files" in said
    assert "16 files, 1 records of runs: all are there" in said
    commit(clone)
    other = colleague(clone, tmp_path)
    said = dvc(other, "repro", "--pull", "--allow-missing", **home)
    assert "Running stage" not in said
    dvc(other, "pull", **home)
    assert tree(other) == tree(clone)
    said = ulna(other, "verify", "--remote", **home)
    assert "4 of them here; looked at workspace and cache and remote team: all is well" in said

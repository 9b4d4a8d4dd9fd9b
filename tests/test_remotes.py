"""Places to share in, each as DVC meets it: a folder, a server by SSH, an object store, one cache.

The server is OpenSSH's own sshd on this machine. The object store is not Amazon's but moto, which
answers as S3 does, in memory.
"""

import contextlib
import getpass
import grp
import hashlib
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from needs import program, require
from small_repository import FILES, ULNA, git, make, ulna
from tiny_pipeline import ROOT, commit, copy_of, dvc, environment, run

pytestmark = pytest.mark.slow

SECONDS_TO_START = 60.0
DVC = (sys.executable, "-m", "dvc")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A repository of a few files, never to be changed."""
    return make(tmp_path_factory.mktemp("small") / "clone")


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """The same with 30 MB: a push of it takes long enough to be killed."""
    return make(tmp_path_factory.mktemp("large") / "clone", large=10)


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


def server_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> Server:
    """A place of this kind that is empty."""
    if kind == "folder":
        return Server(str(folder / "kept"), folder / "kept", {}, folder)
    server = request.getfixturevalue(kind)
    name = folder.name
    return replace(server, url=f"{server.url}/{name}", folder=server.folder / name)


@pytest.mark.promise("D25")
@pytest.mark.parametrize("kind", ["folder", "ssh", "s3"])
def test_what_is_shared_is_what_a_colleague_gets_or_nothing(kind, request, clone, tmp_path):
    """Bytes that changed in the remote are refused, and mended from the clone that made them.

    The changed object keeps its length, so no listing tells it, and its mode, so that DVC without
    `verify` takes it for what it was.
    """
    server = server_of(kind, request, tmp_path)
    home = {"HOME": str(server.home)}
    server.add(clone)
    said = ulna(clone, "share", **home)
    assert f"share: to remote team ({server.url}): 16 of 16 files" in said
    assert "16 files, 1 records of runs, 0 experiments: all are there" in said
    commit(clone)

    content = (clone / "data/set.bin").read_bytes()
    server.change(content, bytes([content[0] ^ 1]) + content[1:])
    other = colleague(clone, tmp_path)
    pulled = run(other, *DVC, "pull", **home)
    assert pulled.returncode != 0
    assert not (other / "data/set.bin").exists()

    said = ulna(clone, "verify", "--remote", "--mend", **home)
    assert "1 objects replaced" in said
    dvc(other, "pull", **home)
    assert tree(other) == tree(clone)


def test_without_verify_dvc_hands_out_a_changed_object_in_silence(clone, request, tmp_path):
    """Why `ulna share` sets it."""
    server = server_of("folder", request, tmp_path)
    server.add(clone)
    dvc(clone, "push", "--quiet")
    server.change((clone / "data/set.bin").read_bytes(), b"other")
    other = colleague(clone, tmp_path)
    dvc(other, "pull", "--quiet", "data/set.bin")
    assert (other / "data/set.bin").read_bytes() == b"other"


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


@pytest.mark.parametrize(("kind", "kills"), [("folder", (1, 6, 1)), ("ssh", (12,))])
def test_a_push_killed_at_any_point_loses_and_corrupts_nothing(
    kind, kills, request, large, tmp_path
):
    """What was sent in part is not taken for sent: `ulna share` sees its length."""
    clone = copy_of(large, tmp_path / "clone")
    server = server_of(kind, request, tmp_path)
    home = {"HOME": str(server.home)}
    server.add(clone)
    # At the first file, in the middle and, of a push that goes on, at one of the last.
    hit = [kill_while_pushing(clone, server.folder, files, **home) for files in kills]
    assert any(hit)
    ulna(clone, "share", **home)
    commit(clone)
    ulna(clone, "verify", "--remote", **home)
    other = colleague(clone, tmp_path)
    dvc(other, "pull", **home)
    assert tree(other) == tree(clone)


def refused(clone: Path, *arguments: str, **variables: str) -> str:
    """What `./ulna share` says where it cannot: one line of its own, no traceback."""
    before = tree(clone)
    said = ulna(clone, "share", *arguments, code=1, **variables)
    assert "Traceback" not in said
    assert tree(clone) == before
    return said


def test_without_a_remote_share_says_how_to_add_one(clone):
    assert "no remote is set up" in (said := refused(clone))
    assert "`dvc remote add --default team URL`" in said


def test_experiments_without_a_git_remote_are_not_left_out_in_silence(clone, request, tmp_path):
    server_of("folder", request, tmp_path).add(clone)
    head = git(clone, "rev-parse", "HEAD").strip()
    git(clone, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/tried", head)
    said = refused(clone)
    assert "experiments cannot go to the git remote origin (git ls-remote says: " in said
    assert "--no-experiments to send data alone; nothing was sent" in said


def test_an_experiment_begun_before_the_remote_was_set_up_is_shared(clone, request, tmp_path):
    """`dvc exp push` fails on it: at the commit it began from there was no remote."""
    (clone / "data/set.bin").write_bytes(b"tried")
    dvc(clone, "add", "--quiet", "data/set.bin")
    git(clone, "add", "--all")
    content = git(clone, "write-tree").strip()
    head = git(clone, "rev-parse", "HEAD").strip()
    tried = git(clone, "commit-tree", "-p", head, "-m", "tried", content).strip()
    git(clone, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/tried", tried)
    git(clone, "reset", "--quiet", "--hard")
    dvc(clone, "checkout", "--quiet", "--force")
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(clone, "remote", "add", "origin", str(tmp_path / "origin.git"))
    server = server_of("folder", request, tmp_path)
    server.add(clone)
    assert "1 experiments (tried)" in ulna(clone, "share")
    assert "/tried" in git(tmp_path / "origin.git", "for-each-ref", "refs/exps")
    md5 = hashlib.md5(b"tried").hexdigest()
    assert (server.folder / "files/md5" / md5[:2] / md5[2:]).read_bytes() == b"tried"


def test_a_wrong_key_is_said_in_a_sentence(clone, ssh):
    stranger = replace(ssh, options={"keyfile": str(ssh.home.parent / "stranger")})
    stranger.add(clone)
    said = refused(clone, HOME=str(ssh.home))
    assert f"remote team ({ssh.url}) does not answer as it should: " in said
    assert "Permission denied" in said
    assert "Nothing was lost; look at the address, the key and the network" in said


def test_dvc_does_not_ask_who_a_server_is(clone, ssh, tmp_path):
    """It sends to a server whose key is not the one in known_hosts: the README names the way round.

    A release of DVC that refuses it would be good news.
    """
    home = shutil.copytree(ssh.home, tmp_path / "home")
    known = home / ".ssh/known_hosts"
    key = (ssh.home.parent / "stranger.pub").read_text().split()[:2]
    known.write_text(f"{known.read_text().split()[0]} {' '.join(key)}\n")
    replace(ssh, url=f"{ssh.url}/stranger").add(clone)
    dvc(clone, "push", "data/set.bin", HOME=str(home))


def test_a_host_that_does_not_answer_is_said_in_a_sentence(clone, ssh):
    server = replace(ssh, url=f"ssh://nobody@127.0.0.1:{free_port()}/kept")
    server.add(clone)
    said = refused(clone, HOME=str(server.home))
    assert f"remote team ({server.url}) does not answer as it should: " in said


def test_a_full_remote_is_said_and_what_it_has_stays(clone, request, tmp_path):
    """No file may grow over 1 MB, as where a disk is full; with room the rest is sent."""
    server_of("folder", request, tmp_path).add(clone)
    words = [shlex.quote(word) for word in (*ULNA, "share")]
    done = run(clone, "sh", "-c", f"ulimit -f 2000; {' '.join(words)}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "File too large" in done.stderr
    assert "share: `dvc push --remote` failed, for the reason above." in done.stderr
    sent = [path for path in (tmp_path / "kept/files").rglob("*") if path.is_file()]
    assert len(sent) >= FILES
    assert "16 files, 1 records of runs, 0 experiments: all are there" in ulna(clone, "share")


def test_a_clone_without_data_has_nothing_to_share(clone, request, tmp_path):
    server_of("folder", request, tmp_path).add(clone)
    said = refused(colleague(clone, tmp_path))
    assert "is neither here nor in the cache as dvc.lock names it" in said
    assert "`dvc pull` or `dvc repro` first" in said


@pytest.fixture
def two_users() -> Iterator[tuple[Path, list[pwd.struct_passwd]]]:
    """A folder whose `cache` belongs to a group, and two users of this machine in the group."""
    require("CI" in os.environ, "it makes and deletes users of this machine: in CI alone")
    require(os.geteuid() == 0, "only root can make two users")
    useradd, number = program("useradd"), os.getpid() % 10_000
    group, names = f"ulna{number}", [f"ulna{number}{letter}" for letter in "ab"]
    folder = Path(tempfile.mkdtemp(prefix="ulna-group-"))
    folder.chmod(0o755)
    try:
        subprocess.run([program("groupadd"), group], check=True)
        for name in names:
            options = ["--no-create-home", "--user-group", "--groups", group]
            subprocess.run([useradd, *options, "--home-dir", folder / name, name], check=True)
        users = [pwd.getpwnam(name) for name in names]
        for user in users:
            Path(user.pw_dir).mkdir()
            os.chown(user.pw_dir, user.pw_uid, user.pw_gid)
        (folder / "cache").mkdir()
        os.chown(folder / "cache", 0, grp.getgrnam(group).gr_gid)
        (mode,) = re.findall("install -d -g GROUP -m ([0-7]+) ", (ROOT / "README.md").read_text())
        assert mode[-1] == "0"  # Pictures of patients are not for every user of the machine.
        (folder / "cache").chmod(int(mode, 8))
        yield folder, users
    finally:
        for name in names:
            subprocess.run([program("userdel"), name], check=False)
        subprocess.run([program("groupdel"), group], check=False)
        shutil.rmtree(folder)


def test_two_users_of_a_machine_share_one_cache(two_users, small):
    """What one makes, the other has, without a copy and without a remote, and may add to.

    Each may read what root may: this Python may lie where others cannot. What each may write is
    the user's own; that the group may read the cache is told by its modes.
    """
    folder, users = two_users
    # The bare repository is root's.
    (folder / "gitconfig").write_text("[safe]\n    directory = *\n")

    def as_user(user: pwd.struct_passwd, *command: str, inside: str = "clone") -> str:
        done = subprocess.run(
            [
                *(program("setpriv"), f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"),
                *("--init-groups", "--inh-caps=+dac_read_search"),
                *("--ambient-caps=+dac_read_search", *command),
            ],
            cwd=Path(user.pw_dir, inside),
            env=environment(
                HOME=user.pw_dir,
                DVC_SITE_CACHE_DIR=f"{user.pw_dir}/site",
                DVC_GLOBAL_CONFIG_DIR=user.pw_dir,
                GIT_CONFIG_GLOBAL=str(folder / "gitconfig"),
            ),
            umask=0o077,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    source = folder / "source.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", small, source], check=True)
    for user in users:
        as_user(user, "git", "clone", "--quiet", str(source), "clone", inside="")
        Path(user.pw_dir, "clone/.dvc/config.local").write_text(
            f"[cache]\n    dir = {folder}/cache\n    shared = group\n    type = symlink\n"
        )
    first, second = (Path(user.pw_dir, "clone") for user in users)
    shutil.copytree(small / "data", first / "data", dirs_exist_ok=True)
    subprocess.run(["chown", "-R", str(users[0].pw_uid), first / "data"], check=True)
    as_user(users[0], *DVC, "commit", "--force", "data/set.bin", "data/many")
    as_user(users[0], *DVC, "repro")
    assert "Running stage" not in as_user(users[1], *DVC, "repro", "--allow-missing")
    as_user(users[1], *DVC, "checkout")
    assert (second / "data/set.bin").is_symlink()
    assert tree(second) == tree(small)
    (second / "more.bin").write_bytes(b"more")
    os.chown(second / "more.bin", users[1].pw_uid, users[1].pw_gid)
    as_user(users[1], *DVC, "add", "more.bin")
    for path in (folder / "cache").rglob("*"):
        wanted = stat.S_IRGRP | (stat.S_IWGRP | stat.S_IXGRP if path.is_dir() else 0)
        assert path.stat().st_mode & wanted == wanted, path

import os
import socket
import sys

import pytest

from ulna.core import InputError
from ulna.inference.files import read_regular


def test_a_file_is_read_whole_and_its_beginning_on_request(tmp_path):
    content = bytes(range(256)) * 1000
    file = tmp_path / "a"
    file.write_bytes(content)
    (tmp_path / "link").symlink_to(file)
    assert read_regular(str(file)) == content == read_regular(str(tmp_path / "link"))
    assert read_regular(str(file), 10, whole=False) == content[:10]
    assert read_regular(str(file), len(content)) == content


def test_more_than_the_bound_is_refused(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(bytes(3 * 2**20))
    with pytest.raises(InputError, match="more than 2 MB"):
        read_regular(str(file), 2 * 2**20)


def test_a_file_whose_stated_size_is_zero_is_read():
    if sys.platform != "linux":
        pytest.skip("/proc is Linux's")
    assert os.stat("/proc/self/status").st_size == 0
    assert read_regular("/proc/self/status").startswith(b"Name:")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no such files")
def test_nothing_but_a_regular_file_is_read_and_nothing_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        # A socket's path is limited to 108 bytes.
        folder = os.getcwd()
        os.chdir(tmp_path)
        server.bind("socket.png")
        os.chdir(folder)
        for name, reason in {
            "pipe.png": "a pipe, not a file",
            "folder.png": "a folder, not a file",
            "circle.png": "a link that leads in a circle",
            "gone.png": "no such file",
            "missing.png": "no such file",
            "zero.png": "a device, not a file",
            "socket.png": "a socket or device, not a file",
            "null\0.png": "no valid path",
            "x" * 300: "its name is too long",
            "zero.png/a": "no such file",
        }.items():
            with pytest.raises(InputError) as refusal:
                read_regular(f"{tmp_path}/{name}")
            assert str(refusal.value) == reason

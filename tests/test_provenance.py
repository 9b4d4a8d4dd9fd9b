"""Where data, weights and models come from: recorded, pinned, and taken from the remote."""

import hashlib
import http.server
import shutil
import threading
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from small_repository import git, ulna
from tiny_pipeline import ROOT, change, checkout, commit, dvc, read_yaml, run

from ulna.core import InputError
from ulna.core.params import NETWORKS, load_params
from ulna.data import pretrained

PUBLISHED = NETWORKS["densenet169"].pretrained

pytestmark = pytest.mark.slow

ZIP = "data/MURA-v1.1.zip"


def copy_without(path: Path, target: Path, name: str) -> None:
    """Copy a .zip but for one of its members."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(f"/{name}"):
                new.writestr(entry, old.read(entry))


class Silent(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing of it on stderr."""

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def clone(tmp_path) -> Path:
    """A fresh clone of the pipeline, nothing run."""
    clone = checkout(tmp_path / "clone")
    (clone / "data").mkdir()
    dvc(clone, "remote", "add", "--default", "team", str(tmp_path / "team"))
    commit(clone)
    return clone


def test_a_data_set_in_a_zip_is_imported_prepared_and_followed(built, clone, tmp_path):
    """The .dvc file in git says where it came from and what it was; `dvc update` asks anew."""
    phantom = built / "data/phantom/MURA-v1.1.zip"
    source = tmp_path / "store" / "MURA-v1.1.zip"
    source.parent.mkdir()
    shutil.copy(phantom, source)
    dvc(clone, "import-url", str(source), ZIP)
    (dep,) = read_yaml((clone / f"{ZIP}.dvc").read_text())["deps"]
    digest = hashlib.md5(source.read_bytes()).hexdigest()
    assert dep["path"].endswith("store/MURA-v1.1.zip")
    assert dep["md5"] == digest
    assert f"{ZIP}.dvc" in git(clone, "status", "--porcelain", "--untracked-files=all")
    assert run(clone, "git", "check-ignore", ZIP).returncode == 0

    change(clone, "root: data/phantom/MURA-v1.1.zip", f"root: {ZIP}")
    dvc(clone, "repro", "prepare")
    images = clone / "data/prepared/images.csv"
    assert images.read_text() == (built / "data/prepared/images.csv").read_text()

    commit(clone)
    copy_without(phantom, source, "annotations.csv")
    # An import is frozen: `dvc status` does not look at where it came from.
    assert "up to date" in dvc(clone, "status", f"{ZIP}.dvc")
    dvc(clone, "update", f"{ZIP}.dvc")
    (dep,) = read_yaml((clone / f"{ZIP}.dvc").read_text())["deps"]
    assert dep["md5"] == hashlib.md5(source.read_bytes()).hexdigest() != digest
    assert ZIP in dvc(clone, "status", "prepare")


def test_weights_reach_a_node_without_internet(clone, tmp_path, monkeypatch):
    """Imported once from their address, pinned by hash, and then taken from the remote."""
    store = tmp_path / "store"
    store.mkdir()
    content = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 40
    (store / PUBLISHED.name).write_bytes(content)
    handler = partial(Silent, directory=str(store))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/{PUBLISHED.name}"
    (clone / "data/pretrained").mkdir()
    try:
        dvc(clone, "import-url", address, f"data/pretrained/{PUBLISHED.name}")
    finally:
        server.shutdown()
        server.server_close()
    recorded = f"data/pretrained/{PUBLISHED.name}.dvc"
    assert address in (clone / recorded).read_text()
    commit(clone)
    assert recorded in git(clone, "ls-files")
    ulna(clone, "share")

    git(tmp_path, "clone", "--quiet", str(clone), "node")
    dvc(tmp_path / "node", "pull", recorded)
    folder = tmp_path / "node/data/pretrained"
    # What stands in for 52 MB of weights has another digest than these.
    published = replace(PUBLISHED, md5=hashlib.md5(content).hexdigest())
    spec = replace(NETWORKS["densenet169"], pretrained=published)
    monkeypatch.setitem(NETWORKS, "densenet169", spec)
    monkeypatch.setattr(pretrained, "KERAS_FOLDER", tmp_path / "none")
    config = load_params(ROOT / "tests/params.yaml").training("densenet169")
    network = config.network.model_copy(
        update={"weights": "imagenet", "weights_sha256": hashlib.sha256(content).hexdigest()}
    )
    config = replace(config, network=network)
    found = pretrained.find_weights(config, folder)
    assert found == folder / PUBLISHED.name
    found.chmod(0o644)
    found.write_bytes(content[:-1] + b"?")
    with pytest.raises(InputError, match="is not Keras' ImageNet file"):
        pretrained.find_weights(config, folder)

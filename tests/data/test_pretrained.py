import hashlib
import urllib.error
from dataclasses import replace

import pytest

from ulna.core import InputError
from ulna.core.params import NETWORKS
from ulna.data import pretrained
from ulna.data.pretrained import find_weights

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
PUBLISHED = NETWORKS["densenet169"].pretrained


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(pretrained.urllib.request, "urlopen", refuse)
    monkeypatch.setattr(pretrained, "KERAS_FOLDER", tmp_path / "keras")


def network(params, **values):
    config = params.training("densenet169")
    return replace(config, network=config.network.model_copy(update=values))


def pin(monkeypatch, md5):
    """Publish a file of this hash."""
    spec = replace(NETWORKS["densenet169"], pretrained=replace(PUBLISHED, md5=md5))
    monkeypatch.setitem(NETWORKS, "densenet169", spec)


def test_random_weights_need_no_file(params, tmp_path):
    assert find_weights(network(params, weights="none"), tmp_path) is None
    assert find_weights(params.training("cnn"), tmp_path) is None


@pytest.mark.promise("C23")
def test_imagenet_without_network_or_copy_says_where_to_put_the_file(params, tmp_path):
    with pytest.raises(InputError) as caught:
        find_weights(network(params, weights="imagenet"), tmp_path)
    message = str(caught.value)
    assert str(tmp_path / PUBLISHED.name) in message
    assert "https://" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", [".", "keras"])
def test_a_local_copy_of_imagenet_is_found_and_checked(params, tmp_path, monkeypatch, place):
    file = tmp_path / place / PUBLISHED.name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(CONTENT)
    imagenet = network(params, weights="imagenet")
    with pytest.raises(InputError, match=PUBLISHED.name):
        find_weights(imagenet, tmp_path)
    pin(monkeypatch, MD5)
    assert find_weights(imagenet, tmp_path) == file


def test_the_pinned_digest_is_the_one_that_keras_pins():
    from pathlib import Path

    import keras.src.applications.densenet as densenet

    assert PUBLISHED.url == densenet.DENSENET169_WEIGHT_PATH_NO_TOP
    assert f'"{PUBLISHED.md5}"' in Path(densenet.__file__).read_text()


def test_a_fetched_file_appears_whole(params, tmp_path, monkeypatch):
    import io

    monkeypatch.setattr(pretrained.urllib.request, "urlopen", lambda *_, **__: io.BytesIO(CONTENT))
    pin(monkeypatch, MD5)
    found = find_weights(network(params, weights="imagenet"), tmp_path)
    assert found == tmp_path / PUBLISHED.name
    assert found.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [found]


@pytest.mark.promise("D25")
def test_a_file_is_used_only_with_the_hash_that_the_parameters_state(params, tmp_path):
    file = tmp_path / "mine.h5"
    with pytest.raises(InputError, match="mine.h5"):
        find_weights(network(params, weights=str(file)), tmp_path)
    file.write_bytes(CONTENT)
    with pytest.raises(InputError, match=SHA256):
        find_weights(network(params, weights=str(file)), tmp_path)
    with pytest.raises(InputError, match="weights_sha256"):
        find_weights(network(params, weights=str(file), weights_sha256="0" * 64), tmp_path)
    named = network(params, weights=str(file), weights_sha256=SHA256)
    assert find_weights(named, tmp_path) == file


def test_where_keras_pins_no_hash_the_parameters_must(params, tmp_path, monkeypatch):
    (tmp_path / PUBLISHED.name).write_bytes(CONTENT)
    pin(monkeypatch, None)
    with pytest.raises(InputError, match=f"weights_sha256.*{SHA256}"):
        find_weights(network(params, weights="imagenet"), tmp_path)
    pinned = network(params, weights="imagenet", weights_sha256=SHA256)
    assert find_weights(pinned, tmp_path) == tmp_path / PUBLISHED.name

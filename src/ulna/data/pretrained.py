"""Find, fetch and check pretrained weights of a network's backbone.

Nothing here needs TensorFlow: a missing file is named before it is loaded.
"""

import hashlib
import http.client
import shutil
import urllib.request
from pathlib import Path

from ulna.core import InputError
from ulna.core.io import atomic_write, sha256
from ulna.core.params import NETWORKS, FineTuned, Params, PretrainedFile, TrainingConfig

KERAS_FOLDER = Path("~/.keras/models")
CONNECT_SECONDS = 10


def find_weights(config: TrainingConfig, folder: Path) -> Path | None:
    """Find and check the file that `weights` names in a network's section; None for random weights.

    ImageNet's is downloaded into `folder` unless it is there or in Keras' own folder.

    Raises:
        InputError: There is no such file (or no internet to fetch ImageNet's from), it has another
            hash, or none is given for a file for which Keras pins none.
    """
    name, network, published = config.name, config.network, NETWORKS[config.name].pretrained
    if not isinstance(network, FineTuned) or network.weights == "none":
        return None
    pinned = False
    if network.weights == "imagenet" and published is not None:
        path = _find_imagenet(name, published, folder)
        _check_imagenet(path, published)
        pinned = published.md5 is not None
    else:
        path = Path(network.weights)
        if not path.is_file():
            raise InputError(
                f"{name}.weights is {network.weights}, which is not a file: give none, "
                "imagenet or the path of a Keras .h5 file"
            )
    received = sha256(path)
    expected = network.weights_sha256
    if expected is None and not pinned:
        # Without it DVC would not notice that another file lies there now.
        raise InputError(
            f"{name}.weights names {path}, but {name}.weights_sha256 is empty: set it to "
            f"{received} if this is the file you mean"
        )
    if expected not in (None, received):
        raise InputError(
            f"{path} has SHA-256 {received}, but {name}.weights_sha256 is {expected}: restore "
            "the file or correct the parameter"
        )
    return path


def check_weights(params: Params, folder: Path) -> None:
    """Check the weights of all networks before the first is trained; see `find_weights`."""
    # No output depends on it, so the other networks' sections are no parameters of a stage that
    # calls it.
    for name in params.networks:
        find_weights(params.training(name), folder)


def imagenet_to_fetch(config: TrainingConfig, folder: Path) -> PretrainedFile | None:
    """ImageNet's weights that `find_weights` would have to download; None if there are none."""
    network, published = config.network, NETWORKS[config.name].pretrained
    if not isinstance(network, FineTuned) or network.weights != "imagenet" or published is None:
        return None
    return None if _find_local(published, folder) else published


def _find_local(published: PretrainedFile, folder: Path) -> Path | None:
    places = (folder / published.name, KERAS_FOLDER.expanduser() / published.name)
    return next((path for path in places if path.is_file()), None)


def _find_imagenet(name: str, published: PretrainedFile, folder: Path) -> Path:
    if (local := _find_local(published, folder)) is not None:
        return local
    ours = folder / published.name
    print(f"fetching {published.url}", flush=True)
    try:
        with (
            urllib.request.urlopen(published.url, timeout=CONNECT_SECONDS) as response,
            atomic_write(ours) as partial,
            partial.open("wb") as file,
        ):
            shutil.copyfileobj(response, file)
            file.flush()
            _check_imagenet(partial, published)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"{name}.weights is imagenet, but {ours} is missing and cannot be fetched "
            f"({error}): on a machine with internet download {published.url} and put it there, or "
            f"set {name}.weights to none"
        ) from None
    return ours


def _check_imagenet(path: Path, published: PretrainedFile) -> None:
    with path.open("rb") as file:
        received = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if published.md5 not in (None, received):
        raise InputError(
            f"{path} is not Keras' ImageNet file (MD5 {received}, expected {published.md5}): "
            f"remove it and fetch {published.url} again"
        )

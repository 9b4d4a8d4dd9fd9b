"""Find, fetch and check pretrained weights of DenseNet169's backbone.

Nothing here needs TensorFlow: a missing file is named before it is loaded.
"""

import hashlib
import http.client
import shutil
import urllib.request
from pathlib import Path

from ulna.errors import InputError
from ulna.files import replacing, sha256
from ulna.params import Cnn, DenseNet169

IMAGENET_FILE = "densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = (
    f"https://storage.googleapis.com/tensorflow/keras-applications/densenet/{IMAGENET_FILE}"
)
# The digest that keras.applications.DenseNet169 itself pins for this file; no SHA-256 of it is
# published. densenet169.weights_sha256 holds it to that of the copy in use.
IMAGENET_MD5 = "b8c4d4c20dd625c148057b9ff1c1176b"
KERAS_FOLDER = Path("~/.keras/models")
CONNECT_SECONDS = 10


def find_weights(network: Cnn | DenseNet169, folder: Path) -> Path | None:
    """Find the file that `densenet169.weights` names, and check it.

    Args:
        network: DenseNet169's `weights`: none, imagenet, or a path; `weights_sha256`: what the
            file must hash to. The CNN has no pretrained weights.
        folder: Where the ImageNet file is looked for first, and put after a download; then comes
            Keras' own folder.

    Returns:
        The file, or None for random weights.

    Raises:
        InputError: There is no such file (and no network to fetch ImageNet's from), its hash is
            another, or a path comes without a hash.
    """
    if isinstance(network, Cnn) or network.weights == "none":
        return None
    if network.weights == "imagenet":
        path = _find_imagenet(folder)
        _check_imagenet(path)
    else:
        path = Path(network.weights)
        if not path.is_file():
            raise InputError(
                f"densenet169.weights is {network.weights}, which is not a file: give none, "
                "imagenet or the path of a Keras .h5 file"
            )
    received = sha256(path)
    expected = network.weights_sha256
    if expected is None and network.weights != "imagenet":
        # Without it DVC would not notice that another file lies there now.
        raise InputError(
            f"densenet169.weights names {path}, but densenet169.weights_sha256 is empty: set it to "
            f"{received} if this is the file you mean"
        )
    if expected not in (None, received):
        raise InputError(
            f"{path} has SHA-256 {received}, but densenet169.weights_sha256 is {expected}: restore "
            "the file or correct the parameter"
        )
    return path


def _find_imagenet(folder: Path) -> Path:
    ours, keras_copy = folder / IMAGENET_FILE, KERAS_FOLDER.expanduser() / IMAGENET_FILE
    for path in (ours, keras_copy):
        if path.is_file():
            return path
    print(f"fetching {IMAGENET_URL} (52 MB)", flush=True)
    try:
        with (
            urllib.request.urlopen(IMAGENET_URL, timeout=CONNECT_SECONDS) as response,
            replacing(ours) as partial,
            partial.open("wb") as file,
        ):
            shutil.copyfileobj(response, file)
            file.flush()
            _check_imagenet(partial)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"densenet169.weights is imagenet, but {ours} is missing and cannot be fetched "
            f"({error}): on a machine with internet download {IMAGENET_URL} and put it there, or "
            "set densenet169.weights to none"
        ) from None
    return ours


def _check_imagenet(path: Path) -> None:
    received = _md5(path)
    if received != IMAGENET_MD5:
        raise InputError(
            f"{path} is not Keras' ImageNet file (MD5 {received}, expected {IMAGENET_MD5}): remove "
            f"it and fetch {IMAGENET_URL} again"
        )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

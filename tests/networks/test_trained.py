import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from spots import SIDE, table

from ulna.core import InputError
from ulna.core.io import sha256
from ulna.core.params import TrainingConfig
from ulna.networks.models import build_network
from ulna.networks.predict import predict_images
from ulna.networks.runtime import environment
from ulna.networks.trained import METADATA, WEIGHTS, load_trained, read_metadata, write_trained


@pytest.fixture
def tiny(params) -> TrainingConfig:
    cnn = params.cnn.model_copy(update={"filters": (4, 8)})
    return replace(params.training("cnn"), network=cnn)


@pytest.fixture
def model(tiny) -> keras.Model:
    return build_network("cnn", SIDE, tiny.network)


def test_a_trained_model_gives_the_same_predictions_bit_for_bit(tiny, model, tmp_path):
    write_trained(tmp_path / "cnn", model, SIDE, tiny, environment())
    cache, images = table(10, 2)
    again = predict_images(load_trained(tmp_path / "cnn"), cache, images)
    np.testing.assert_array_equal(again["logit"], predict_images(model, cache, images)["logit"])


# Loads a model, scores with it, and writes it again: `python -c ... folder copy scores`.
AGAIN = """
import sys
from pathlib import Path
import numpy as np
from spots import table
from ulna.networks.trained import load_trained, read_metadata, write_trained
from ulna.networks.predict import predict_images
from dataclasses import replace
from ulna.core.params import Cnn, load_params
folder, copy, scores = map(Path, sys.argv[1:4])
model, metadata = load_trained(folder), read_metadata(folder)
np.save(scores, predict_images(model, *table(40, 2))["logit"].to_numpy())
config = load_params(Path(sys.argv[4])).training("cnn")
config = replace(config, network=Cnn(**metadata["network"]))
write_trained(copy, model, metadata["size_px"], config, metadata["environment"])
"""


@pytest.mark.slow
@pytest.mark.promise("B16")
def test_another_process_scores_to_the_bit_and_writes_the_same_bytes(tiny, model, tmp_path):
    """Whatever networks either process has made before: Keras numbers those without a name."""
    draw = np.random.default_rng(5)
    # As after a training: moving variances too, which are positive.
    model.set_weights([draw.uniform(0.1, 1, w.shape).astype(w.dtype) for w in model.get_weights()])
    write_trained(tmp_path / "cnn", model, SIDE, tiny, environment())
    ours = predict_images(model, *table(40, 2))["logit"]
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    here = Path(__file__).parents[1]
    done = subprocess.run(
        [
            *(sys.executable, "-c", AGAIN),
            *(str(tmp_path / name) for name in ("cnn", "copy", "logit.npy")),
            str(here / "params.yaml"),
        ],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": f"{here}:{here.parent / 'src'}", "PYTHONHASHSEED": "5", "TZ": "Asia/Tokyo"}
        | ({"TF_NUM_INTRAOP_THREADS": str(threads)} if threads else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "logit.npy"), ours)
    for name in (WEIGHTS, "layers.csv"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "cnn" / name).read_bytes()
    metadatas = [read_metadata(tmp_path / folder) for folder in ("cnn", "copy")]
    assert metadatas[0] == metadatas[1] | {"environment": metadatas[0]["environment"]}


@pytest.mark.promise("D25")
def test_a_trained_model_with_other_weights_is_refused(tiny, model, tmp_path):
    write_trained(tmp_path / "cnn", model, SIDE, tiny, environment())
    weights = tmp_path / "cnn" / WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(InputError, match=WEIGHTS):
        load_trained(tmp_path / "cnn")
    weights.unlink()
    with pytest.raises(InputError, match=WEIGHTS):
        load_trained(tmp_path / "cnn")


def test_a_missing_model_says_which_stage_makes_it(tmp_path):
    with pytest.raises(InputError, match="dvc repro train@cnn"):
        read_metadata(tmp_path / "cnn")


@pytest.mark.parametrize("text", ["", "7", "[]", "{", '{"arch": "cnn"}', b"\xff"], ids=repr)
def test_damaged_metadata_says_which_stage_makes_it(tmp_path, text):
    (tmp_path / "cnn").mkdir()
    (tmp_path / "cnn" / METADATA).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=rf"{METADATA} .*train@cnn"):
        read_metadata(tmp_path / "cnn")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("arch", "densenet169"),
        ("size_px", "32"),
        ("network", {}),
        ("network", {"filters": [8]}),
    ],
)
def test_metadata_of_another_network_is_refused(tiny, model, tmp_path, key, value):
    write_trained(tmp_path / "cnn", model, SIDE, tiny, environment())
    metadata = read_metadata(tmp_path / "cnn")
    changed = metadata["network"] | value if key == "network" and value else value
    (tmp_path / "cnn" / METADATA).write_text(json.dumps(metadata | {key: changed}))
    with pytest.raises(InputError, match=rf"{METADATA} .*train@cnn"):
        load_trained(tmp_path / "cnn")


def test_a_trained_model_replaces_the_one_before_and_leaves_nothing_else(tiny, model, tmp_path):
    for _ in range(2):
        write_trained(tmp_path / "cnn", model, SIDE, tiny, environment())
    assert [path.name for path in tmp_path.iterdir()] == ["cnn"]
    metadata = read_metadata(tmp_path / "cnn")
    assert metadata["weights_sha256"] == sha256(tmp_path / "cnn" / WEIGHTS)


def test_a_trained_model_does_not_say_where_pretrained_weights_lay(params, model, tmp_path):
    update = {"weights": "/home/somebody/weights.h5", "weights_sha256": "0" * 64}
    config = params.training("densenet169")
    config = replace(config, network=config.network.model_copy(update=update))
    write_trained(tmp_path / "densenet169", model, SIDE, config, environment())
    assert "somebody" not in (tmp_path / "densenet169" / METADATA).read_text()


def test_a_trained_model_holds_no_state_of_the_optimizer(tiny, model, tmp_path):
    model.compile(optimizer="adam", loss="mse")
    cache, _ = table(10, 2)
    model.fit(cache.arrays["WRIST"][..., None], np.zeros((10, 1)), verbose=0)
    write_trained(tmp_path / "cnn", model, SIDE, tiny, environment())
    with h5py.File(tmp_path / "cnn" / WEIGHTS) as file:
        assert "optimizer" not in file
        assert "layers" in file


def test_a_disk_without_room_is_refused_before_anything_is_written(
    tiny, model, tmp_path, monkeypatch
):
    """HDF5 would end the process."""
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="9 MB"):
        write_trained(tmp_path / "cnn", model, SIDE, tiny, environment())
    assert list(tmp_path.iterdir()) == []

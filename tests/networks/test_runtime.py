"""Global settings hold for a whole process, so these tests start their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ulna.core import InputError
from ulna.networks import runtime

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import numpy as np
from ulna.core import InputError
from ulna.networks import runtime
from ulna.networks.models import build_cnn
from ulna.core.params import Cnn
import tensorflow as tf

physical, grown, gpus = tf.config.list_physical_devices, {}, ["a"]
tf.config.list_physical_devices = lambda kind=None: gpus if kind == "GPU" else physical(kind)
tf.config.experimental.set_memory_growth = grown.__setitem__
cnn = Cnn(filters=(4,), dropout=0.5, learning_rate=0.1, batch_size=2, epochs=1)
for seed, precision in ((1, "none"), (2, "bfloat16"), (1, "none")):
    runtime.configure(seed, precision)
    model = build_cnn(32, cnn)
    logits = model(np.full((2, 32, 32, 1), 200, np.uint8), training=True)
    print(model.get_layer("block1_convolution").compute_dtype, logits.dtype.name)
    print(tf.config.threading.get_intra_op_parallelism_threads())
    print(logits.numpy().ravel().tolist(), [float(np.abs(w).sum()) for w in model.get_weights()])
print(grown)
gpus.append("b")
try:
    runtime.configure(1)
except InputError as error:
    print(error)
"""


@pytest.mark.promise("B13")
def test_seed_threads_and_precision_are_as_asked_for():
    """That the same seed gives the same bits is shown end to end, in test_stages."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT / "src",
        env=os.environ | {"KERAS_BACKEND": "jax"},  # of another project
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    plain, mixed, again, gpu, several = lines[:3], lines[3:6], lines[6:9], lines[9], lines[10]
    assert plain[0] == "float32 float32"
    assert mixed[0] == "bfloat16 float32"
    assert plain[1] == mixed[1] == "2"
    assert plain[2] != mixed[2]
    # The networks of transfer are trained one after the other.
    assert again == plain
    assert gpu == "{'a': True}", "it would take all its memory at the start"
    assert "2 GPUs" in several and "CUDA_VISIBLE_DEVICES=0" in several


TRAINING = """
import json, sys
from pathlib import Path
import numpy as np
from spots import LIVELY, SIDE, table
from ulna.networks import runtime
from ulna.networks.predict import predict_images
from dataclasses import replace
from ulna.networks.models import build_network
from ulna.networks.training import train_model
from ulna.core.params import load_params

params = load_params(Path(sys.argv[1]))
runtime.THREADS = int(sys.argv[2])
cnn = params.cnn.model_copy(update={"filters": (8, 16), "epochs": 8, "batch_size": 8})
config = replace(params.training("cnn"), network=cnn, augment=LIVELY, seed=3)
cache, images = table(40, 2)
runtime.configure(3)
logits = [predict_images(build_network("cnn", SIDE, cnn), cache, images)["logit"].tolist()]
data, rows = table(60, 1)
folder = Path(f"checkpoints-{sys.argv[2]}")
model = train_model(config, None, data, rows[:40], rows[40:], Path(sys.argv[3]), folder)
logits.append(predict_images(model, cache, images)["logit"].tolist())
print(json.dumps([runtime.environment()["fingerprint"], *logits]))
"""


@pytest.mark.promise("B17")
def test_other_threads_and_another_library_agree_within_the_band_and_say_who_they_are(tmp_path):
    """The band of docs/reproducibility.md: a network to 1e-5 of a logit, a training to 1e-3."""
    tests = Path(__file__).parents[1]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(tests / "params.yaml"), threads, f"{threads}.csv"],
            cwd=tmp_path,
            env=os.environ
            | {
                "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{tests}",
                "TF_ENABLE_ONEDNN_OPTS": onednn,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for threads, onednn in (("2", "1"), ("1", "0"))
    ]
    results = []
    for process in running:
        out, errors = process.communicate()
        assert process.returncode == 0, errors
        results.append(out.splitlines()[-1])
    (ours, *one), (theirs, *two) = map(json.loads, results)
    assert ours != theirs
    for first, second, band in zip(one, two, (1e-5, 1e-3), strict=True):
        np.testing.assert_allclose(first, second, rtol=0, atol=band)
    assert np.ptp(one[1]) > 0.5, "the network was not trained: the test says little"


@pytest.mark.parametrize(
    ("cluster", "named"),
    [
        ('{"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}}', "TF_CONFIG names 3"),
        ("not JSON", "TF_CONFIG"),
        ("[1]", "TF_CONFIG"),
    ],
)
def test_training_on_several_computers_is_refused(monkeypatch, cluster, named):
    monkeypatch.setenv("TF_CONFIG", cluster)
    with pytest.raises(InputError, match=named):
        runtime.configure(1)


NOISY = """\
import os
os.write(2, b'WARNING: All log messages before absl::InitializeLog() is called are written to x\\n')
os.write(2, b'I0000 00:00:1.2 1 port.cc:153] oneDNN custom operations are on.\\n')
os.write(2, b'E0000 00:00:1.2 1 gpu.cc:1] the GPU has fallen off the bus\\n')
"""


@pytest.mark.parametrize("ends", ["", "os.abort()"])
def test_notes_of_tensorflow_are_left_out_and_errors_shown_even_by_an_import_that_crashes(
    tmp_path, ends
):
    (tmp_path / "tensorflow.py").write_text(NOISY + ends)
    program = "import os, ulna.networks; os.write(2, b'I0000 of a later time\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (not ends)
    lines = done.stderr.splitlines()
    assert lines[0].endswith("the GPU has fallen off the bus")
    assert lines[1:] == ([] if ends else ["I0000 of a later time"])


@pytest.mark.parametrize(
    ("device", "driver", "expected"),
    [("NVIDIA H100", True, "on NVIDIA H100"), ("CPU", False, "on the CPU, 2 threads"),
     ("CPU", True, "on the CPU, 2 threads; there is an NVIDIA driver")],
)  # fmt: skip
def test_the_device_is_named_and_a_gpu_that_is_not_used(monkeypatch, device, driver, expected):
    monkeypatch.setattr(runtime, "environment", lambda: {"device": device})
    monkeypatch.setattr(runtime, "has_gpu_driver", lambda: driver)
    assert runtime.describe_device().startswith(expected)
    assert ("./ulna doctor" in runtime.describe_device()) == (device == "CPU" and driver)

"""What runtime sets holds for a whole process, so the test has its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import numpy as np
import tensorflow as tf
from ulna import runtime
from ulna.networks.models import build_cnn
from ulna.params import Cnn

physical, grown = tf.config.list_physical_devices, {}
tf.config.list_physical_devices = lambda kind=None: ["a", "b"] if kind == "GPU" else physical(kind)
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
"""


@pytest.mark.promise("B13")
def test_seed_threads_and_precision_are_as_asked_for():
    """That the same seed gives the same bits is shown end to end, in test_stages."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT / "src",
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    plain, mixed, again, gpus = lines[:3], lines[3:6], lines[6:9], lines[9]
    assert plain[0] == "float32 float32"
    assert mixed[0] == "bfloat16 float32"
    assert plain[1] == mixed[1] == "2"
    assert plain[2] != mixed[2]
    # The networks of transfer are trained one after the other.
    assert again == plain
    # No GPU takes all its memory at the start: both are set.
    assert gpus == "{'a': True, 'b': True}"

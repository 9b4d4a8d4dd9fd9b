import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from spots import source

from ulna import runtime
from ulna.errors import InputError
from ulna.networks.dataset import plain_batches
from ulna.networks.devices import share, spread, take_part

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def on_two_devices() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(TESTS / "two_devices.py")],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *shown, answers = done.stdout.splitlines()
    return json.loads(answers) | {"shown": shown}


def test_one_device_is_left_as_it_is():
    batches = plain_batches(source(5, 1), 2)
    with share([], 3), share(["CPU:0"], 3):
        assert not tf.distribute.has_strategy()
        assert spread(batches, learning=True) is batches


@pytest.mark.parametrize(("rows", "count"), [(8, 2), (7, 2), (7, 3), (1, 2), (2, 4), (3, 8)])
def test_the_parts_of_a_batch_weigh_as_the_batch(rows, count):
    """Keras takes the mean over each part, and then the mean of these."""
    draw = np.random.default_rng(1)
    batch = tuple(tf.constant(draw.uniform(0, 1, rows), tf.float32) for _ in range(3))
    parts = [
        take_part(batch, tf.constant(number, tf.int64), count, True) for number in range(count)
    ]
    assert min(len(inputs) for inputs, _, _ in parts) > 0
    means = [np.mean(inputs * labels * weights) for inputs, labels, weights in parts]
    inputs, labels, weights = batch
    assert np.mean(means) == pytest.approx(np.mean(inputs * labels * weights), rel=1e-5)
    for inputs, labels, _ in parts:
        assert set(zip(inputs.numpy(), labels.numpy(), strict=True)) <= set(
            zip(batch[0].numpy(), batch[1].numpy(), strict=True)
        )


@pytest.mark.parametrize(("rows", "count"), [(8, 2), (7, 3), (1, 2), (3, 8)])
def test_for_validation_every_row_comes_once(rows, count):
    batch = tuple(tf.range(rows, dtype=tf.float32) + start for start in (0, 10, 20))
    parts = [
        take_part(batch, tf.constant(number, tf.int64), count, False) for number in range(count)
    ]
    for whole, cut in zip(batch, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(cut), whole)


@pytest.mark.slow
def test_two_devices_that_compute_what_one_does_are_taken(on_two_devices):
    """Once a process: stage transfer trains several networks."""
    words = "2 GPUs, which together compute what one does: each takes its part"
    assert on_two_devices["shown"].count(words) == 1


@pytest.mark.slow
def test_a_device_that_computes_something_else_is_told(on_two_devices):
    said = on_two_devices["said"]
    assert "the loss of the same images is" in said["loss"]
    assert "CUDA_VISIBLE_DEVICES=0" in said["loss"]
    assert "the weights on GPU 0 are off by" in said["gradient"]
    assert "CUDA_VISIBLE_DEVICES=0" in said["gradient"]


@pytest.mark.slow
def test_what_does_not_work_on_two_devices_is_refused_by_name(on_two_devices):
    said = on_two_devices["said"]
    assert "batches of 3 images do not divide by 2 GPUs: change batch_size" in said["odd"]
    assert "batches of 1 images do not divide by 2 GPUs" in said["few"]
    assert "train.mixed_precision is float16" in said["float16"]
    assert "use bfloat16" in said["float16"]


@pytest.mark.slow
def test_a_network_that_two_devices_have_trained_is_one_network(on_two_devices):
    """Each has statistics of its own for batch normalisation while it learns."""
    trained = on_two_devices["trained"]
    assert trained["phases"] == ["head", "finetune"]
    assert trained["best"] == [0, 1]
    assert trained["moved"] > 0
    assert set(trained["copies"]) == {2}
    assert trained["alike"]
    # Off by 1e-4 where each device keeps its statistics through validation.
    assert trained["loss_of_the_returned"] == pytest.approx(trained["val_loss"], rel=1e-5)


@pytest.mark.parametrize(
    "cluster", ['{"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}}', "not JSON", "[1]"]
)
def test_training_on_several_computers_is_refused(monkeypatch, cluster):
    monkeypatch.setenv("TF_CONFIG", cluster)
    with pytest.raises(InputError, match="TF_CONFIG"):
        runtime.configure(1)

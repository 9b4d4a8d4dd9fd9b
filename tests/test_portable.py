"""From the images and the prediction tables on, every processor writes the same bytes.

NumPy, OpenBLAS and the C library choose code by what the processor can; each can be told to take
that of an older one. TensorFlow, which trains and predicts, makes no such promise.
"""

import hashlib
import math
import os
import platform
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from made_tables import normal
from mura_tree import tables, write_random_images
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from params_files import write_params
from tiny_pipeline import ROOT

from stages.prepare import prepare
from stages.preprocess import preprocess
from ulna.core import paths
from ulna.core.io import write_csv, write_json
from ulna.core.params import load_params
from ulna.core.predictions import COLUMNS, write_predictions
from ulna.data.cache import load_cache
from ulna.data.samples import load_samples
from ulna.data.splits import SIZES, count_sizes

pytestmark = pytest.mark.slow

PARTS = ("ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST")
NETWORKS = ("cnn", "densenet169")
WRITTEN = ("data/prepared", "data/cache", "data/ensemble.csv", "metrics", "plots")
STAGES = [
    "prepare", "preprocess", "audit", "baselines", "ensemble", "evaluate cnn",
    "evaluate densenet169", "evaluate ensemble", "compare", "cross_part", "occlusion",
    "overfitting",
]  # fmt: skip
# Runs the stages here; before, it hashes what no rounding has gone over.
PROGRAM = """
import hashlib, importlib, sys
import numpy as np
from ulna.core.stage import run
stream = np.random.default_rng(1)
square = stream.normal(size=(64, 64))
raw = np.exp(square).tobytes(), (square @ square).tobytes(), np.log(abs(square)).tobytes()
for line in sys.argv[1:]:
    name, *arguments = line.split()
    run(getattr(importlib.import_module(f"stages.{name}"), name), *arguments)
print(*(hashlib.sha256(content).hexdigest() for content in raw))
"""


def processors() -> dict[str, dict[str, str]]:
    """Name -> the variables that make this processor an older one."""
    names = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
    off = {f"without {name}": name for name in names} | {"baseline": " ".join(names)}
    chosen = {name: {"NPY_DISABLE_CPU_FEATURES": which} for name, which in off.items() if which}
    if platform.machine() == "x86_64":
        kernels = {"Prescott": True, "Haswell": "X86_V3" in names, "SkylakeX": "X86_V4" in names}
        chosen |= {kernel: {"OPENBLAS_CORETYPE": kernel} for kernel, can in kernels.items() if can}
        chosen["C library"] = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F"}
    return chosen


def predicted(samples: pd.DataFrame, seed: int, gain: float = 1.2) -> pd.DataFrame:
    """A prediction table of these images, drawn by Python alone."""
    own = random.Random(seed)
    logits = [gain * (2 * label - 1) + normal(own) for label in samples["label"]]
    probabilities = [1 / (1 + math.exp(-logit)) for logit in logits]
    return samples.assign(logit=logits, probability=probabilities)[list(COLUMNS)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A data set of 280 small images, and what two networks have left of it."""
    folder, draw = tmp_path_factory.mktemp("portable") / "inputs", random.Random(3)
    studies = [
        ("valid" if k % 3 == 0 else "train", PARTS[k % 7], f"patient{k:05}", "study1",
         int(draw.random() < 0.5), 1 + k % 2)
        for k in range(190)
    ]  # fmt: skip
    images = folder / "data/MURA-v1.1"
    write_random_images(images, tables(studies), lambda stream: stream.integers(40, 90, 2))
    write_params(
        folder / "params.yaml",
        data={"root": "data/MURA-v1.1"},
        image={"size_px": 32},
        evaluate={"bootstrap_replicates": 100},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare()
        preprocess()
        samples = load_samples(paths.IMAGES, paths.SPLITS, load_cache(paths.CACHE))
        train, test = (samples[samples["split"] == split] for split in ("train", "test"))
        held_out = samples[samples["split"] != "train"]
        for seed, arch in enumerate(NETWORKS):
            write_predictions(paths.predictions(arch), predicted(held_out, seed))
            write_predictions(
                paths.extra_predictions(arch, "train"), predicted(train, seed, 2.0), ("train",)
            )
            for hidden in ("frame_hidden", "centre_hidden"):
                table = predicted(test, 10 + seed, 0.8)
                write_predictions(paths.extra_predictions(arch, hidden), table, ("test",))
            phase = "scratch" if arch == "cnn" else ["head", "finetune"]
            history = {"epoch": [1, 2], "phase": phase, "loss": [0.7, 0.6], "val_loss": [0.7, 0.65]}
            history |= {"auroc": [0.5, 0.8], "val_auroc": [0.5, 0.7], "best": [0, 1]}
            write_csv(paths.history(arch), pd.DataFrame(history))
            network = getattr(load_params(paths.PARAMS), arch).model_dump(mode="json")
            write_json(paths.trained(arch) / "model.json", {"network": network})
        write_predictions(paths.TRANSFER / "WRIST.csv", predicted(held_out, 5))
        write_predictions(paths.fraction_predictions(0.5), predicted(held_out, 6, 0.7))
        write_csv(paths.LEARNING_CURVE / SIZES, count_sizes({0.5: train.iloc[::2]}))
    return folder


def written(folder: Path, inputs: Path, variables: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Run the stages on a copy; the hashes of unrounded numbers, and of each file."""
    subprocess.run(["cp", "-r", inputs, folder], check=True)
    for name in ("data/prepared", "data/cache"):
        subprocess.run(["rm", "-r", folder / name], check=True)
    path = f"{ROOT}{os.pathsep}{ROOT / 'src'}"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *STAGES],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path} | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = (path for name in WRITTEN for path in [folder / name, *(folder / name).rglob("*")])
    hashes = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file()
    }
    return done.stdout.splitlines()[-1], hashes


@pytest.mark.promise("H42")
def test_every_processor_writes_the_same_bytes(inputs, tmp_path):
    unrounded, expected = written(tmp_path / "plain", inputs, {})
    assert len(expected) > 40 and {Path(path).name for path in expected} >= {"compare.json"}
    kinds, differing = {unrounded}, {}
    for number, (name, variables) in enumerate(processors().items()):
        other, hashes = written(tmp_path / str(number), inputs, variables)
        kinds.add(other)
        files = [path for path in expected | hashes if expected.get(path) != hashes.get(path)]
        differing |= {name: files} if files else {}
    assert differing == {}
    # The switches do work: without rounding the numbers are not the same.
    assert len(kinds) > 1 or platform.machine() != "x86_64"

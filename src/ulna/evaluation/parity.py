"""Parity: whether an ONNX file computes what the network did that it was written from.

The file is run on cached images, and held to the prediction table and the stored maps: of Keras'
own export of DenseNet169 onnx.checker reported nothing, and it could not be run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pandas as pd

from ulna.core import InputError
from ulna.core.progress import progress
from ulna.data import Cache

Floats = npt.NDArray[np.floating]

MAX_IMAGES = 256
MAX_MAPS = 64
# DenseNet169 at 320 px needs 0.1 GB per image, and larger batches are no faster.
BATCH_SIZE = 8
# Two wait for each other at each of DenseNet169's 400 nodes: beside other work, where the second
# core is seldom free, 256 images took 6 to 8 s instead of 3. And the recorded difference does not
# depend on how sums are shared out.
THREADS = 1


@dataclass(frozen=True)
class Limits:
    """The largest differences that are let through."""

    logit: float  # times the largest logit, where that is above 1
    map: float  # as a share of the range of the maps


# Seen on the val and test images of the phantom, between oneDNN and ONNX Runtime: 7e-6 of logits up
# to 12 (CNN), 2e-6 of logits up to 1.6 (DenseNet169), 1.3e-5 of logits up to 1.5 (MobileNetV2);
# 2.6e-5 of the largest logit where a random MobileNetV2 was as far from double precision itself.
# And 3e-7, 2e-3 and 3e-3 of the range of the maps, where a ReLU was open in one and shut in the
# other. A mistake in the graph costs a hundred times more.
SINGLE_PRECISION = Limits(logit=1e-4, map=0.01)
# In bfloat16 logits were off by 1.5% (CNN) and 3.2% (DenseNet169) of the largest; a GPU multiplies
# in TF32. What is left finds a file of another network.
REDUCED_PRECISION = Limits(logit=0.1, map=0.1)


def choose_limits(mixed_precision: str, provenance: Mapping[str, Any]) -> Limits:
    """Choose the limits for a table by its provenance, see `ulna.core.provenance`.

    The strict ones are for one that was computed in single precision by the machine, without a GPU,
    that trained the network: of another machine, only a fingerprint is known.
    """
    trained_on = provenance["environment"] or {}
    known = provenance["predicted_on"] == trained_on.get("fingerprint")
    single = mixed_precision == "none" and trained_on.get("device") == "CPU" and known
    return SINGLE_PRECISION if single else REDUCED_PRECISION


def choose_evenly(images: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Choose up to `limit` rows at even distances, the first and the last among them."""
    places = np.linspace(0, len(images) - 1, min(limit, len(images)))
    return images.iloc[places.round().astype(int)]


def run_model(
    model: bytes, cache: Cache, images: pd.DataFrame, label: str
) -> dict[str, npt.NDArray[np.float32]]:
    """Run an ONNX file on cached images (body_part, row): its outputs, in their order, by name.

    `label` is the progress line's.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    starts = range(0, len(images), BATCH_SIZE)
    batches = []
    for start in progress(starts, len(starts), label, "batches"):
        pixels = cache.gather_samples(images.iloc[start : start + BATCH_SIZE])
        batches.append(session.run(None, {"pixels": pixels[..., None]}))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(np.concatenate, zip(*batches, strict=True)), strict=True))


def check_logits(computed: Floats, images: pd.DataFrame, limits: Limits, file: str) -> float:
    """Compare logits (n, 1) of a file with those of a prediction table; return the largest gap.

    Raises:
        InputError: It is above the limit; the image is named.
    """
    expected = images["logit"].to_numpy(np.float64)
    gaps = np.abs(computed[:, 0] - expected)
    limit = limits.logit * max(1.0, float(np.abs(expected).max()))
    return _check(gaps, limit, images, f"the logit of {file}")


def check_maps(
    computed: Floats, expected: Floats, images: pd.DataFrame, limits: Limits, file: str
) -> float:
    """Compare maps (n, rows, columns) of a file with stored ones; return the largest gap.

    It is a share of the range of all these stored maps: one that is flat has no range of its own.

    Raises:
        InputError: It is above the limit, or the maps have another shape.
    """
    if computed.shape != expected.shape:
        raise InputError(
            f"the maps of {file} have the shape {computed.shape[1:]}, those of explain "
            f"{expected.shape[1:]}: run `dvc repro explain`"
        )
    gaps = np.abs(computed - expected).max(axis=(1, 2))
    # Maps that are 0 everywhere, of a head that weighs nothing, have to be 0 here too.
    return _check(gaps / (np.ptp(expected) or 1.0), limits.map, images, f"the map of {file}")


def _check(gaps: Floats, limit: float, images: pd.DataFrame, what: str) -> float:
    # NaN is above each limit.
    above = np.flatnonzero(~(gaps <= limit))
    if len(above):
        raise InputError(
            f"{what} is off by {gaps[above].max():.2g} of {len(above)} of {len(images)} images, "
            f"the first is {images['image'].iloc[above[0]]}, and {limit:.2g} is allowed: "
            "run `dvc repro predict explain`, so that all is computed from these weights"
        )
    return float(gaps.max())

"""An image through the ONNX file of a network, against Keras and against another form of the file.

    python -m benchmarks.onnx_runtime

The other form has batch normalisation before ReLU as a multiplication and an addition, as tf2onnx
writes it. Files run on one thread, Keras on two. Weights are random. About a minute.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import tensorflow as tf
from onnx import helper, numpy_helper

from benchmarks.timing import Row, command_line, in_turns, ratio, spread
from ulna.core import paths
from ulna.core.params import load_params
from ulna.networks import runtime
from ulna.networks.graph import make_predict_fn
from ulna.networks.models import build_network
from ulna.networks.onnx_gradient import export_maps
from ulna.networks.onnx_layers import export_network
from ulna.networks.saliency import target_layer

SIZE_PX, ROUNDS = 96, 7
Run = Callable[[npt.NDArray[np.uint8]], object]


def session(file: bytes) -> Run:
    """Return a function that runs an ONNX file on (n, size_px, size_px, 1) pixels."""
    options = onnxruntime.SessionOptions()
    # Two threads wait for each other at each node: on a shared machine that would be measured.
    options.intra_op_num_threads = 1
    opened = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda pixels: opened.run(None, {"pixels": pixels})


def multiply_and_add(file: bytes) -> bytes:
    """Rewrite each batch normalisation of an ONNX file as a multiplication and an addition."""
    model = onnx.load_from_string(file)
    constants = {array.name: numpy_helper.to_array(array) for array in model.graph.initializer}
    nodes, folded = [], set()
    for node in model.graph.node:
        if node.op_type != "BatchNormalization":
            nodes.append(node)
            continue
        (source, *names), (output,) = node.input, node.output
        folded |= set(names)
        gamma, beta, mean, variance = (constants[name] for name in names)
        scale = gamma / np.sqrt(variance + node.attribute[0].f)
        # That of the head is of a vector, all others of maps.
        shape = (-1,) if output.startswith("head_") else (-1, 1, 1)
        values = {f"{output}/factor": scale, f"{output}/term": beta - mean * scale}
        for name, value in values.items():
            model.graph.initializer.append(numpy_helper.from_array(value.reshape(shape), name))
        factor, term = values
        nodes.append(helper.make_node("Mul", [source, factor], [f"{output}/product"]))
        nodes.append(helper.make_node("Add", [f"{output}/product", term], [output]))
    kept = [array for array in model.graph.initializer if array.name not in folded]
    for field, values_left in (("node", nodes), ("initializer", kept)):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(values_left)
    return bytes(model.SerializeToString())


def milliseconds(run: Run, pixels: npt.NDArray[np.uint8]) -> float:
    """Time a batch, in ms per image: the best of three, as threads of the one before may spin."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        run(pixels)
        taken.append(time.perf_counter() - start)
    return min(taken) / len(pixels) * 1000


def run() -> list[Row]:
    """Time both networks, one image and 32."""
    runtime.configure(seed=1)
    params = load_params(paths.PARAMS)
    rows = []
    for arch in ("cnn", "densenet169"):
        model = build_network(arch, SIZE_PX, getattr(params, arch))
        keras, file = make_predict_fn(model), export_network(model)
        contenders: dict[str, Run] = {
            "file": session(file),
            "keras": lambda pixels, function=keras: function(tf.constant(pixels)),
            "maps": session(export_maps(model, target_layer(model))),
            "other": session(multiply_and_add(file)),
        }
        for count in (1, 32):
            draw = np.random.default_rng(count)
            pixels = draw.integers(0, 256, (count, SIZE_PX, SIZE_PX, 1), np.uint8)
            for contender in contenders.values():
                contender(pixels)
            timed = {name: partial(milliseconds, call, pixels) for name, call in contenders.items()}
            taken = in_turns(timed, ROUNDS)
            what = f"{arch}, {SIZE_PX} px, {count} image{'s' * (count > 1)}, each"
            rows.append(_row(what, "by Keras", taken["file"], taken["keras"]))
            rows.append(_row(f"{what}, with its map", "without", taken["maps"], taken["file"]))
            if arch == "densenet169":
                other = _row(what, "as Mul and Add", taken["file"], taken["other"], aim=1.0)
                rows.append(other)
    return rows


def _row(
    what: str, peer: str, ours: list[float], theirs: list[float], aim: float | None = None
) -> Row:
    times = ratio(theirs, ours)
    return Row(
        what=what,
        ours=spread(ours, 2, "ms"),
        other=f"{spread(theirs, 2, 'ms')} {peer}",
        ratio=f"{times:.2f}",
        aim=f"at least {aim:.0f}" if aim else "",
        met=times >= aim if aim else None,
    )


if __name__ == "__main__":
    command_line(run)

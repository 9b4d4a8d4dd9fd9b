"""An ONNX graph that is being written, and its file: the same bytes from every process.

Feature maps are (n, channels, rows, columns), as ONNX has them; shapes are without n.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ulna.core import InputError

OPSET = 18
IR_VERSION = 10
PIXELS, LOGIT = "pixels", "logit"  # the input and the output of every file

Shape = tuple[int, ...]  # (channels, rows, columns) or (units,)


@dataclass(frozen=True)
class Node:
    """An operation of ONNX, and the layer of Keras that it comes from."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    layer: keras.Layer


@dataclass
class Graph:
    """Nodes in the order in which they run, constants and the shapes of tensors, by name."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        output: str,
        layer: keras.Layer,
        shape: Shape | None = None,
        **attributes: Any,
    ) -> str:
        """Append a node of one output; return the output's name."""
        self.nodes.append(Node(op, tuple(inputs), (output,), attributes, layer))
        if shape is not None:
            self.shapes[output] = shape
        return output

    def constant(self, name: str, values: npt.ArrayLike, dtype: type = np.float32) -> str:
        """Store a constant; return its name."""
        self.constants[name] = np.array(values, dtype, order="C")
        return name

    def serialize(self, size_px: int, *outputs: str) -> bytes:
        """Write the file: `PIXELS` (n, size_px, size_px, 1) uint8 -> float32 outputs, for any n."""
        shapes = {PIXELS: (size_px, size_px, 1)} | {name: self.shapes[name] for name in outputs}
        kinds = [TensorProto.UINT8] + [TensorProto.FLOAT] * len(outputs)
        values = [
            helper.make_tensor_value_info(name, kind, ("n", *shape))
            for (name, shape), kind in zip(shapes.items(), kinds, strict=True)
        ]
        graph = helper.make_graph(
            [helper.make_node(n.op, n.inputs, n.outputs, **n.attributes) for n in self.nodes],
            "ulna",
            values[:1],
            values[1:],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)


def unmapped(layer: keras.Layer, fault: str) -> InputError:
    """Make the error of a layer that cannot be written, such as "has dilated kernels"."""
    return InputError(
        f"the layer {layer.name} ({type(layer).__name__}) {fault}, which cannot be written as "
        "ONNX: use another layer, or write it in src/ulna/networks/onnx_layers.py"
    )

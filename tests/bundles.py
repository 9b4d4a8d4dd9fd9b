"""Small bundles whose answers are known by arithmetic."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ulna.inference.bundle import SCHEMA_VERSION, write_bundle

# Of the first network: logit = SLOPE * mean grey / 255 + OFFSET, so mid-grey gives 0. The k-th
# network (from 1) has both divided by k.
SLOPE, OFFSET = 4.0, -2.0
BLOCKS = 4  # per side of a map, whose cells are SLOPE * mean grey of their block / 255


def tiny_logit(square: np.ndarray, network: int = 1) -> float:
    return (SLOPE * float(square.mean()) / 255 + OFFSET) / network


def tiny_map(square: np.ndarray, network: int = 1) -> np.ndarray:
    """(BLOCKS, BLOCKS): its mean and the offset make the logit."""
    side = square.shape[0] // BLOCKS
    means = square.reshape(BLOCKS, side, BLOCKS, side).mean(axis=(1, 3))
    return SLOPE / network * means / 255


def tiny_onnx(size_px: int, maps: bool, network: int = 1) -> bytes:
    def constant(name: str, values: Any, kind: type) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, kind), name)

    side = size_px // BLOCKS
    scale, offset = SLOPE / 255 / network, OFFSET / network
    initializers = [
        constant("scale", scale, np.float32),
        constant("offset", offset, np.float32),
        constant("sides", [1, 2, 3], np.int64),
    ]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["grey", "sides"], ["means"], keepdims=0),
        helper.make_node("Mul", ["means", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "last"], ["logit"]),
    ]
    initializers.append(constant("last", [1], np.int64))
    outputs = [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n", 1])]
    if maps:
        initializers += [
            constant("blocks", [-1, BLOCKS, side, BLOCKS, side], np.int64),
            constant("within", [2, 4], np.int64),
        ]
        nodes += [
            helper.make_node("Reshape", ["grey", "blocks"], ["blocked"]),
            helper.make_node("ReduceMean", ["blocked", "within"], ["cells"], keepdims=0),
            helper.make_node("Mul", ["cells", "scale"], ["map"]),
        ]
        shape = ["n", BLOCKS, BLOCKS]
        outputs.append(helper.make_tensor_value_info("map", TensorProto.FLOAT, shape))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", size_px, size_px, 1])
    graph = helper.make_graph(nodes, "tiny", [pixels], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def scores(**changes: Any) -> dict[str, Any]:
    rates = {"auroc": 0.8, "kappa": 0.5, "recall": 0.75, "specificity": 0.75, "accuracy": 0.75,
             "precision": 0.75, "f1": 0.75, "auprc": 0.8}  # fmt: skip
    limits = {
        f"{name}{end}": round(value + step, 2)
        for name, value in rates.items()
        for end, step in (("", 0.0), ("_low", -0.1), ("_high", 0.1))
    }
    return {"n": 40, "abnormal": 20, "patients": 35, **limits, "threshold": 0.5, **changes}


def tiny_record(size_px: int = 32, members: int = 1, maps: bool = True) -> dict[str, Any]:
    """`bundle.json` without its files: trained on HAND and WRIST, thresholds 0.5 and 0.6."""
    names = ["cnn", "densenet169", "mobilenetv2"][:members]
    titles = {"cnn": "CNN", "densenet169": "DenseNet169", "mobilenetv2": "MobileNetV2"}
    prefix = {name: "" if members == 1 else f"{name}_" for name in names}
    model = {name: "model.onnx" if members == 1 else f"{name}.onnx" for name in names}
    return {
        "schema_version": SCHEMA_VERSION,
        "name": names[0] if members == 1 else "ensemble",
        "title": titles[names[0]] if members == 1 else "Ensemble",
        "ulna_version": "0.1.0",
        "not_for_clinical_use": True,
        "label": {"positive": "abnormal", "meaning": "Brighter than mid-grey."},
        "image": {"size_px": size_px, "fit": "pad", "max_megapixels": 50.0},
        "networks": [
            {
                "name": name,
                "title": titles[name],
                "model": model[name],
                "maps": f"{prefix[name]}maps.onnx" if maps else None,
                "model_sha256_keras": "0" * 64,
                "conversion": {
                    "images": 3,
                    "max_logit_difference": 1e-6,
                    "max_map_difference": 1e-4 if maps else None,
                    "mixed_precision": "none",
                },
                "saliency": f"{titles[name]}: randomization test passed.",
            }
            for name in names
        ],
        "combination": "mean_probability",
        "aggregation": "mean_probability",
        "threshold": {
            "rule": "youden",
            "min_sensitivity": None,
            "per": "body_part",
            "study": 0.5,
            "by_body_part": {"WRIST": 0.6},
            "val_studies": 40,
            "val_abnormal": 20,
        },
        "calibration": {
            "temperature": 0.8,
            "conclusion": "not_shown_too_few",
            "sentence": "CNN is not shown to be calibrated: too few test studies.",
        },
        "body_parts": {
            part: {"train_studies": 50, "train_images": 90, "train_abnormal": 20,
                   "test_studies": 20}
            for part in ("HAND", "WRIST")
        },
        "reference": None,
        "performance": {
            "study": scores(true_positives=15, false_positives=5, val_n=40, val_abnormal=20,
                            conclusion="above_chance"),
            "by_body_part": {"HAND": scores(n=20, abnormal=10), "WRIST": scores(n=20, abnormal=10)},
            "by_finding": {
                "lesion": {"studies": 12, "found": 7, "sensitivity": 0.58, "sensitivity_low": 0.31,
                           "sensitivity_high": 0.81, "auroc": 0.7, "auroc_low": 0.5,
                           "auroc_high": 0.9}
            },
        },
        "data": {
            "root": "phantom",
            "synthetic": True,
            "split_sha256": "1" * 64,
            "licence": "Drawings of this project, under its own licence.",
        },
        "environment": {"system": "Linux", "tensorflow": "2.21.0", "fingerprint": "0" * 16},
    }  # fmt: skip


def tiny_bundle(
    folder: Path, *, size_px: int = 32, members: int = 1, maps: bool = True, **changes: Any
) -> Path:
    """Write a small bundle; changes replace top-level keys of its record."""
    record = tiny_record(size_px, members, maps) | changes
    files = {"MODEL_CARD.md": b"# Tiny\n"}
    for number, network in enumerate(record["networks"], start=1):
        files[network["model"]] = tiny_onnx(size_px, False, number)
        if network["maps"]:
            files[network["maps"]] = tiny_onnx(size_px, True, number)
    write_bundle(folder, record, files)
    return folder

"""Records of predictions and a record of a bundle, made by hand."""

from types import SimpleNamespace
from typing import Any

SCORES = {
    "n": 139, "abnormal": 63, "patients": 116, "threshold": 0.4,
    "auroc": 0.827, "auroc_low": 0.752, "auroc_high": 0.892,
    "kappa": 0.505, "kappa_low": 0.35, "kappa_high": 0.644,
    "recall": 0.714, "recall_low": 0.597, "recall_high": 0.821,
    "specificity": 0.789, "specificity_low": 0.692, "specificity_high": 0.877,
    "conclusion": "above_chance",
}  # fmt: skip
FEW = dict.fromkeys((name for name in SCORES if "_" in name), None)
BUNDLE: dict[str, Any] = {
    "name": "cnn",
    "title": "CNN",
    "label": {"positive": "abnormal", "meaning": "Abnormal means any finding."},
    "networks": [{"name": "cnn", "maps": "maps.onnx", "saliency": "CNN: passed."}],
    "threshold": {
        "rule": "youden", "min_sensitivity": None, "per": "overall", "study": 0.4,
        "by_body_part": {}, "val_studies": 107, "val_abnormal": 40,
    },
    "calibration": {
        "temperature": None, "conclusion": "not_shown_few_val",
        "sentence": "The CNN is not shown to be calibrated.",
    },
    "body_parts": {
        "HAND": {"train_studies": 60, "train_images": 150, "train_abnormal": 20, "test_studies": 9},
        "WRIST": {"train_studies": 40, "train_images": 90, "train_abnormal": 20, "test_studies": 8},
    },
    "performance": {
        "study": SCORES,
        "by_body_part": {"WRIST": SCORES, "HAND": {**SCORES, **FEW, "n": 9}},
        "by_finding": {
            "hardware": {"studies": 18, "found": 17},
            "hairline_fracture": {"studies": 6, "found": 1},
        },
    },
    "data": {"root": "phantom", "synthetic": True, "split_sha256": "0" * 64, "licence": "Open."},
}  # fmt: skip


def make_bundle(**changes: Any) -> Any:
    return SimpleNamespace(record={**BUNDLE, **changes}, name="cnn", sha256="ab" * 32)


def make_view(path: str = "a/1.png", logit: float = 0.5, warnings: tuple[str, ...] = ()) -> Any:
    # sigmoid(0.5) = 0.6224593312018546
    probability = {0.5: 0.6224593312018546, 0.0: 0.5}[logit]
    return SimpleNamespace(
        path=path, logit=logit, probability=probability, width_px=400, height_px=500,
        warnings=warnings,
    )  # fmt: skip


def make_study(name: str = "a", probability: float = 0.6, **changes: Any) -> Any:
    """A study as the predictor gives it; above the threshold of 0.4 it is positive."""
    values: dict[str, Any] = {
        "study": name, "body_part": "WRIST", "views": (make_view(f"{name}/1.png"),), "refused": (),
        "probability": probability, "threshold": 0.4, "positive": probability > 0.4,
        "warnings": (),
    } | changes  # fmt: skip
    return SimpleNamespace(**values)


def make_refused(path: str, reason: str = "damaged or cut off") -> Any:
    return SimpleNamespace(path=path, reason=reason)

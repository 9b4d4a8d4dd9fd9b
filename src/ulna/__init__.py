"""A reproducible pipeline that classifies bone radiographs as abnormal or normal."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ulna.inference.predictor import Predictor as Predictor

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    # On demand: the pipeline has no use for ONNX Runtime.
    if name == "Predictor":
        from ulna.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The record of a predicted study, as JSON holds it.

It holds all that table, text and page show, so that each can be made of records that a run before
this one has written. Its schema is prediction.schema.json.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ulna.inference.bundle import Bundle
from ulna.inference.predictor import Study
from ulna.inference.text import WARNINGS

SCHEMA_VERSION = 1
SCHEMA = Path(__file__).with_name("prediction.schema.json")


def make_record(
    study: Study, bundle: Bundle, patient: str | None, overlays: Mapping[str, str]
) -> dict[str, Any]:
    """The record of a study, which prediction.schema.json describes.

    Args:
        study: As predicted; without views if none could be read.
        bundle: What predicted it.
        patient: As its path names the patient; None if it does not.
        overlays: Path of a view -> name of the file of its overlay.
    """
    answered = bool(study.views)
    # Where there is no answer at all, no warning is about one.
    codes = study.warnings if answered else ()
    decision = "abnormal" if study.positive else "normal"
    return {
        "schema_version": SCHEMA_VERSION,
        "not_for_clinical_use": True,
        "bundle": {"name": bundle.name, "sha256": bundle.sha256},
        "study": study.study,
        "patient": patient,
        "body_part": study.body_part,
        "probability": study.probability if answered else None,
        "threshold": study.threshold if answered else None,
        "threshold_rule": bundle.record["threshold"]["rule"],
        "decision": decision if answered else None,
        "calibration": bundle.record["calibration"]["conclusion"],
        "views": [
            {
                "image": view.path,
                "logit": view.logit,
                "probability": view.probability,
                "width_px": view.width_px,
                "height_px": view.height_px,
                "overlay": overlays.get(view.path),
                "warnings": list(view.warnings),
            }
            for view in study.views
        ],
        "refused": [{"image": each.path, "reason": each.reason} for each in study.refused],
        "warnings": [{"code": code, "sentence": WARNINGS[code]} for code in codes],
    }

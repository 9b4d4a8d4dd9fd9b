"""The record of a bundle, `bundle.json`: all that a decision needs, from the pipeline's numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ulna.core import InputError, version
from ulna.core.params import Evaluate, Image
from ulna.evaluation import NAMES, conclusions
from ulna.evaluation.ensemble import sha256_of_members

Numbers = Mapping[str, Any]

LABEL = {
    "positive": "abnormal",
    "meaning": (
        "Abnormal as the labels of MURA have it: a radiologist finds something in the study, be "
        "it a fracture, hardware, degeneration, a lesion or else; not a fracture alone."
    ),
}
PHANTOM, MURA = "phantom", "MURA"
LICENCES = {
    PHANTOM: ("The drawings are made by ulna itself, under its MIT licence, and show no person."),
    MURA: (
        "MURA v1.1 is Stanford's, under its Research Use Agreement: for non-commercial research "
        "only, and neither the images nor processed copies of them may be passed on. These weights "
        "were trained on MURA: read the agreement before you use them or pass them on."
    ),
    "": (
        "The licence of the training data is not known to ulna: whoever trained this network has "
        "to say what it allows."
    ),
}
RANDOMIZATION = "randomization"


def describe_network(
    arch: str, conversion: Numbers, saliency: Numbers, alone: bool
) -> dict[str, Any]:
    """Describe one network of a bundle: its files, how exact they are, what its maps show.

    Args:
        arch: The network.
        conversion: `convert.json` of its ONNX files.
        saliency: metrics/details/saliency_<arch>.json.
        alone: Whether it is the bundle's only one; the files of several carry their names.
    """
    model, maps = ("model.onnx", "maps.onnx") if alone else (f"{arch}.onnx", f"{arch}_maps.onnx")
    sentences = [conclusions.randomization(saliency[RANDOMIZATION], arch)]
    passed = saliency[RANDOMIZATION]["passed"]
    if passed:
        sentences.append(conclusions.saliency(saliency, arch))
    kept = ("images", "max_logit_difference", "max_map_difference", "mixed_precision")
    return {
        "name": arch,
        "title": NAMES[arch],
        "model": model,
        "maps": maps if passed else None,
        "model_sha256_keras": conversion["model_sha256"],
        "conversion": {name: conversion[name] for name in kept},
        "saliency": " ".join(sentences),
    }


def count_body_parts(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count what was trained on, by body part: studies, images, abnormal studies, test studies.

    Both tables have one row per image, with body_part, study and label.
    """

    def studies(images: pd.DataFrame) -> pd.Series:
        counts: pd.Series = images.groupby("body_part")["study"].nunique()
        return counts

    all_studies, abnormal = studies(train), studies(train[train["label"] == 1])
    images, tested = train.groupby("body_part").size(), studies(test)
    return {
        str(part): {
            "train_studies": int(count),
            "train_images": int(images[part]),
            "train_abnormal": int(abnormal.get(part, 0)),
            "test_studies": int(tested.get(part, 0)),
        }
        for part, count in all_studies.items()
    }


def describe_bundle(
    name: str,
    networks: Sequence[Mapping[str, Any]],
    metrics: Numbers,
    by_body_part: pd.DataFrame,
    body_parts: Mapping[str, Mapping[str, int]],
    reference: Mapping[str, Any] | None,
    image: Image,
    evaluate: Evaluate,
    root: str,
    synthetic: bool,
) -> dict[str, Any]:
    """Describe a bundle: `bundle.json` without its version and the hashes of its files.

    Args:
        name: A network, or ensemble.
        networks: See `describe_network`.
        metrics: metrics/details/<name>.json.
        by_body_part: Its scores, see `ulna.evaluation.evaluate.Evaluation`.
        body_parts: See `count_body_parts`.
        reference: See `ulna.inference.reference.fit_reference`.
        image: Section of params.yaml.
        evaluate: Section of params.yaml.
        root: data.root of params.yaml.
        synthetic: Whether that is the phantom.

    Raises:
        InputError: The ONNX files and the scores are not of the same weights.
    """
    weights = [network["model_sha256_keras"] for network in networks]
    scored = sha256_of_members(weights) if len(weights) > 1 else weights[0]
    if scored != metrics["model_sha256"]:
        raise InputError(
            f"the scores of {name} and its ONNX files are not of the same weights: run `dvc repro`"
        )
    study, thresholds = metrics["study"], metrics["thresholds"]
    titles = [network["title"] for network in networks]
    by_part = by_body_part.drop(columns="note").set_index("body_part").to_dict("index")
    source = PHANTOM if synthetic else Path(root).name
    owner = PHANTOM if synthetic else MURA if MURA in source.upper() else ""
    return {
        "name": name,
        "title": titles[0] if len(titles) == 1 else f"Ensemble of {' and '.join(titles)}",
        "ulna_version": version(),
        "not_for_clinical_use": True,
        "label": LABEL,
        "image": {
            "size_px": image.size_px,
            "fit": image.fit,
            "max_megapixels": image.max_megapixels,
        },
        "networks": list(networks),
        # Of `ulna.evaluation.ensemble.average`.
        "combination": "mean_probability",
        "aggregation": evaluate.aggregation,
        "threshold": {
            "rule": evaluate.threshold,
            "min_sensitivity": (
                evaluate.min_sensitivity if evaluate.threshold == "sensitivity" else None
            ),
            "per": evaluate.threshold_per,
            "study": thresholds["overall"],
            "by_body_part": thresholds["by_body_part"],
            "val_studies": study["val_n"],
            "val_abnormal": study["val_abnormal"],
        },
        "calibration": {
            "temperature": metrics["calibration"]["temperature"],
            "conclusion": metrics["calibration"]["conclusion"],
            "sentence": conclusions.calibration(metrics["calibration"], name),
        },
        "body_parts": body_parts,
        "reference": reference,
        "performance": {
            "study": study,
            "by_body_part": by_part,
            "by_finding": metrics["by_finding"],
        },
        "data": {
            "root": source,
            "synthetic": synthetic,
            "split_sha256": metrics["split_sha256"],
            "licence": LICENCES[owner],
        },
        "environment": metrics["environment"],
    }

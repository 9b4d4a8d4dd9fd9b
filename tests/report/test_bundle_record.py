"""The record of a bundle: it decides as the evaluation did, and passes the published schema."""

import json

import jsonschema
import numpy as np
import pandas as pd
import pytest
from bundles import tiny_onnx
from random_tables import random_predictions

from ulna.core import InputError
from ulna.core.aggregation import aggregate, sigmoid
from ulna.core.io import storable, write_json
from ulna.core.provenance import describe
from ulna.evaluation.ensemble import average, sha256_of_members
from ulna.evaluation.evaluate import evaluate_table
from ulna.inference.bundle import SCHEMA, load_bundle, write_bundle
from ulna.report.bundle_record import count_body_parts, describe_bundle, describe_network
from ulna.report.card import model_card

WEIGHTS = {"cnn": "ab" * 32, "densenet169": "cd" * 32}
CONVERSION = {"images": 7, "max_logit_difference": 1e-6, "max_map_difference": 0.001,
              "mixed_precision": "none"}  # fmt: skip
GAME = {"n": 5, "patients": 5, "value": 0.5, "low": 0.2, "high": 0.8, "chance_even": 0.1,
        "chance_other_maps": 0.3, "chance_brightness": 0.45}  # fmt: skip
SALIENCY = {
    "at_chance": False,
    "randomization": {"images": 32, "head_limit": 0.7, "all_limit": 0.5, "passed": True,
                      "rank_correlation": {"head": 0.3, "block1": 0.1}},
    "localization": {"abnormal": {"pointing_game": GAME}},
}  # fmt: skip
FAILED = SALIENCY | {"randomization": SALIENCY["randomization"] | {"passed": False}}
COUNTS = {
    part: {"train_studies": 5, "train_images": 9, "train_abnormal": 2, "test_studies": 60}
    for part in ("HAND", "WRIST")
}


def network(arch, saliency=SALIENCY, alone=True):
    return describe_network(arch, CONVERSION | {"model_sha256": WEIGHTS[arch]}, saliency, alone)


def record_of(folder, params, predictions, name="cnn", data=("data/MURA-v1.1", False), **settings):
    """The record from evaluated predictions, read from a file as the stage reads it."""
    evaluate = params.evaluate.model_copy(update={"bootstrap_replicates": 200} | settings)
    evaluation = evaluate_table(predictions, evaluate, seed=1)
    weights = WEIGHTS["cnn"] if name == "cnn" else sha256_of_members(list(WEIGHTS.values()))
    provenance = {"model_sha256": weights, "environment": describe(2, [])}
    write_json(folder / "details.json", evaluation.metrics | provenance)
    networks = [network("cnn")]
    if name == "ensemble":
        networks = [network(arch, alone=False) for arch in WEIGHTS]
    record = describe_bundle(
        name,
        networks,
        json.loads((folder / "details.json").read_text()),
        evaluation.by_body_part,
        COUNTS,
        None,
        params.image,
        evaluate,
        *data,
    )
    return storable(record), evaluation


def written(folder, record):
    files = {"MODEL_CARD.md": model_card(record).encode()}
    for entry in record["networks"]:
        for kind in ("model", "maps"):
            if entry[kind]:
                files[entry[kind]] = tiny_onnx(32, kind == "maps")
    write_bundle(folder, record, files)
    return load_bundle(folder)


@pytest.mark.promise("H45")
@pytest.mark.parametrize("rule", ["half", "youden", "kappa", "sensitivity"])
@pytest.mark.parametrize("per", ["overall", "body_part"])
@pytest.mark.parametrize("aggregation", ["mean_probability", "mean_logit", "max", "noisy_or"])
def test_a_bundle_decides_as_the_evaluation_did(params, tmp_path, rule, per, aggregation):
    predictions = random_predictions(3)
    settings = {"threshold": rule, "threshold_per": per, "aggregation": aggregation}
    record, evaluation = record_of(tmp_path, params, predictions, **settings)
    bundle = written(tmp_path / "cnn", record)
    for study in evaluation.studies.itertuples():
        views = predictions[predictions["study"] == study.study]
        logits = views["logit"].tolist()
        probability = aggregate(logits, [sigmoid(logit) for logit in logits], bundle.aggregation)
        decision = probability > bundle.threshold(study.body_part)
        assert decision == (study.probability > study.threshold), study
    assert set(bundle.record["threshold"]["by_body_part"]) == (
        {"HAND", "WRIST"} if per == "body_part" else set()
    )
    assert bundle.record["threshold"]["min_sensitivity"] == (0.9 if rule == "sensitivity" else None)


def test_an_ensembles_bundle_decides_as_the_evaluation_did(params, tmp_path):
    """The mean of the probabilities of networks per view, then of views."""
    tables = {
        arch: random_predictions(3).assign(
            logit=lambda t, k=k: np.random.default_rng(k).permutation(t["logit"]),
            probability=lambda t: 1 / (1 + np.exp(-t["logit"])),
        )
        for k, arch in enumerate(WEIGHTS)
    }
    record, evaluation = record_of(tmp_path, params, average(tables), "ensemble")
    bundle = written(tmp_path / "ensemble", record)
    assert [member.name for member in bundle.members] == list(WEIGHTS)
    assert set(bundle.record["files"]) == {
        "MODEL_CARD.md",
        *("cnn.onnx", "cnn_maps.onnx", "densenet169.onnx", "densenet169_maps.onnx"),
    }
    assert record["title"] == "Ensemble of CNN and DenseNet169"
    for study in evaluation.studies.itertuples():
        views = [
            table.loc[table["study"] == study.study, "probability"].mean()
            for table in tables.values()
        ]
        assert (np.mean(views) > bundle.threshold(None)) == (study.probability > study.threshold)


def test_every_record_passes_the_schema_by_another_implementation(params, tmp_path):
    """Also without a val large enough for a temperature, and with a part too small for scores."""
    schema = json.loads(SCHEMA.read_text())
    few = random_predictions(1, studies=16)
    few.loc[few["study"].isin(few["study"].unique()[-3:]), "body_part"] = "ELBOW"
    for predictions in (random_predictions(1), few):
        record, _ = record_of(tmp_path, params, predictions)
        bundle = written(tmp_path / "cnn", record)
        jsonschema.validate(bundle.record, schema, cls=jsonschema.Draft7Validator)
        assert len(model_card(record).splitlines()) > 60
    assert record["calibration"]["temperature"] is None
    assert record["performance"]["by_body_part"]["ELBOW"]["auroc"] is None


def test_numbers_are_those_of_the_evaluation(params, tmp_path):
    record, evaluation = record_of(tmp_path, params, random_predictions(2))
    study = evaluation.metrics["study"]
    for name in ("n", "auroc", "auroc_low", "kappa_high", "recall", "threshold"):
        assert record["performance"]["study"][name] == pytest.approx(study[name], rel=1e-9)
    parts = evaluation.by_body_part.set_index("body_part")
    for part, row in record["performance"]["by_body_part"].items():
        assert row["specificity"] == pytest.approx(parts.loc[part, "specificity"], rel=1e-9)
    assert record["threshold"]["study"] == pytest.approx(study["threshold"], rel=1e-9)
    assert record["calibration"]["conclusion"] == evaluation.metrics["calibration"]["conclusion"]


def test_maps_that_failed_their_test_are_left_out():
    failed, passed = network("cnn", FAILED), network("cnn")
    assert (failed["maps"], passed["maps"]) == (None, "maps.onnx")
    assert "randomization test failed" in failed["saliency"]
    assert "ground-truth box" in passed["saliency"]
    assert "ground-truth box" not in failed["saliency"]


def test_scores_and_files_of_different_weights_are_not_bundled(params, tmp_path):
    with pytest.raises(
        InputError,
        match="scores of ensemble and its ONNX files are not of the same weights: run `dvc repro`",
    ):
        describe_bundle(
            "ensemble",
            [network("cnn", alone=False)],
            {"model_sha256": "ef" * 32},
            pd.DataFrame(),
            {},
            None,
            params.image,
            params.evaluate,
            "data/x",
            False,
        )


@pytest.mark.parametrize(
    ("root", "synthetic", "name", "word"),
    [
        ("data/phantom/MURA-v1.1.zip", True, "phantom", "show no person"),
        ("/home/someone/data/MURA-v1.1", False, "MURA-v1.1", "non-commercial research"),
        ("../bones.zip", False, "bones.zip", "not known"),
    ],
)
def test_the_data_are_named_without_their_path(params, tmp_path, root, synthetic, name, word):
    record, _ = record_of(tmp_path, params, random_predictions(1), data=(root, synthetic))
    data = record["data"]
    assert (data["root"], data["synthetic"]) == (name, synthetic)
    assert word in data["licence"]
    assert "someone" not in json.dumps(record)


def test_body_parts_are_counted_in_studies():
    train = pd.DataFrame(
        [("HAND", "a", 1), ("HAND", "a", 1), ("HAND", "b", 0), ("WRIST", "c", 0)],
        columns=["body_part", "study", "label"],
    )
    test = pd.DataFrame({"body_part": ["HAND", "HAND", "ELBOW"], "study": ["d", "d", "e"]})
    hand = {"train_studies": 2, "train_images": 3, "train_abnormal": 1, "test_studies": 1}
    wrist = {"train_studies": 1, "train_images": 1, "train_abnormal": 0, "test_studies": 0}
    assert count_body_parts(train, test) == {"HAND": hand, "WRIST": wrist}

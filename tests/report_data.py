"""A complete `ReportData` from random predictions."""

import json
import re
from html import unescape

import numpy as np
import pandas as pd
from random_tables import random_predictions
from scipy.special import expit

from ulna.checks.shortcuts import evaluate_occlusion, summarize_occlusion, tabulate_occlusion
from ulna.core.params import Evaluate
from ulna.core.provenance import describe
from ulna.evaluation import LEVELS
from ulna.evaluation.bootstrap import bootstrap_weights
from ulna.evaluation.comparison import all_pairs, compare_networks, read_reference
from ulna.evaluation.conclusions import BASELINES
from ulna.evaluation.evaluate import evaluate_table
from ulna.evaluation.overfitting import summarize_history
from ulna.evaluation.thresholds import apply_thresholds
from ulna.figures.style import new_figure, to_svg
from ulna.report.background import CHECKLIST
from ulna.report.contents import ReportData, inputs
from ulna.report.pictures import GROUPS, Picture, encode

NETWORKS = ("cnn", "densenet169")
EVALUATED = (*NETWORKS, "ensemble")
ENVIRONMENT = describe(2, [])
SIDE = {"auroc": 0.9, "auroc_low": 0.8, "auroc_high": 0.95}
ENDS = {"kappa": None, "kappa_low": None, "kappa_high": None}


def make_report_data(evaluate: Evaluate) -> ReportData:
    settings = evaluate.model_copy(update={"bootstrap_replicates": 200})
    images = {
        arch: random_predictions(1).assign(
            logit=lambda t, k=k: t["logit"] / (k + 1),
            probability=lambda t: expit(t["logit"]),
        )
        for k, arch in enumerate(EVALUATED)
    }
    evaluated = {arch: evaluate_table(table, settings, seed=1) for arch, table in images.items()}
    known = {
        (arch, level): apply_thresholds(table, level, settings)[0]
        for arch, table in images.items()
        for level in LEVELS
    }
    test = {key: table.query("split == 'test'") for key, table in known.items()}
    val = known["cnn", "study"].query("split == 'val'")
    replicates = bootstrap_weights(test["cnn", "study"]["patient"], 200, seed=1)
    compare = {
        f"{one}_vs_{two}": compare_networks(
            {level: (test[one, level], test[two, level]) for level in LEVELS}, val, replicates, 10
        )
        for one, two in all_pairs(NETWORKS)
    }
    half = images["ensemble"].query("split == 'test'")
    hidden = {
        arch: evaluate_occlusion(
            {"whole": images[arch], "frame_hidden": half, "centre_hidden": half}, settings, seed=1
        )
        for arch in NETWORKS
    }
    history = pd.DataFrame(
        {"epoch": [1, 2], "loss": 0.5, "val_loss": 0.6, "auroc": 0.8, "val_auroc": 0.7}
    ).assign(best=[0, 1])
    gap = {
        f"{name}{kind}{end}": 0.1
        for name in ("auroc", "kappa", "accuracy", "log_loss")
        for kind in ("", "_gap")
        for end in ("", "_low", "_high")
    }
    course = summarize_history("cnn", history.assign(phase="scratch"), {"scratch": 2}, 8)
    overfitting = {"course": course, "conclusion": "overfitted"}
    overfitting |= {split: gap | {"patients": 8} for split in ("train", "test")}
    game = {"n": 5, "patients": 5, "value": 0.5, "low": 0.2, "high": 0.8}
    game |= {"chance_even": 0.1, "chance_other_maps": 0.3, "chance_brightness": 0.45}
    test_of_maps = {"images": 32, "head_limit": 0.7, "all_limit": 0.5}
    test_of_maps |= {"rank_correlation": {"head": 0.3, "block1": 0.1}}
    counts = {"duplicate_across_splits": 1, "duplicate_label_conflict": 0, "inverted": 3}
    provenance = {"model_sha256": "ab" * 32, "environment": ENVIRONMENT}
    sides = dict.fromkeys(
        ("seen", "unseen", "seen_minus_unseen"), SIDE | {"studies": 9, "abnormal": 4}
    )
    baseline = SIDE | ENDS | {"n": 9, "flag": False, "informative": False}
    metrics = {arch: result.metrics | provenance for arch, result in evaluated.items()} | {
        "occlusion": summarize_occlusion(hidden),
        "compare": compare,
        "cross_part": {"WRIST": sides},
        "audit": {
            "images": 9,
            "studies": 5,
            "patients": 4,
            "rejected_images": 0,
            "findings": counts,
        },
        "baselines": {"conclusion": "no_alarm", "max_auroc_high": 0.6}
        | dict.fromkeys(BASELINES, baseline),
        "saliency_cnn": {
            "at_chance": False,
            "randomization": test_of_maps | {"passed": True},
            "localization": {"abnormal": {"pointing_game": game}},
        },
        "saliency_densenet169": {
            "at_chance": True,
            "randomization": test_of_maps | {"passed": False},
            "localization": None,
        },
        "overfitting": dict.fromkeys(NETWORKS, overfitting)
        | {"learning_curve": {"conclusion": "off", "arch": "cnn", "step": {}}},
    }
    splits = {"body_part": "HAND", "split": ["test", "train", "val"], "label": 0}
    cell = {"trained_on": "WRIST", "tested_on": "HAND", "studies": 12} | SIDE | ENDS
    rows = [{"network": "cnn", "split": name, "n": 9, "patients": 8} for name in ("train", "val")]
    tables = {
        "splits": pd.DataFrame(splits | {"studies": [3, 1203, 5], "images": 4}),
        "cross_part": pd.DataFrame([cell]),
        "occlusion": tabulate_occlusion(hidden),
        "overfitting": pd.DataFrame([row | gap for row in rows]),
        "learning_curve": pd.DataFrame(),
    }
    for arch in NETWORKS:
        tables[f"history/{arch}"] = history
        tables[f"{arch}/by_body_part"] = evaluated[arch].by_body_part
        tables[f"{arch}/by_finding"] = evaluated[arch].by_finding
        tables[f"{arch}/disagreements"] = evaluated[arch].disagreements
    names = inputs(NETWORKS)
    assert [set(metrics), set(tables)] == [set(listed) for listed in names[:2]]
    return ReportData(
        networks=NETWORKS,
        metrics=json.loads(json.dumps(metrics)),
        tables=tables,
        figures={name: to_svg(new_figure(1), name) for name in names[2]},
        pictures={name: [picture(name)] for name in GROUPS},
        reference=read_reference(),
        versions={"numpy": "2"},
        params="seed: 1",
        root="data/<here>",
        synthetic=False,
    )


def read_checklist() -> pd.DataFrame:
    """guideline, item, topic, place (an anchor of the page, or empty) and note, all text."""
    return pd.read_csv(CHECKLIST, dtype=str, keep_default_na=False)


def picture(finding: str) -> Picture:
    jpeg = encode(np.zeros((20, 10), np.uint8))
    return Picture(
        *("valid/HAND/p<1>/study1", "HAND", finding, 0.25, 3), jpeg, 10, 20, (1.0, 2.0, 6.0, 9.0)
    )


def cells(html: str, caption: str) -> list[list[str]]:
    """The cells of the table whose caption begins so, as text."""
    [body] = re.findall(rf"<caption><span>{re.escape(caption)}.*?<tbody>(.*?)</tbody>", html, re.S)
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.S)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [[unescape(re.sub("<.*?>", "", cell)) for cell in row] for row in cells]

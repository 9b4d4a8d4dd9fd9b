"""Revisions of which the prediction tables are simulated."""

import numpy as np
import pandas as pd
from conftest import PARAMS
from scipy.special import expit

from ulna.core.params import Evaluate, parse_params
from ulna.core.predictions import check_predictions
from ulna.core.yaml12 import parse_yaml
from ulna.team.differences import rank
from ulna.team.revisions import Revision

RAW = parse_yaml(PARAMS.read_text(), "params.yaml")
EVALUATE = parse_params(RAW).evaluate.model_copy(update={"bootstrap_replicates": 400})


def predict(signal: float, seed: int, patients: int = 120, hard: float = 1.0) -> pd.DataFrame:
    """A prediction table: the patients are always the same, what makes them hard too."""
    same, own = np.random.default_rng(1), np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        label, difficulty = int(same.integers(0, 2)), same.normal()
        for study in range(int(same.integers(1, 3))):
            for view in range(2):
                logit = signal * (label - 0.5) + hard * difficulty + 0.5 * own.normal()
                name = f"train/HAND/patient{patient:05}/study{study}"
                rows.append(
                    {
                        "image": f"{name}/image{view}.png",
                        "patient": f"p{patient:05}",
                        "study": name,
                        "body_part": "HAND",
                        "split": "val" if patient % 2 else "test",
                        "label": label,
                        "logit": logit,
                    }
                )
    table = pd.DataFrame(rows)
    table["probability"] = expit(table["logit"])
    check_predictions(table, "simulated")
    return table


def revision(name: str, evaluate: Evaluate = EVALUATE, **tables: pd.DataFrame) -> Revision:
    return Revision(name, RAW, evaluate, 7, tables, {})


def rows_of(*differences: tuple[str, float, str], **shared: object) -> pd.DataFrame:
    same = {"network": "cnn", "level": "study", "few": False, "chance": False, "n": 80}
    same |= {"patients": 60}
    return pd.DataFrame(
        [
            same
            | {"threshold_before": 0.35, "threshold_after": 0.62, "metric": metric}
            | {"difference": change, "low": change - 0.01, "high": change + 0.01}
            | {"significance": code}
            | shared
            for metric, change, code in differences
        ]
    )


def ranked(**tables: pd.DataFrame) -> pd.DataFrame:
    revisions = [revision(name, cnn=table) for name, table in tables.items()]
    return rank(revisions, "cnn", "study", "auroc").set_index("name")

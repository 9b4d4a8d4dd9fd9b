"""Prediction tables of given logits, or of random ones."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from ulna.checks.audit import COLUMNS
from ulna.core import paths
from ulna.core.io import write_csv
from ulna.data.annotations import KEPT


def predictions(*studies: tuple[str, str, int, list[float]], same: int = 1) -> pd.DataFrame:
    """Studies of (split, body part, label, logits of the views), each with a patient of its own."""
    rows = [
        (f"{i}-{k}/{view}.png", f"p{i}-{k}", f"s{i}-{k}", part, split, label, logit, expit(logit))
        for i, (split, part, label, logits) in enumerate(studies)
        for k in range(same)
        for view, logit in enumerate(logits)
    ]
    names = ["image", "patient", "study", "body_part", "split", "label", "logit", "probability"]
    return pd.DataFrame(rows, columns=names).astype({"probability": float})


def random_predictions(seed: int, studies: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    parts = ("HAND", "WRIST")
    table = predictions(
        *(
            (split, parts[k % 2], k // 2 % 2, rng.normal(k // 2 % 2, 1.5, 1 + k % 3).tolist())
            for split in ("val", "test")
            for k in range(studies)
        )
    )
    # Two studies a patient.
    owner = {name: f"{name[0]}{k // 2}" for k, name in enumerate(table["patient"].unique())}
    return table.assign(patient=table["split"] + table["patient"].map(owner))


def write_no_findings(folder: Path = Path()) -> None:
    """What `evaluate` reads beside predictions, of data that name no finding and have no fault."""
    write_csv(folder / paths.ANNOTATIONS, pd.DataFrame(columns=KEPT))
    write_csv(folder / paths.table("audit"), pd.DataFrame(columns=COLUMNS))

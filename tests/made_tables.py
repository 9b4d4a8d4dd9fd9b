"""Prediction tables that are the same on every machine: ties, a part of one class, few patients."""

import math
import random

import pandas as pd

from ulna.core.predictions import COLUMNS

# Of the patients of a table, in turn; the shoulder is normal throughout, the fingers are few.
PARTS = ("ELBOW", "HAND", "WRIST", "SHOULDER", "FOREARM")
FEW = "FINGER"


def made_table(
    network: int, splits: tuple[str, ...] = ("val", "test"), patients: int = 120, gain: float = 1.5
) -> pd.DataFrame:
    """The table of one network; all networks predict the same images, equally hard for each.

    Only `random.Random.random` is drawn from, whose numbers Python promises to keep. Logits are
    multiples of a quarter.
    """
    data, own = random.Random(len(splits)), random.Random(1000 + network)
    rows = []
    for number in range(patients):
        split = splits[number % (len(splits) + 1) % len(splits)]
        part = FEW if number < 9 else PARTS[number % len(PARTS)]
        hard = normal(data)
        for study in range(1 + (data.random() < 0.3)):
            label = int(part != "SHOULDER" and data.random() < 0.5)
            sure, views = normal(data), 1 + int(3 * data.random())
            name = f"{split}/{part}/patient{number:05}/study{study + 1}"
            for view in range(views):
                logit = gain * (2 * label - 1) + hard + sure + normal(own)
                logit = round(4 * logit) / 4
                rows.append(
                    (f"{name}/image{view + 1}.png", f"patient{number:05}", name, part, split)
                    + (label, logit, 1 / (1 + math.exp(-logit)))
                )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def normal(stream: random.Random) -> float:
    """About normal: mean 0, sd 1."""
    return math.fsum(stream.random() for _ in range(12)) - 6

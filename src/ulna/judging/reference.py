"""Published results, to be drawn beside ours as reference marks and never as rivals."""

from pathlib import Path

import pandas as pd

# Whoever shows these numbers shows this note with them.
NOTE = "hidden test set, other gold standard: not comparable"

OVERALL = "overall"
COLUMNS = ("reader", "body_part", "kappa", "source")

_TABLE = Path(__file__).with_name("reference.csv")


def read_reference() -> pd.DataFrame:
    """Read the kappas of Stanford's model and of three radiologists.

    They are from MURA's hidden test set of 207 studies, where the majority of three other
    radiologists is the truth.

    Returns:
        Columns `COLUMNS`: reader (model, radiologist 1, 2 or 3), body_part (upper case, or
        `OVERALL`), kappa (float64, -1 to 1), and source: paper, or recalled for a number that was
        not checked against the paper.

    Reference:
        Rajpurkar et al., "MURA: Large Dataset for Abnormality Detection in Musculoskeletal
        Radiographs", arXiv 1712.06957, the table of kappas.
    """
    return pd.read_csv(_TABLE)

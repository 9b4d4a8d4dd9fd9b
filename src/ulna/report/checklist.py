"""Reporting guidelines, item by item: where the report answers, or why an item does not apply."""

from pathlib import Path

import pandas as pd

COLUMNS = ("guideline", "item", "topic", "place", "note")

_TABLE = Path(__file__).with_name("checklist.csv")


def read_checklist() -> pd.DataFrame:
    """Read the items of both guidelines, in order, topics in our words.

    Returns:
        Columns `COLUMNS`: place is the anchor of a section of the report, or empty where note says
        why the item is not applicable.

    Reference:
        CLAIM: Tejani et al. 2024, Radiology: Artificial Intelligence 6(4), "Checklist for
        Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update". TRIPOD+AI: Collins et al.
        2024, BMJ 385, e078378.
    """
    return pd.read_csv(_TABLE, dtype=str, keep_default_na=False)

"""Original radiographs of the report: chosen by what a network makes of them, with their boxes."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from ulna.data import BOX, NO_FINDING

Pixels = npt.NDArray[np.uint8]

# Group -> how many studies, those that the network is surest of first. A picture takes about 30 kB
# of the page.
GROUPS = {"missed": 8, "false_alarms": 4, "found": 4, "normal": 2}
LONGEST_PX = 640  # a larger original is scaled to this
QUALITY = 80  # of JPEG


@dataclass(frozen=True)
class Picture:
    """A radiograph, with its ground-truth box in its own pixels."""

    study: str
    body_part: str
    finding: str  # "" where the data name none
    probability: float  # of the study
    views: int  # of the study
    jpeg: bytes
    width_px: int
    height_px: int
    box: tuple[float, float, float, float] | None


def choose_studies(studies: pd.DataFrame, views: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Choose test studies to show, and of each the first view that has a box, else the first.

    Args:
        studies: Test studies: study, body_part, views (their number), label, probability,
            threshold.
        views: Their images: study, image, finding (none or NaN for none) and `BOX`, NaN for no box.

    Returns:
        Group of `GROUPS` -> the columns of both. Of what is found, each finding has its surest
        study before any has a second.
    """
    # A column without any name is read as numbers.
    finding = views["finding"].astype(object).fillna(NO_FINDING)
    named = views.assign(finding=finding, boxless=views["x0"].isna())
    ordered = named.sort_values(["study", "boxless", "image"], kind="stable")
    first = ordered.drop_duplicates("study").drop(columns="boxless")
    table = studies.merge(first, on="study", validate="one_to_one")
    positive, abnormal = table["probability"] > table["threshold"], table["label"] == 1
    found = _surest_first(table[positive & abnormal], falling=True)
    found = found.assign(turn=found.groupby("finding").cumcount())
    groups = {
        "missed": _surest_first(table[~positive & abnormal]),
        "false_alarms": _surest_first(table[positive & ~abnormal], falling=True),
        "found": found.sort_values("turn", kind="stable").drop(columns="turn"),
        "normal": _surest_first(table[~positive & ~abnormal]),
    }
    return {name: rows.head(GROUPS[name]) for name, rows in groups.items()}


def _surest_first(table: pd.DataFrame, falling: bool = False) -> pd.DataFrame:
    return table.sort_values(["probability", "study"], ascending=[not falling, True], kind="stable")


def load_pictures(rows: pd.DataFrame, decode: Callable[[str], Pixels]) -> list[Picture]:
    """Encode the image of each row of `choose_studies`; `decode` gives its pixels by its name."""
    pictures = []
    for row in rows.to_dict("records"):
        pixels = decode(row["image"])
        box = tuple(float(row[side]) for side in BOX)
        finding = "" if row["finding"] == NO_FINDING else row["finding"].replace("_", " ")
        pictures.append(
            Picture(
                study=row["study"],
                body_part=row["body_part"],
                finding=finding,
                probability=row["probability"],
                views=row["views"],
                jpeg=encode(pixels),
                width_px=pixels.shape[1],
                height_px=pixels.shape[0],
                box=None if np.isnan(box).any() else box,  # type: ignore[arg-type]
            )
        )
    return pictures


def encode(pixels: Pixels) -> bytes:
    """JPEG of grey levels (height, width), at most `LONGEST_PX` long; it holds no metadata."""
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=QUALITY, optimize=True)
    return buffer.getvalue()

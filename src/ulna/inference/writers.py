"""The files of a prediction, each written whole or not at all, from a stream of records."""

import csv
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ulna.core import InputError
from ulna.core.io import atomic_write
from ulna.inference.page import LONGEST_PX, Picture, Records, render_page
from ulna.inference.pictures import draw_overlay, encode_jpeg, overlay_name
from ulna.inference.predictor import TOO_LARGE, Predictor, Study

# The columns of a prediction table (`ulna.core.predictions`, which imports pandas).
CSV_COLUMNS = (
    "image", "patient", "study", "body_part", "split", "label", "logit", "probability",
)  # fmt: skip


def write_json(path: Path, records: Records) -> None:
    """Write JSON lines, a line per study."""
    with atomic_write(path) as partial_path, partial_path.open("w", encoding="ascii") as file:
        file.writelines(json.dumps(record) + "\n" for record in records())


def write_csv(path: Path, records: Records) -> None:
    """Write a prediction table, a row per view."""
    with (
        atomic_write(path) as partial_path,
        # Bytes of a name that are no UTF-8 are escaped.
        partial_path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for record in records():
            writer.writerows(csv_rows(record))


def csv_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """The rows of a study, one per view, of `CSV_COLUMNS`; split and label are empty."""
    fixed = [record["patient"] or "", record["study"], record["body_part"] or "", "", ""]
    return [
        # repr() reads back to the same bits, as the floats of a prediction table do.
        [view["image"], *fixed, repr(view["logit"]), repr(view["probability"])]
        for view in record["views"]
    ]


def write_report(path: Path, records: Records, predictor: Predictor, origin: str) -> None:
    """Write the page; origin says in words where the bundle comes from."""
    bundle = predictor.bundle
    load = partial(_load_picture, predictor)
    with atomic_write(path) as partial_path, partial_path.open("w", encoding="utf-8") as file:
        file.writelines(render_page(bundle.record, origin, bundle.sha256, records, load))


def _load_picture(predictor: Predictor, path: str) -> Picture | None:
    bundle = predictor.bundle
    overlay = None
    try:
        if bundle.has_maps:
            pixels, cells = predictor.explain(path)
            overlaid = draw_overlay(pixels, cells, bundle.size_px, bundle.fit)
            overlay, _ = encode_jpeg(overlaid, LONGEST_PX)
        else:
            pixels = predictor.read(path)
        jpeg, (width_px, height_px) = encode_jpeg(Image.fromarray(pixels), LONGEST_PX)
    except (InputError, MemoryError):  # gone since it was predicted
        return None
    return Picture(jpeg, overlay, width_px, height_px)


def write_overlays(
    folder: Path, study: Study, predictor: Predictor
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Write the overlay of each view of a study.

    Returns:
        Path of a view -> name of the file; and the views that have none, each with the reason.
    """
    bundle = predictor.bundle
    names, faults = {}, []
    for path in (view.path for view in study.views):
        try:
            pixels, cells = predictor.explain(path)
            overlaid = draw_overlay(pixels, cells, bundle.size_px, bundle.fit)
        except InputError as error:  # gone since it was predicted
            faults.append((path, str(error)))
            continue
        except MemoryError:
            faults.append((path, TOO_LARGE))
            continue
        names[path] = overlay_name(study.study, path)
        with atomic_write(folder / names[path]) as partial_path:
            overlaid.save(partial_path, "png")
    return names, faults

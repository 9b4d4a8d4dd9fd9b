"""Seconds and memory of evaluate, explain, plot and report at MURA's test size.

    python -m benchmarks.judging [--finished FOLDER]

Needs a finished pipeline (`dvc repro`), of the checkout or of FOLDER, and changes nothing there. In
a temporary copy its images, splits, cache (40,005 squares drawn from the finished cache, 96 px: 369
MB) and predictions (val and test of MURA's patients, made up at an AUROC of 0.8) are of MURA's
size. The networks and what other stages found are those of the finished pipeline. `prepare` makes
the splits, from MURA's studies. Takes about two minutes on two idle cores.
"""

import argparse
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from dvc.utils.serialize import dump_yaml, load_yaml
from numpy.lib.format import open_memmap
from scipy.special import expit

from benchmarks.mura_sized import MURA_IMAGES, ROOT, csv_files, image_names
from benchmarks.timing import Row, command_line, cpu_seconds, run_process
from ulna.core import paths
from ulna.core.io import sha256, write_csv
from ulna.core.predictions import COLUMNS as PREDICTION_COLUMNS
from ulna.core.predictions import write_model, write_predictions
from ulna.data.cache import COLUMNS, IMAGES, REJECTED, load_cache
from ulna.data.samples import add_split, read_images, read_splits

ARCHS = ("cnn", "densenet169")
COPIED = ("src", "stages", "models", "metrics", "plots")
SEPARATION = 1.2  # of the logits of normal and abnormal, in standard deviations: an AUROC of 0.8


def made_up_predictions(images: pd.DataFrame, splits: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A prediction table of the val and test images.

    Args:
        images: The prepared table.
        splits: One row a patient.
        seed: Of the logits.
    """
    rows = add_split(images, splits)
    rows = rows[rows["split"] != "train"].reset_index(drop=True)
    noise = np.random.default_rng(seed).standard_normal(len(rows))
    logits = SEPARATION * (rows["label"].to_numpy() - 0.5) + noise
    return rows.assign(logit=logits, probability=expit(logits))[[*PREDICTION_COLUMNS]]


def write_cache(folder: Path, finished: Path, images: pd.DataFrame) -> None:
    """A cache of these images, its squares taken in turn from those of a finished one."""
    old = load_cache(finished)
    size_px = old.size_px
    folder.mkdir(parents=True)
    for part, rows in images.groupby("body_part"):
        shape = (len(rows), size_px, size_px)
        array = open_memmap(folder / f"{part}.npy", "w+", np.uint8, shape)
        source = old.arrays.get(str(part), next(iter(old.arrays.values())))
        array[:] = source[np.arange(len(rows)) % len(source)]
    measured = {"mode": "L", "bit_depth": 8, "width_px": 400, "height_px": 512, "mean": 50.0}
    table = images.assign(row=images.groupby("body_part").cumcount(), **measured)
    table["pixel_sha256"] = [f"{number:064x}" for number in range(len(table))]
    write_csv(folder / IMAGES, table[list(COLUMNS)])
    write_csv(folder / REJECTED, pd.DataFrame({"image": [], "reason": []}))


def workspace(folder: Path, finished: Path) -> Path:
    """A copy of a finished pipeline with everything that grows with the data set at MURA's size."""
    if not (finished / "models/cnn/model.json").exists():
        raise SystemExit(f"no finished pipeline in {finished}: run `dvc repro`, or name one")
    folder.mkdir(parents=True)
    for part in COPIED:
        # The code is the checkout's.
        source = ROOT if part in ("src", "stages") else finished
        shutil.copytree(source / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    params = load_yaml(ROOT / paths.PARAMS)
    params["data"]["root"] = "data/MURA-v1.1.zip"
    params["densenet169"] |= {"weights": "none", "weights_sha256": None}
    dump_yaml(folder / paths.PARAMS, params)
    (folder / "data").mkdir()
    texts = csv_files(MURA_IMAGES)
    with zipfile.ZipFile(folder / "data/MURA-v1.1.zip", "w") as archive:
        for name in (*texts, *image_names(texts)):
            archive.writestr(f"MURA-v1.1/{name}", texts.get(name, ""))
    run_process(["python", "-m", "stages.prepare"], folder)
    images = read_images(folder / paths.IMAGES)
    splits = read_splits(folder / paths.SPLITS)
    write_cache(folder / paths.CACHE, finished / paths.CACHE, images)
    for seed, arch in enumerate(ARCHS):
        table = made_up_predictions(images, splits, seed)
        write_predictions(folder / paths.predictions(arch), table)
        weights = folder / paths.trained(arch) / "model.weights.h5"
        write_model(folder / paths.provenance(arch), sha256(weights))
    return folder


def run(finished: Path = ROOT) -> list[Row]:
    """Run the stages one after the other."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        here = workspace(Path(temporary) / "mura", finished)
        test = (here / paths.predictions("cnn")).read_text(encoding="utf-8").count(",test,")
        stages = [f"{stage} {arch}" for stage in ("evaluate", "explain") for arch in ARCHS]
        for stage in [*stages, "plot", "report"]:
            name, *arguments = stage.split()
            before = cpu_seconds()
            ended = run_process(["python", "-m", f"stages.{name}", *arguments], here)
            rows.append(
                Row(
                    what=f"`{stage}`, {test:,} test images",
                    ours=f"{ended.seconds:.1f} s",
                    other=f"CPU {cpu_seconds() - before:.1f} s, {ended.peak_mib:.0f} MiB",
                    note="Judging: seconds are of a process with its imports; the memory is its "
                    "largest. Index, splits, cache, predictions, scores and maps are of "
                    "MURA's size; what other stages found is of the embedded data's.",
                )
            )
    return rows


if __name__ == "__main__":
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--finished", type=Path, default=ROOT)
    chosen, sys.argv[1:] = own.parse_known_args()
    command_line(lambda: run(chosen.finished.resolve()))

"""Seconds and memory of evaluate, ensemble and compare at MURA's test size.

    python -m benchmarks.evaluation

`prepare` makes the splits from the studies of MURA. The predictions of val and test are random, at
an AUROC of 0.8, so no network has to be trained. Takes about half a minute.
"""

import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from dvc.utils.serialize import dump_yaml, load_yaml
from scipy.special import expit

from benchmarks.mura_sized import MURA_IMAGES, ROOT, csv_files, image_names
from benchmarks.timing import Row, command_line, cpu_seconds, run_process
from ulna.core import paths
from ulna.core.params import load_params
from ulna.core.predictions import COLUMNS, write_predictions
from ulna.core.provenance import write_provenance
from ulna.data.samples import add_split, read_images, read_splits

SEPARATION = 1.2  # of the logits of normal and abnormal, in standard deviations: an AUROC of 0.8


def random_predictions(images: pd.DataFrame, splits: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A prediction table of the val and test images."""
    rows = add_split(images, splits)
    rows = rows[rows["split"] != "train"].reset_index(drop=True)
    noise = np.random.default_rng(seed).standard_normal(len(rows))
    logits = SEPARATION * (rows["label"].to_numpy() - 0.5) + noise
    return rows.assign(logit=logits, probability=expit(logits))[[*COLUMNS]]


def workspace(folder: Path) -> list[str]:
    """Set up a data set of empty files, its splits, and predictions; the networks' names."""
    for name in ("src", "stages"):
        (folder / name).symlink_to(ROOT / name)
    params = load_yaml(ROOT / paths.PARAMS)
    params["data"]["root"] = "data/MURA-v1.1.zip"
    dump_yaml(folder / paths.PARAMS, params)
    networks = load_params(folder / paths.PARAMS).networks
    (folder / "data").mkdir()
    texts = csv_files(MURA_IMAGES)
    with zipfile.ZipFile(folder / "data/MURA-v1.1.zip", "w") as archive:
        for name in (*texts, *image_names(texts)):
            archive.writestr(f"MURA-v1.1/{name}", texts.get(name, ""))
    run_process(["python", "-m", "stages.prepare"], folder)
    images, splits = read_images(folder / paths.IMAGES), read_splits(folder / paths.SPLITS)
    for seed, arch in enumerate(networks):
        table = random_predictions(images, splits, seed)
        write_predictions(folder / paths.predictions(arch), table)
        write_provenance(folder / paths.provenance(arch), "0" * 64, {}, "")
    return [*networks]


def run() -> list[Row]:
    """Run the stages one after the other."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        networks = workspace(folder)
        table = folder / paths.predictions(networks[0])
        test = table.read_text(encoding="utf-8").count(",test,")
        stages = [f"evaluate {arch}" for arch in networks]
        for stage in [*stages, "ensemble", "evaluate ensemble", "compare"]:
            before = cpu_seconds()
            ended = run_process(["python", "-m", *f"stages.{stage}".split()], folder)
            rows.append(
                Row(
                    what=f"`{stage}`, {test:,} test images",
                    ours=f"{ended.seconds:.1f} s",
                    other=f"CPU {cpu_seconds() - before:.1f} s, {ended.peak_mib:.0f} MiB",
                    note="Seconds are of a process with its imports.",
                )
            )
    return rows


if __name__ == "__main__":
    command_line(run)

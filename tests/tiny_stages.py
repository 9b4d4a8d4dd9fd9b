"""Stages without a network, run in this process on a data set of thirty tiny images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mura_tree import small_studies, tables, write_random_images
from params_files import write_params
from random_tables import write_no_findings
from scipy.special import expit

from stages.evaluate import evaluate
from stages.prepare import prepare
from stages.preprocess import preprocess
from ulna.core import io as ulna_io
from ulna.core import paths
from ulna.core.predictions import write_predictions
from ulna.core.stage import run

HERE = Path(__file__).parent


def bytes_below(folder: Path) -> dict[str, bytes]:
    """File -> its bytes, those of hidden files too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def judged() -> pd.DataFrame:
    """Predictions of 60 patients with one image each."""
    logits = np.random.default_rng(2).normal(0, 2, 60)
    numbers = range(60)
    return pd.DataFrame(
        {
            "image": [f"{k:02d}.png" for k in numbers],
            "patient": [f"p{k:02d}" for k in numbers],
            "study": [f"valid/WRIST/p{k:02d}/study1" for k in numbers],
            "body_part": "WRIST",
            "split": ["val" if k < 25 else "test" for k in numbers],
            "label": [k % 2 for k in numbers],
            "logit": logits,
            "probability": expit(logits),
        }
    )


class Stages:
    """A tiny data set in a working folder, and what its stages write in it."""

    outputs = {
        prepare: ["data/prepared"],
        preprocess: ["data/cache"],
        evaluate: ["metrics", "plots/tables/cnn"],
    }

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        root = folder / "data" / "MURA-v1.1"
        studies = small_studies() + [
            ("train", "WRIST", f"patient1{k:04d}", "study1", k % 2, 1) for k in range(20)
        ]
        write_random_images(root, tables(studies))
        write_params(
            folder / "params.yaml",
            data={"root": "data/MURA-v1.1"},
            image={"size_px": 32},
            evaluate={"bootstrap_replicates": 100},
        )
        write_predictions(folder / paths.predictions("cnn"), judged())
        write_no_findings(folder)
        ulna_io.write_json(folder / paths.provenance("cnn"), {"model_sha256": "0" * 64})

    def run(self, stage: Callable[..., None]) -> None:
        arguments = ["cnn"] if stage is evaluate else []
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            run(stage, *arguments)

    def written(self, stage: Callable[..., None]) -> dict[str, bytes]:
        return {
            f"{name}/{file}": data
            for name in self.outputs[stage]
            if (self.folder / name).is_dir()
            for file, data in bytes_below(self.folder / name).items()
        }

    def age(self, stage: Callable[..., None]) -> dict[str, bytes]:
        """Make what it wrote another's: bytes that it would never write."""
        for name in self.written(stage):
            (self.folder / name).write_bytes(b"of an older run\n")
        return self.written(stage)

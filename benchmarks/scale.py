"""A data set of MURA's size: seconds and memory of what touches every image.

    python -m benchmarks.scale [--images 40005]

`prepare` and `preprocess` over 1,000 to 40,005 images as a folder, one epoch's memory over the
first and the last of these caches, `dvc status` and a `dvc repro` with nothing to do over a folder
and over a .zip. Pictures are a few hundred, hard-linked (see `mura_sized`); those of the .zip are
small, since DVC hashes it once. Takes about 6 minutes on two idle cores and 1 GB in the temporary
folder; `--images 2000` takes 1.
"""

import argparse
import os
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dvc.utils.serialize import dump_yaml, load_yaml
from PIL import Image

from benchmarks.mura_sized import MURA_IMAGES, ROOT, write_folder, write_pictures, write_zip
from benchmarks.timing import MEBIBYTE, Row, Run, command_line, cpu_seconds, run_process, spread

SIZES = (1_000, 5_000, 10_000, MURA_IMAGES)
PICTURES = 200
STAGES = ("prepare", "preprocess")
# A study of MURA has three images of 80 KB: what lies beside the pixels may grow, the pixels not.
GROWTH_KIB_AN_IMAGE = 4.0


@dataclass(frozen=True)
class Measured:
    """One stage over one data set.

    Attributes:
        images: How many.
        run: Time and memory.
        cpu_s: Of all its processes.
        cache_mib: Size of the arrays, after preprocess.
    """

    images: int
    run: Run
    cpu_s: float
    cache_mib: float = 0.0


def workspace(folder: Path, root: str) -> Path:
    """A checkout with the stages `STAGES` alone, and DVC.

    Args:
        folder: Where to; it is made.
        root: What `data.root` is.
    """
    folder.mkdir(parents=True)
    for part in ("src", "stages"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".dvcignore", folder)
    params = load_yaml(ROOT / "params.yaml")
    params["data"]["root"] = root
    pipeline = load_yaml(ROOT / "dvc.yaml")
    chosen = {"stages": {name: pipeline["stages"][name] for name in STAGES}}
    for name, content in (("params.yaml", params), ("dvc.yaml", chosen)):
        dump_yaml(folder / name, content)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")
    (folder / ".gitignore").write_text("/data\n__pycache__/\n/.dvc/tmp\n/.dvc/cache\n")
    run_process(["git", "init", "--quiet"], folder)
    return folder


def measure(stage: str, folder: Path, images: int) -> Measured:
    """Run a stage as a process."""
    before = cpu_seconds()
    run = run_process(["python", "-m", f"stages.{stage}"], folder)
    arrays = sum(path.stat().st_size for path in (folder / "data/cache").glob("*.npy"))
    return Measured(images, run, cpu_seconds() - before, arrays / MEBIBYTE)


def seconds_per_thousand(measured: Sequence[Measured]) -> list[float]:
    """Seconds per 1,000 more images, between each size and the next."""
    return [
        (larger.run.seconds - smaller.run.seconds) / (larger.images - smaller.images) * 1000
        for smaller, larger in zip(measured, measured[1:], strict=False)
    ]


def table(measured: Sequence[Measured]) -> str:
    """Seconds at each size, such as "1,003: 2.1 s, 4,998: 6.0 s"."""
    return ", ".join(f"{found.images:,}: {found.run.seconds:.1f} s" for found in measured)


def growth_row(stage: str, measured: Sequence[Measured]) -> Row:
    """The row that says whether time grows linearly."""
    costs = seconds_per_thousand(measured)
    return Row(
        what=f"{stage}, seconds at each number of images",
        ours=table(measured),
        other="1,000 more cost " + ", ".join(f"{cost:.2f}" for cost in costs) + " s",
        ratio=f"the last step's against the first's {costs[-1] / costs[0]:.2f}",
        aim="grows linearly (at most 1.3)",
        met=costs[-1] <= 1.3 * costs[0],
    )


def stage_rows(folder: Path, sizes: Sequence[int], pictures: Sequence[Path]) -> list[Row]:
    """Run both stages over each size; leaves a workspace each, named by its size."""
    prepared, cached = [], []
    for size in sizes:
        root = write_folder(folder / f"MURA-{size}", size, pictures)
        here = workspace(folder / f"{size}", str(root))
        found = measure("prepare", here, size)
        lines = (here / "data/prepared/images.csv").read_text(encoding="utf-8").count("\n")
        prepared.append(Measured(lines - 1, found.run, found.cpu_s))
        cached.append(measure("preprocess", here, lines - 1))
    # The largest twice more: the aim is on it.
    again = [measure("prepare", here, prepared[-1].images) for _ in range(2)]
    last = [prepared[-1], *again]
    seconds = [found.run.seconds for found in last]
    few, many = cached[0], cached[-1]
    growth_kib = (many.run.peak_mib - few.run.peak_mib) * 1024 / (many.images - few.images)
    rates = [found.images / found.run.seconds for found in cached]
    return [
        Row(
            what=f"Index and split {many.images:,} images (prepare)",
            ours=spread(seconds),
            other=f"CPU {spread([found.cpu_s for found in last])}",
            aim="under 3 s",
            met=statistics.median(seconds) < 3,
            note="prepare: about 0.7 s of it are imports; memory "
            f"{max(found.run.peak_mib for found in last):.0f} MiB.",
        ),
        Row(
            what=f"Preprocess {many.images:,} images of 512 x 400",
            ours=f"{rates[-1]:.0f} images/s",
            other=f"{rates[-2]:.0f} images/s over {cached[-2].images:,}",
            ratio=f"{rates[-1] / rates[-2]:.2f}",
            aim="full rate (at least 0.95)",
            met=rates[-1] >= 0.95 * rates[-2],
        ),
        Row(
            what=f"Preprocess {many.images:,} images, memory of the largest process",
            ours=f"{many.run.peak_mib:.0f} MiB",
            other=f"{few.run.peak_mib:.0f} MiB over {few.images:,}; "
            f"the cache has {many.cache_mib:.0f} MiB",
            ratio=f"{growth_kib:.1f} KiB an image more",
            aim=f"under 600 MB, pixels not held (under {GROWTH_KIB_AN_IMAGE:.0f} KiB an image)",
            met=many.run.peak_mib * MEBIBYTE < 600e6 and growth_kib < GROWTH_KIB_AN_IMAGE,
            note="Memory of preprocess grows by the tables (a row of text an image), not by "
            "pixels, of which an image has 200 KiB decoded and 9 KiB cached.",
        ),
        growth_row("prepare", prepared),
        growth_row("preprocess", cached),
    ]


def epoch_row(few: Path, many: Path) -> Row:
    """An epoch's memory over two caches."""
    counts, peaks = [], []
    for folder in (few, many):
        command = ["python", "-m", "benchmarks.epoch_memory", str(folder)]
        output = run_process(command, ROOT, {"TF_CPP_MIN_LOG_LEVEL": "3"}).output
        found = re.search(r"^(\d+) ([\d.]+)$", output, re.MULTILINE)
        assert found is not None, output
        counts.append(int(found[1]))
        peaks.append(float(found[2]))
    growth_kib = (peaks[1] - peaks[0]) * 1024 / (counts[1] - counts[0])
    return Row(
        what=f"An epoch over {counts[1]:,} images, anonymous memory of the process",
        ours=f"{peaks[1]:.0f} MiB",
        other=f"{peaks[0]:.0f} MiB over {counts[0]:,}",
        ratio=f"{growth_kib:.1f} KiB an image more",
        aim=f"pixels not held (under {GROWTH_KIB_AN_IMAGE:.0f} KiB an image)",
        met=growth_kib < GROWTH_KIB_AN_IMAGE,
        note="An epoch's memory is RssAnon: the cache is memory-mapped, and its pages are the "
        "file's, which the system takes back at need. Most of it is TensorFlow.",
    )


def nothing_to_do(command: Sequence[str], folder: Path, rounds: int) -> tuple[list[float], float]:
    """Wall seconds of each round of a command of DVC, and CPU seconds of one."""
    before = cpu_seconds()
    runs = [run_process(command, folder) for _ in range(rounds)]
    if "Data and pipelines are up to date" not in runs[-1].output:
        raise RuntimeError(f"{command} found something to do:\n{runs[-1].output}")
    return [run.seconds for run in runs], (cpu_seconds() - before) / rounds


def dvc_rows(form: str, folder: Path, rounds: int) -> list[Row]:
    """`dvc status` and `dvc repro` where nothing has changed."""
    # Commit hashes what is there, and runs nothing.
    first = run_process(["dvc", "commit", "--force", "--quiet"], folder)
    rows = []
    for command in (["dvc", "status"], ["dvc", "repro"]):
        seconds, cpu_s = nothing_to_do(command, folder, rounds)
        rows.append(
            Row(
                what=f"`{' '.join(command)}`, nothing to do, {form} as root",
                ours=spread(seconds),
                other=f"CPU {cpu_s:.1f} s",
                aim="under 3 s",
                met=statistics.median(seconds) < 3,
                note=f"To hash {form} as root for the first time took {first.seconds:.0f} s.",
            )
        )
    return rows


def place_row(folder: Path, images: int) -> Row:
    """The same data set as a folder inside and outside of the repository, for `dvc status`."""
    outside = folder / f"{images}"
    inside = workspace(folder / "inside", "data/MURA-v1.1")
    shutil.copytree(outside / "data", inside / "data")
    os.rename(folder / f"MURA-{images}", inside / "data/MURA-v1.1")
    run_process(["dvc", "commit", "--force", "--quiet"], inside)
    _, inside_s = nothing_to_do(["dvc", "status"], inside, 1)
    os.rename(inside / "data/MURA-v1.1", folder / f"MURA-{images}")
    run_process(["dvc", "commit", "--force", "--quiet"], outside)
    _, outside_s = nothing_to_do(["dvc", "status"], outside, 1)
    return Row(
        what=f"`dvc status`, CPU seconds, a folder of {images:,} images",
        ours=f"{outside_s:.1f} s outside of the repository",
        other=f"{inside_s:.1f} s inside",
        note="A folder as root: for each of MURA's 29,000 folders, and for each of the two stages "
        "that read it, DVC lists the files and asks its database, and inside of the repository "
        "works out as well which ignore rules hold; none of it can be switched off. Name the .zip "
        "as data.root, as it was downloaded: it is one file to DVC and is read in place.",
    )


def zip_workspace(folder: Path, images: int, pictures: Sequence[Path]) -> Path:
    """A workspace over a .zip, its stages run."""
    here = workspace(folder / "zip", "data/MURA-v1.1.zip")
    small = []
    for number, picture in enumerate(pictures[:50]):
        small.append(folder / f"small{number}.png")
        Image.open(picture).resize((50, 64)).save(small[-1])
    (here / "data").mkdir()
    write_zip(here / "data/MURA-v1.1.zip", images, small)
    for stage in STAGES:
        run_process(["python", "-m", f"stages.{stage}"], here)
    return here


def run(images: int = MURA_IMAGES) -> list[Row]:
    """Measure everything over so many images and fewer."""
    sizes = [size for size in SIZES if size < images] + [images]
    if len(sizes) == 1:
        sizes = [images // 4, images]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures = write_pictures(folder / "pictures", PICTURES)
        rows = stage_rows(folder, sizes, pictures)
        rows.append(epoch_row(*(folder / f"{size}/data/cache" for size in (sizes[0], sizes[-1]))))
        rows += dvc_rows("a .zip", zip_workspace(folder, images, pictures), 3)
        rows += dvc_rows("a folder", folder / f"{images}", 1)
        rows.append(place_row(folder, sizes[0]))
    return rows


if __name__ == "__main__":
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--images", type=int, default=MURA_IMAGES)
    chosen, sys.argv[1:] = own.parse_known_args()
    command_line(lambda: run(chosen.images))

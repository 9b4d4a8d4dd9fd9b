"""The embedded data set: synthetic radiographs in MURA's own layout, annotated, in one .zip.

Everything that is not pathology is drawn from random streams that do not know the label: build,
pose, side, exposure, image size, number of views, mode, rings, letters. Each study has streams of
its own, so the number of workers changes nothing.
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from ulna.core.io import atomic_write, require_free_space
from ulna.core.params import Phantom
from ulna.core.stage import cores, process_map, progress
from ulna.phantom.anatomy import build_scene
from ulna.phantom.pathology import SHARES, insert_finding, sample_finding
from ulna.phantom.radiograph import Pixels, expose, sample_camera
from ulna.phantom.skeleton import sample_person

# Studies in MURA v1.1, normal and abnormal, train and valid (counted from its CSV files).
MURA_STUDIES = {
    "ELBOW": ((1094, 660), (92, 66)),
    "FINGER": ((1280, 655), (92, 83)),
    "FOREARM": ((590, 287), (69, 64)),
    "HAND": ((1497, 521), (101, 66)),
    "HUMERUS": ((321, 271), (68, 67)),
    "SHOULDER": ((1364, 1457), (99, 95)),
    "WRIST": ((2134, 1326), (140, 97)),
}
SPLITS = ("train", "valid")
FIRST_PATIENT = {"train": 1, "valid": 11185}  # as in MURA: valid has the higher numbers
VALID_FRACTION = 0.21
STUDIES_PER_PATIENT = 1.2
VIEW_SHARES = (0.22, 0.33, 0.35, 0.10)  # of 1, 2, 3, 4 views
RGB_FRACTION = 0.02
HIDDEN_FRACTION = 0.05  # of the later views of an abnormal study: the finding is not seen there
PROBLEMS = ("inverted",) * 3 + ("blank",) * 2 + ("cut_off",) * 3
ANNOTATIONS = "annotations.csv"
ANNOTATION_COLUMNS = ("image", "finding", "x0", "y0", "x1", "y1", "quality", "near_duplicate_of")
BYTES_PER_VIEW = 36_000  # in the .zip: the mean of 809 views
BATCH = 8  # images, some 80 ms
UNIX = 3  # in `create_system` of a .zip entry
SHORTCUT_FRACTION = 0.05  # side of the corner marker, of the image's longer side

# One row of the annotations; a box may be missing, and only a near duplicate has a source.
Row = tuple[str | int | None, ...]

# Streams of random numbers; the last number of a seed sequence keeps them apart.
PLAN, PERSON, POSE, CAMERA, NOISE, FINDING, VIEW_OF_FINDING, PROBLEM, MODE = range(9)


@dataclass(frozen=True)
class Study:
    """One study; `number` is its own stream of random numbers."""

    split: str
    body_part: str
    patient: int
    study: int
    finding: str
    views: int
    number: int

    @property
    def folder(self) -> str:
        """Folder relative to the root, with posix separators."""
        sign = "negative" if self.finding == "none" else "positive"
        return (
            f"{self.split}/XR_{self.body_part}/patient{self.patient:05d}/study{self.study}_{sign}"
        )


@dataclass(frozen=True)
class View:
    """One image: a view of a study, its quality, and the view that it nearly duplicates."""

    study: Study
    view: int
    quality: str = "ok"
    source: "View | None" = None

    @property
    def path(self) -> str:
        """Path relative to the root, with posix separators."""
        return f"{self.study.folder}/image{self.view + 1}.png"


def _rounded(weights: Sequence[float], total: int, least: int = 0) -> list[int]:
    """Integers in proportion to weights that add up to total (largest remainders)."""
    exact = np.array(weights) / np.sum(weights) * (total - least * len(weights))
    counts = np.floor(exact).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - least * len(weights) - counts.sum()]] += 1
    return [int(count) + least for count in counts]


def _split_labels(split: str, studies: int) -> list[tuple[str, bool]]:
    """Body part and abnormal or not of each study; the abnormal share of a part is MURA's."""
    column = SPLITS.index(split)
    # The mean of a part's share in MURA and an equal share: HUMERUS would have 4% else.
    counts = {part: sum(both[column]) for part, both in MURA_STUDIES.items()}
    shares = [n / sum(counts.values()) + 1 / len(counts) for n in counts.values()]
    least = 2 if studies >= 2 * len(counts) else 0
    sizes = _rounded(shares, studies, least)
    abnormal = [
        size * both[column][1] / counts[part]
        for size, (part, both) in zip(sizes, MURA_STUDIES.items(), strict=True)
    ]
    labels = []
    quotas = _rounded(abnormal, round(sum(abnormal)))
    for part, size, quota in zip(MURA_STUDIES, sizes, quotas, strict=True):
        if size >= 2:
            quota = min(max(quota, 1), size - 1)
        labels += [(part, number < quota) for number in range(size)]
    return labels


def plan_studies(phantom: Phantom) -> list[Study]:
    """Plan the studies of both official splits, patients disjoint, sorted by folder.

    Some patients have two studies: every third such pair has both labels in two body parts, every
    third the same part.
    """
    valid = max(4, round(phantom.patients * VALID_FRACTION))
    studies: list[Study] = []
    for split, patients in (("train", phantom.patients - valid), ("valid", valid)):
        rng = np.random.default_rng([phantom.seed, SPLITS.index(split), PLAN])
        total = round(patients * STUDIES_PER_PATIENT)
        labels = _split_labels(split, total)
        labels = [labels[k] for k in rng.permutation(total)]
        kinds = _shuffled_kinds(sum(abnormal for _, abnormal in labels), rng)
        views = [
            number
            for number, count in enumerate(_rounded(VIEW_SHARES, total), start=1)
            for _ in range(count)
        ]
        views = [views[k] for k in rng.permutation(total)]
        owners = _owners(labels, patients, rng)
        seen: dict[tuple[int, str], int] = {}
        for (part, abnormal), owner, count in zip(labels, owners, views, strict=True):
            number = seen[owner, part] = seen.get((owner, part), 0) + 1
            patient = FIRST_PATIENT[split] + owner
            finding = kinds.pop() if abnormal else "none"
            studies.append(Study(split, part, patient, number, finding, count, len(studies)))
    return sorted(studies, key=lambda study: study.folder)


def _shuffled_kinds(count: int, rng: Generator) -> list[str]:
    quotas = _rounded(list(SHARES.values()), count)
    kinds = [kind for kind, quota in zip(SHARES, quotas, strict=True) for _ in range(quota)]
    return [kinds[k] for k in rng.permutation(count)]


def _owners(labels: list[tuple[str, bool]], patients: int, rng: Generator) -> list[int]:
    """Patient of each study: one each, then the rest as second studies."""
    owners = list(range(patients))
    free = [int(k) for k in rng.permutation(patients)]
    for extra, (part, abnormal) in enumerate(labels[patients:]):
        wishes = [
            [k for k in free if labels[k][0] != part and labels[k][1] != abnormal],
            [k for k in free if labels[k][0] == part],
            [k for k in free if labels[k][0] != part],
        ]
        owner = next(k for wish in (wishes[extra % 3], free) for k in wish)
        free.remove(owner)
        owners.append(owner)
    return owners


def plan_views(studies: list[Study], phantom: Phantom) -> list[View]:
    """List the views in the order of the studies, and give some of them a quality problem.

    3 are inverted, 2 blank, 3 cut off, and 2 are near duplicates of an image of another patient
    with the same label and, where there is one, the same part; the first within official train, the
    second from train into valid.
    """
    rng = np.random.default_rng([phantom.seed, 0, PROBLEM])
    views = [View(study, view) for study in studies for view in range(study.views)]
    # A study with several views keeps a good one.
    spare = [
        k for k, view in enumerate(views) if view.view > 0 and view.view == view.study.views - 1
    ]
    chosen = [int(k) for k in rng.permutation(spare)]
    for quality in PROBLEMS:
        index = chosen.pop()
        views[index] = replace(views[index], quality=quality)
    for split in SPLITS:
        copy = next(k for k in chosen if views[k].study.split == split)
        chosen.remove(copy)
        sources = [
            other
            for other in views
            if other.study.split == "train"
            and other.view == 0
            and other.study.patient != views[copy].study.patient
        ]
        source = max(sources, key=lambda other: _similarity(other.study, views[copy].study))
        views[copy] = replace(views[copy], quality="near_duplicate", source=source)
    return views


def _similarity(one: Study, other: Study) -> int:
    """0 if the labels differ, 2 for the same body part too, else 1."""
    if (one.finding == "none") != (other.finding == "none"):
        return 0
    return 2 if one.body_part == other.body_part else 1


def draw_view(view: View, phantom: Phantom, healthy: bool = False) -> tuple[Pixels, list[int]]:
    """Draw one image.

    Args:
        view: One of `plan_views`.
        phantom: Seed, corner marker.
        healthy: Leave the finding out; everything else stays as it is.

    Returns:
        Grey levels (height, width), uint8, and the ground-truth box x0, y0, x1, y1 of the finding
        in pixels (empty if none is visible; x1 and y1 are exclusive).
    """
    if view.source is not None:
        grey, box = _near_duplicate(view, phantom, healthy)
    else:
        grey, box = _radiograph(view, phantom, healthy)
    if phantom.marker_shortcut and view.study.finding != "none":
        grey = grey.copy()
        side = round(SHORTCUT_FRACTION * max(grey.shape))
        grey[side // 2 : side // 2 + side, side // 2 : side // 2 + side] = 255
    return grey, box


def _stream(view: View, phantom: Phantom, purpose: int) -> Generator:
    return np.random.default_rng([phantom.seed, view.study.number, view.view, purpose])


def _radiograph(view: View, phantom: Phantom, healthy: bool) -> tuple[Pixels, list[int]]:
    study = view.study
    first = replace(view, view=0)
    build = _stream(first, phantom, PERSON)
    person = sample_person(build)
    side = "LR"[int(build.integers(2))]
    scene = build_scene(study.body_part, person, _stream(view, phantom, POSE), view.view)
    shift = 0.55 if view.quality == "cut_off" else 0.0
    camera = sample_camera(scene, side, _stream(view, phantom, CAMERA), shift)
    noise = _stream(view, phantom, NOISE)
    if view.quality == "blank":
        shape = (camera.height_px, camera.width_px)
        return (18 + 1.5 * noise.standard_normal(shape)).astype(np.uint8), []
    box: list[int] = []
    if study.finding != "none" and not healthy:
        of_view = _stream(view, phantom, VIEW_OF_FINDING)
        finding = sample_finding(study.finding, _stream(first, phantom, FINDING))
        if view.view == 0 or of_view.random() >= HIDDEN_FRACTION:
            abnormal = insert_finding(scene, finding, of_view)
            points = camera.pixels(np.array(abnormal.finding_points))
            box = _box(points, camera.width_px, camera.height_px)
            scene = abnormal if box else scene
    grey = expose(scene, camera, noise)
    return (255 - grey if view.quality == "inverted" else grey), box


def _box(points: NDArray[np.float64], width: int, height: int) -> list[int]:
    """Bounding box inside the image, or nothing if most of it is outside."""
    low, high = np.floor(points.min(0)), np.ceil(points.max(0))
    inner_low, inner_high = np.maximum(low, 0), np.minimum(high, [width, height])
    seen = np.prod(np.maximum(inner_high - inner_low, 0)) / np.prod(high - low)
    return [int(k) for k in (*inner_low, *inner_high)] if seen >= 0.5 else []


def _near_duplicate(view: View, phantom: Phantom, healthy: bool) -> tuple[Pixels, list[int]]:
    """The source image moved by a few pixels with slightly other grey levels."""
    assert view.source is not None
    grey, box = _radiograph(view.source, phantom, healthy)
    rng = _stream(view, phantom, PROBLEM)
    dx, dy = (int(k) for k in rng.integers(2, 5, 2))
    levels = np.round(grey * rng.uniform(0.96, 0.99) + rng.uniform(0, 3)).astype(np.uint8)
    moved = np.pad(levels, ((dy, 0), (dx, 0)), mode="edge")[: grey.shape[0], : grey.shape[1]]
    if box:
        height, width = grey.shape
        box = [box[0] + dx, box[1] + dy, min(box[2] + dx, width), min(box[3] + dy, height)]
    return moved, box


def write_phantom(path: Path, phantom: Phantom, workers: int | None = None) -> pd.DataFrame:
    """Write the data set, and its annotations beside the CSV files, as one .zip that appears whole.

    Args:
        path: The .zip to replace; its members lie in a folder of its name, as in MURA's own.
        phantom: Seed, number of patients, corner marker.
        workers: Processes; by default one per CPU. The bytes do not depend on it.

    Returns:
        The annotations, one row per image: what is seen and where. Boxes are x0, y0, x1, y1 in
        pixels of the image, x1 and y1 exclusive, empty where nothing is seen.

    Raises:
        InputError: The disk has no room for it.
    """
    studies = plan_studies(phantom)
    views = plan_views(studies, phantom)
    require_free_space(path, len(views) * BYTES_PER_VIEW, f"a phantom of {len(views):,} images")
    with atomic_write(path) as target, zipfile.ZipFile(target, "w") as archive:
        rows = []
        encoded = process_map(partial(_encoder, phantom), views, workers or cores(), BATCH)
        for row, png in progress(encoded, len(views), "phantom"):
            _add(archive, f"{path.stem}/{row[0]}", png)
            rows.append(row)
        table = pd.DataFrame(rows, columns=list(ANNOTATION_COLUMNS)).sort_values("image")
        annotations = table.astype(dict.fromkeys(ANNOTATION_COLUMNS[2:6], "Int64"))
        texts = _lists(path.stem, studies)
        texts[ANNOTATIONS] = annotations.to_csv(index=False, lineterminator="\n")
        for name in sorted(texts):
            _add(archive, f"{path.stem}/{name}", texts[name].encode())
    return annotations


def _encoder(phantom: Phantom) -> Callable[[View], tuple[Row, bytes]]:
    return partial(_encode, phantom)


def _encode(phantom: Phantom, view: View) -> tuple[Row, bytes]:
    """Draw one image: its row of the annotations, and its file."""
    grey, box = draw_view(view, phantom)
    image = Image.fromarray(grey)
    if _stream(view, phantom, MODE).random() < RGB_FRACTION:
        image = image.convert("RGB")
    png = io.BytesIO()
    image.save(png, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    source = view.source.path if view.source is not None else None
    finding = (view.source or view).study.finding
    corners: list[int] | list[None] = box or [None] * 4
    return (view.path, finding, *corners, view.quality, source), png.getvalue()


def _lists(folder: str, studies: list[Study]) -> dict[str, str]:
    """The four header-less CSV files; paths begin with the folder."""
    texts = {}
    for split in SPLITS:
        mine = [study for study in studies if study.split == split]
        images = [View(study, view).path for study in mine for view in range(study.views)]
        labelled = [f"{study.folder}/,{int(study.finding != 'none')}" for study in mine]
        for kind, lines in (("image_paths", images), ("labeled_studies", labelled)):
            texts[f"{split}_{kind}.csv"] = "".join(f"{folder}/{line}\n" for line in lines)
    return texts


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Time, system and mode as constants: from the clock and the machine the bytes would differ.
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.create_system = UNIX
    entry.external_attr = 0o100644 << 16
    archive.writestr(entry, content)  # stored: a PNG file is compressed already

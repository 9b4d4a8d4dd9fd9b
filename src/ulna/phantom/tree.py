"""The embedded data set: synthetic radiographs in MURA's own layout, annotated, in one .zip.

Everything that is not pathology is sampled from random streams that do not know the label: build,
pose, side, exposure, image size, number of views, mode, rings, letters. A cast is as frequent in
normal studies of a body part as in abnormal ones. Each study has streams of its own, so the number
of workers changes nothing.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from ulna.core import cores
from ulna.core.io import atomic_write, require_free_space
from ulna.core.progress import progress
from ulna.core.stage import process_map
from ulna.phantom.anatomy import CASTS, build_scene
from ulna.phantom.camera import sample_camera
from ulna.phantom.pathology import SHARES, Finding, insert_finding, sample_finding
from ulna.phantom.radiograph import Pixels, expose

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
VALID_FRACTION = 0.145  # of 800 patients 139 studies: an interval of AUROC less than 0.15 wide
STUDIES_PER_PATIENT = 1.2
VIEW_SHARES = {1: 0.22, 2: 0.33, 3: 0.35, 4: 0.10}  # of studies with n views
CAST_FRACTION = 0.35  # of the studies with a fracture, where a part has casts
RGB_FRACTION = 0.02
HIDDEN_FRACTION = 0.05  # of the later views of an abnormal study: the finding is not visible
PROBLEMS = ("inverted",) * 3 + ("blank",) * 2 + ("cut_off",) * 3
ANNOTATIONS = "annotations.csv"
ANNOTATION_COLUMNS = (
    "image", "finding", "detail", "x0", "y0", "x1", "y1", "quality", "near_duplicate_of",
)  # fmt: skip
BOX_COLUMNS = ANNOTATION_COLUMNS[3:7]
BYTES_PER_VIEW = 41_000  # in the .zip: the mean of 2,516 views
BATCH = 8  # images, some 80 ms
UNIX = 3  # in `create_system` of a .zip entry
SHORTCUT_FRACTION = 0.05  # side of the corner marker, of the image's longer side

# One row of the annotations; a box may be missing, and only a near duplicate has a source.
Row = tuple[str | int | None, ...]

T = TypeVar("T")

# Streams of random numbers; the last number of a seed sequence keeps them apart.
PLAN, PERSON, POSE, CAMERA, NOISE, FINDING, VIEW_OF_FINDING, PROBLEM, MODE, CAST = range(10)


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
    cast: bool = False

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
    """Round to integers in proportion to weights that add up to total (largest remainders)."""
    exact = np.array(weights) / np.sum(weights) * (total - least * len(weights))
    counts = np.floor(exact).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - least * len(weights) - counts.sum()]] += 1
    return [int(count) + least for count in counts]


def _split_labels(split: str, studies: int) -> list[tuple[str, bool]]:
    """Body part of each study, and whether it is abnormal: as often as in MURA's part."""
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


def plan_studies(seed: int, patients: int) -> list[Study]:
    """Plan the studies of both official splits, patients disjoint, sorted by folder.

    Some patients have two studies: every third such pair has both labels in two body parts, every
    third the same part.
    """
    valid = max(4, round(patients * VALID_FRACTION))
    studies: list[Study] = []
    for split, in_split in (("train", patients - valid), ("valid", valid)):
        rng = np.random.default_rng([seed, SPLITS.index(split), PLAN])
        total = round(in_split * STUDIES_PER_PATIENT)
        labels = _split_labels(split, total)
        labels = [labels[k] for k in rng.permutation(total)]
        findings = _shuffled(SHARES, sum(abnormal for _, abnormal in labels), rng)
        views = _shuffled(VIEW_SHARES, total, rng)
        numbers: dict[tuple[int, str], int] = {}
        owners = _owners(labels, in_split, rng)
        for (part, abnormal), owner, count in zip(labels, owners, views, strict=True):
            number = numbers[owner, part] = numbers.get((owner, part), 0) + 1
            patient = FIRST_PATIENT[split] + owner
            finding = findings.pop() if abnormal else "none"
            studies.append(Study(split, part, patient, number, finding, count, len(studies)))
    return sorted(_with_casts(studies, seed), key=lambda study: study.folder)


def _with_casts(studies: list[Study], seed: int) -> list[Study]:
    """Put casts on fractures, and on the same share of the part's normal studies: follow-ups.

    A cast alone says nothing of the label.
    """
    rng = np.random.default_rng([seed, 0, CAST])
    order = [studies[k] for k in rng.permutation(len(studies))]
    chosen: set[int] = set()
    for split in SPLITS:
        for part in CASTS:
            group = [s for s in order if (s.split, s.body_part) == (split, part)]
            normal = [study.number for study in group if study.finding == "none"]
            fractures = [study.number for study in group if study.finding.endswith("fracture")]
            casts = round(CAST_FRACTION * len(fractures))
            share = casts / max(len(group) - len(normal), 1)
            chosen.update(fractures[:casts], normal[: round(share * len(normal))])
    return [replace(study, cast=study.number in chosen) for study in studies]


def _shuffled(shares: Mapping[T, float], total: int, rng: Generator) -> list[T]:
    counts = _rounded(list(shares.values()), total)
    values = [value for value, count in zip(shares, counts, strict=True) for _ in range(count)]
    return [values[k] for k in rng.permutation(total)]


def _owners(labels: list[tuple[str, bool]], patients: int, rng: Generator) -> list[int]:
    """Patient of each study: one each, then the rest as second studies."""
    owners = list(range(patients))
    free = [int(k) for k in rng.permutation(patients)]

    def suits(owner: int, turn: int, part: str, abnormal: bool) -> bool:
        same_part, same_label = labels[owner][0] == part, labels[owner][1] == abnormal
        return (not same_part and not same_label, same_part, not same_part)[turn]

    for extra, label in enumerate(labels[patients:]):
        suited = (owner for owner in free if suits(owner, extra % 3, *label))
        owners.append(next(suited, free[0]))
        free.remove(owners[-1])
    return owners


def plan_views(studies: list[Study], seed: int) -> list[View]:
    """List the views in the order of the studies, and give some of them a quality problem.

    3 are inverted, 2 blank, 3 cut off, and 2 are near duplicates of an image of another patient
    with the same label and, where there is one, the same part; the first within official train, the
    second from train into valid.
    """
    rng = np.random.default_rng([seed, 0, PROBLEM])
    views = [View(study, view) for study in studies for view in range(study.views)]
    # The last of several views: the study keeps a good one.
    last = [k for k, view in enumerate(views) if 0 < view.view == view.study.views - 1]
    chosen = [int(k) for k in rng.permutation(last)]
    for quality in PROBLEMS:
        index = chosen.pop()
        views[index] = replace(views[index], quality=quality)
    for split in SPLITS:
        copy = next(k for k in chosen if views[k].study.split == split)
        chosen.remove(copy)
        source = _choose_source(views, views[copy].study)
        views[copy] = replace(views[copy], quality="near_duplicate", source=source)
    return views


def _choose_source(views: list[View], study: Study) -> View:
    """First view of another train patient, if possible with the study's label and body part."""

    def similarity(view: View) -> int:
        if (view.study.finding == "none") != (study.finding == "none"):
            return 0
        return 2 if view.study.body_part == study.body_part else 1

    firsts = (view for view in views if view.study.split == "train" and view.view == 0)
    return max((v for v in firsts if v.study.patient != study.patient), key=similarity)


def draw_view(
    view: View, seed: int, marker_shortcut: bool = False, healthy: bool = False
) -> tuple[Pixels, list[int]]:
    """Draw one image; `healthy` leaves the finding out, and everything else as it is.

    `marker_shortcut` puts a white square into a corner of abnormal images.

    Returns:
        Grey levels (height, width), uint8, and the ground-truth box x0, y0, x1, y1 of the finding
        in pixels (empty if none is visible; x1 and y1 are exclusive).
    """
    make = _radiograph if view.source is None else _near_duplicate
    grey, box = make(view, seed, healthy)
    if marker_shortcut and view.study.finding != "none":
        grey = grey.copy()
        side = round(SHORTCUT_FRACTION * max(grey.shape))
        grey[side // 2 : side // 2 + side, side // 2 : side // 2 + side] = 255
    return grey, box


def _stream(view: View, seed: int, purpose: int) -> Generator:
    return np.random.default_rng([seed, view.study.number, view.view, purpose])


def _radiograph(view: View, seed: int, healthy: bool) -> tuple[Pixels, list[int]]:
    study = view.study
    build = _stream(replace(view, view=0), seed, PERSON)
    pose = _stream(view, seed, POSE)
    scene = build_scene(study.body_part, build, pose, view.view, study.cast)
    side = "LR"[int(build.integers(2))]
    shift = 0.55 if view.quality == "cut_off" else 0.0
    camera = sample_camera(scene, side, _stream(view, seed, CAMERA), shift)
    noise = _stream(view, seed, NOISE)
    if view.quality == "blank":
        shape = (camera.height_px, camera.width_px)
        return (18 + 1.5 * noise.standard_normal(shape)).astype(np.uint8), []
    box: list[int] = []
    finding = _finding(study, seed)
    if finding is not None and not healthy:
        of_view = _stream(view, seed, VIEW_OF_FINDING)
        if view.view == 0 or of_view.random() >= HIDDEN_FRACTION:
            abnormal = insert_finding(scene, finding, of_view)
            points = camera.pixels(np.array(abnormal.finding_points))
            box = _box(points, camera.width_px, camera.height_px)
            scene = abnormal if box else scene
    grey = expose(scene, camera, noise)
    return (255 - grey if view.quality == "inverted" else grey), box


def _finding(study: Study, seed: int) -> Finding | None:
    """The finding of a study, the same in all its views."""
    if study.finding == "none":
        return None
    stream = _stream(View(study, 0), seed, FINDING)
    return sample_finding(study.finding, study.body_part, stream)


def _box(points: NDArray[np.float64], width: int, height: int) -> list[int]:
    """Bounding box inside the image; empty if most of it is outside."""
    # Rounded first: the last bit of a point may differ between processors.
    points = np.round(points, 3)
    low, high = np.floor(points.min(0)), np.ceil(points.max(0))
    inner_low, inner_high = np.maximum(low, 0), np.minimum(high, [width, height])
    seen = np.prod(np.maximum(inner_high - inner_low, 0)) / np.prod(high - low)
    return [int(k) for k in (*inner_low, *inner_high)] if seen >= 0.5 else []


def _near_duplicate(view: View, seed: int, healthy: bool) -> tuple[Pixels, list[int]]:
    """The source image moved by a few pixels with slightly other grey levels."""
    assert view.source is not None
    grey, box = _radiograph(view.source, seed, healthy)
    rng = _stream(view, seed, PROBLEM)
    dx, dy = (int(k) for k in rng.integers(2, 5, 2))
    levels = np.round(grey * rng.uniform(0.96, 0.99) + rng.uniform(0, 3)).astype(np.uint8)
    moved = np.pad(levels, ((dy, 0), (dx, 0)), mode="edge")[: grey.shape[0], : grey.shape[1]]
    if box:
        height, width = grey.shape
        box = [box[0] + dx, box[1] + dy, min(box[2] + dx, width), min(box[3] + dy, height)]
    return moved, box


def write_phantom(
    path: Path, seed: int, patients: int, marker_shortcut: bool = False, workers: int | None = None
) -> pd.DataFrame:
    """Write the data set, and its annotations beside the CSV files, as one .zip that appears whole.

    Its members lie in a folder of its name, as in MURA's own. The same seed gives the same bytes,
    with any number of `workers` (by default one per CPU).

    Returns:
        The annotations, one row per image: the finding of the study (`none` in a normal one), its
        detail (may be empty) and its box, x0, y0, x1, y1 in pixels of the image, x1 and y1
        exclusive, empty where none is visible.
    """
    studies = plan_studies(seed, patients)
    views = plan_views(studies, seed)
    require_free_space(path, len(views) * BYTES_PER_VIEW, f"a phantom of {len(views):,} images")
    with atomic_write(path) as target, zipfile.ZipFile(target, "w") as archive:
        rows = []
        # A process makes its worker with no arguments.
        make = partial(partial, encode, seed, marker_shortcut)
        encoded = process_map(make, views, workers or cores(), BATCH)
        for row, png in progress(encoded, len(views), "phantom"):
            _add(archive, f"{path.stem}/{row[0]}", png)
            rows.append(row)
        table = pd.DataFrame(rows, columns=list(ANNOTATION_COLUMNS)).sort_values("image")
        annotations = table.astype(dict.fromkeys(BOX_COLUMNS, "Int64"))
        texts = _lists(path.stem, studies)
        texts[ANNOTATIONS] = annotations.to_csv(index=False, lineterminator="\n")
        for name in sorted(texts):
            _add(archive, f"{path.stem}/{name}", texts[name].encode())
    return annotations


def encode(seed: int, marker_shortcut: bool, view: View) -> tuple[Row, bytes]:
    """Draw one image: its row of the annotations, and its file."""
    grey, box = draw_view(view, seed, marker_shortcut)
    image = Image.fromarray(grey)
    if _stream(view, seed, MODE).random() < RGB_FRACTION:
        image = image.convert("RGB")
    png = io.BytesIO()
    image.save(png, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    source = view.source.path if view.source is not None else None
    finding = _finding((view.source or view).study, seed)
    names = (finding.kind, finding.detail) if finding is not None else ("none", "")
    corners: list[int] | list[None] = box or [None] * 4
    return (view.path, *names, *corners, view.quality, source), png.getvalue()


def _lists(folder: str, studies: list[Study]) -> dict[str, str]:
    """The four header-less CSV files; paths begin with the folder."""
    texts = {}
    for split in SPLITS:
        in_split = [study for study in studies if study.split == split]
        images = [View(study, view).path for study in in_split for view in range(study.views)]
        labelled = [f"{study.folder}/,{int(study.finding != 'none')}" for study in in_split]
        for kind, lines in (("image_paths", images), ("labeled_studies", labelled)):
            texts[f"{split}_{kind}.csv"] = "".join(f"{folder}/{line}\n" for line in lines)
    return texts


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Time, system and mode as constants: from the clock and the machine the bytes would differ.
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.create_system = UNIX
    entry.external_attr = 0o100644 << 16
    archive.writestr(entry, content)  # stored: a PNG file is compressed already

import io
import os
import re
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ulna.phantom.anatomy import CASTS
from ulna.phantom.pathology import HARDWARE, LESIONS, SHARES
from ulna.phantom.tree import (
    CAST_FRACTION,
    MURA_STUDIES,
    draw_view,
    plan_studies,
    plan_views,
    write_phantom,
)

SEED, SMALL, FULL = 1, 30, 800  # patients
ROOT = "MURA-v1.1"
PLACE = re.compile(
    r"MURA-v1\.1/(train|valid)/XR_([A-Z]+)/(patient\d{5})/study(\d+)_(positive|negative)/"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("phantom") / f"{ROOT}.zip"
    write_phantom(path, SEED, SMALL, workers=1)
    return path


@pytest.fixture(scope="module")
def files(path):
    """Name below the root -> content."""
    with zipfile.ZipFile(path) as archive:
        return {n.removeprefix(f"{ROOT}/"): archive.read(n) for n in archive.namelist()}


@pytest.fixture(scope="module")
def annotations(files):
    text = io.BytesIO(files["annotations.csv"])
    return pd.read_csv(text, dtype={"near_duplicate_of": "string"})


def pngs(files, start: str = "") -> list[str]:
    return sorted(name for name in files if name.startswith(start) and name.endswith(".png"))


def image_of(files, name: str) -> Image.Image:
    return Image.open(io.BytesIO(files[name]))


def lines(files, name: str) -> list[list[str]]:
    return [line.split(",") for line in files[name].decode().splitlines()]


def test_neither_workers_nor_clock_nor_umask_change_a_byte(path, tmp_path, monkeypatch):
    """The second one is written another day, by two processes, for the eyes of its owner only."""
    monkeypatch.setattr("time.time", lambda: 4e9)
    before = os.umask(0o077)
    try:
        write_phantom(tmp_path / path.name, SEED, SMALL, workers=2)
    finally:
        os.umask(before)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_the_members_are_stored_and_readable_in_the_order_of_their_names(path):
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}
    images = [entry.filename for entry in entries if entry.filename.endswith(".png")]
    tables = [entry.filename for entry in entries[len(images) :]]
    assert images == sorted(images) and tables == sorted(tables)
    assert all(name.startswith(f"{ROOT}/") for name in images + tables)
    assert len(tables) == 5


def test_another_seed_gives_other_images():
    one, other = (
        draw_view(plan_views(plan_studies(seed, SMALL), seed)[0], seed)[0] for seed in (1, 2)
    )
    assert one.shape != other.shape or (one != other).any()


def test_csv_files_have_no_header_and_list_exactly_the_images(files):
    for split in ("train", "valid"):
        rows = lines(files, f"{split}_image_paths.csv")
        assert rows == [[f"{ROOT}/{name}"] for name in pngs(files, f"{split}/")]


def test_labels_agree_with_the_names_of_the_folders(files):
    for split in ("train", "valid"):
        studies = lines(files, f"{split}_labeled_studies.csv")
        images = [row[0] for row in lines(files, f"{split}_image_paths.csv")]
        for folder, label in studies:
            place = PLACE.fullmatch(folder)
            assert place is not None, folder
            assert place[1] == split
            assert label == {"positive": "1", "negative": "0"}[place[5]]
        assert {folder for folder, _ in studies} == {
            image.rpartition("/")[0] + "/" for image in images
        }


def test_images_are_8_bit_pngs_of_at_most_512_pixels(files):
    sizes = set()
    for name in pngs(files):
        image = image_of(files, name)
        assert image.format == "PNG"
        assert image.mode in ("L", "RGB")
        assert max(image.size) <= 512
        sizes.add(image.size)
    assert len(sizes) > 20


def test_every_image_is_annotated_with_findings_only_in_positive_studies(files, annotations):
    assert annotations["image"].tolist() == pngs(files)
    positive = annotations["image"].str.contains("_positive/")
    assert ((annotations["finding"] != "none") == positive).all()


def test_hardware_and_lesions_have_a_detail_and_nothing_else_has(annotations):
    details = {
        "hardware": {detail for kinds in HARDWARE.values() for detail in kinds},
        "lesion": set(LESIONS),
    }
    for finding, group in annotations["detail"].fillna("").groupby(annotations["finding"]):
        assert set(group) <= details.get(finding, {""}), finding


def test_boxes_lie_inside_their_image_and_only_where_there_is_a_finding(files, annotations):
    boxed = annotations.dropna(subset=["x0"])
    assert len(boxed) > 10
    assert (boxed["finding"] != "none").all()
    for row in boxed.itertuples():
        image = image_of(files, row.image)
        assert 0 <= row.x0 < row.x1 <= image.width
        assert 0 <= row.y0 < row.y1 <= image.height


def test_every_abnormal_study_shows_its_finding_in_some_view(annotations):
    shown = annotations["x0"].notna().groupby(annotations["image"].str.rpartition("/")[0]).any()
    assert shown[shown.index.str.endswith("_positive")].all()
    assert not shown[shown.index.str.endswith("_negative")].any()


def test_the_finding_changes_the_pixels_of_its_box_and_hardly_any_other():
    views = plan_views(plan_studies(SEED, SMALL), SEED)
    planted = [v for v in views if v.study.finding != "none" and v.quality == "ok" and v.view == 0]
    assert len(planted) >= 5
    for view in planted[:8]:
        sick, (x0, y0, x1, y1) = draw_view(view, SEED)
        well, empty = draw_view(view, SEED, healthy=True)
        assert empty == []
        assert sick.shape == well.shape
        change = np.abs(sick.astype(float) - well)
        inside = np.zeros(change.shape, bool)
        inside[max(y0 - 3, 0) : y1 + 3, max(x0 - 3, 0) : x1 + 3] = True
        assert change[inside].max() > 12, view.path
        # What is left outside is scatter, and the far parts of a displaced fragment.
        assert change[inside].mean() > 3 * change[~inside].mean(), view.path


def test_each_part_has_mixed_labels_in_train_even_with_20_patients():
    seen = {
        (study.body_part, study.finding != "none")
        for study in plan_studies(SEED, SMALL)
        if study.split == "train"
    }
    assert seen == {(part, label) for part in MURA_STUDIES for label in (False, True)}


def test_the_share_of_abnormal_studies_of_each_part_is_muras():
    studies = [study for study in plan_studies(SEED, FULL) if study.split == "train"]
    for part, ((normal, abnormal), _) in MURA_STUDIES.items():
        labels = [study.finding != "none" for study in studies if study.body_part == part]
        # Largest remainders: at most one study off.
        assert abs(sum(labels) - len(labels) * abnormal / (normal + abnormal)) <= 1


def test_the_full_size_is_that_of_the_parameters():
    studies = plan_studies(SEED, FULL)
    assert len({(study.split, study.patient) for study in studies}) == FULL
    assert 2200 <= len(plan_views(studies, SEED)) <= 2300
    assert 130 <= sum(study.split == "valid" for study in studies) <= 150


@pytest.mark.parametrize("split", ["train", "valid"])
def test_findings_are_as_often_as_their_shares_say(split):
    findings = [study.finding for study in plan_studies(SEED, FULL) if study.split == split]
    abnormal = len(findings) - findings.count("none")
    for finding, share in SHARES.items():
        # Largest remainders: less than one study off.
        assert abs(findings.count(finding) - share * abnormal) < 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_cast_says_nothing_of_the_label(seed):
    studies = plan_studies(seed, FULL)
    casts = [study for study in studies if study.cast]
    assert len(casts) > 20
    assert {study.body_part for study in casts} <= set(CASTS)
    for split in ("train", "valid"):
        for part in CASTS:
            group = [s for s in studies if (s.split, s.body_part) == (split, part)]
            normal = [study.cast for study in group if study.finding == "none"]
            abnormal = [study.cast for study in group if study.finding != "none"]
            expected = sum(abnormal) / len(abnormal) * len(normal)
            assert abs(sum(normal) - expected) <= 0.5
            fractures = [s.cast for s in group if s.finding.endswith("fracture")]
            assert abs(sum(fractures) - CAST_FRACTION * len(fractures)) <= 0.5
            assert sum(fractures) == sum(abnormal)


@pytest.mark.parametrize("patients", [SMALL, FULL])
def test_official_splits_share_no_patient(patients):
    patients = {
        split: {study.patient for study in plan_studies(SEED, patients) if study.split == split}
        for split in ("train", "valid")
    }
    assert min(map(len, patients.values())) >= 4
    assert not patients["train"] & patients["valid"]


@pytest.mark.parametrize("patients", [SMALL, FULL])
def test_some_patients_have_several_parts_and_a_study_number_with_mixed_labels(patients):
    parts: dict[int, set[str]] = {}
    labels: dict[tuple[int, int], set[bool]] = {}
    for study in plan_studies(SEED, patients):
        parts.setdefault(study.patient, set()).add(study.body_part)
        labels.setdefault((study.patient, study.study), set()).add(study.finding != "none")
    assert any(len(several) > 1 for several in parts.values())
    # patientX/study1 is not unique: the trap that MURA sets.
    assert any(len(both) == 2 for both in labels.values())


def test_folders_of_studies_are_unique():
    folders = [study.folder for study in plan_studies(SEED, FULL)]
    assert len(set(folders)) == len(folders)


def test_quality_problems_are_as_many_as_documented(annotations):
    counts = annotations["quality"].value_counts().to_dict()
    assert {kind: n for kind, n in counts.items() if kind != "ok"} == {
        "inverted": 3,
        "blank": 2,
        "cut_off": 3,
        "near_duplicate": 2,
    }


def test_blank_images_are_flat_and_inverted_ones_light_at_the_border(files, annotations):
    for row in annotations[annotations["quality"].isin(["blank", "inverted"])].itertuples():
        grey = np.asarray(image_of(files, row.image).convert("L"), dtype=float)
        if row.quality == "blank":
            assert grey.std() < 3
        else:
            assert np.percentile(grey, 99) > 220


def test_near_duplicates_resemble_an_image_of_another_patient(files, annotations):
    copies = annotations[annotations["quality"] == "near_duplicate"]
    crossing = 0
    for row in copies.itertuples():
        copy, source = (
            PLACE.match(f"{ROOT}/{row.image}"),
            PLACE.match(f"{ROOT}/{row.near_duplicate_of}"),
        )
        assert copy is not None and source is not None
        assert copy[3] != source[3]
        assert copy[5] == source[5]
        crossing += copy[1] != source[1]
        small = [
            np.asarray(image_of(files, name).convert("L").resize((16, 16)), dtype=float).ravel()
            for name in (row.image, row.near_duplicate_of)
        ]
        assert np.corrcoef(*small)[0, 1] > 0.9
        assert files[row.image] != files[row.near_duplicate_of]
    assert crossing == 1
    assert (
        annotations.loc[annotations["quality"] != "near_duplicate", "near_duplicate_of"]
        .isna()
        .all()
    )


# The corner marker that promise A7 wants to be caught.
def test_the_marker_shortcut_changes_a_corner_of_positives_and_nothing_else():
    views = plan_views(plan_studies(SEED, SMALL), SEED)
    positive = [view for view in views if view.study.finding != "none"][:4]
    negative = [view for view in views if view.study.finding == "none"][:4]
    for view in negative:
        assert (draw_view(view, SEED, marker_shortcut=True)[0] == draw_view(view, SEED)[0]).all()
    for view in positive:
        with_marker, without = (
            draw_view(view, SEED, marker_shortcut=True)[0],
            draw_view(view, SEED)[0],
        )
        changed = np.argwhere(with_marker != without)
        side = 0.05 * max(without.shape)
        assert len(changed) > 0.5 * side**2
        assert (changed < 1.6 * side).all()
        assert (with_marker[tuple(changed.T)] == 255).all()


def test_findings_do_not_move_what_is_sampled_independently_of_the_label():
    views = plan_views(plan_studies(SEED, FULL), SEED)
    table = pd.DataFrame(
        {"label": view.study.finding != "none", "views": view.study.views} for view in views
    )
    means = table.groupby("label")["views"].mean()
    assert abs(means[True] - means[False]) < 0.35


def test_an_error_leaves_the_old_data_set_and_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / f"{ROOT}.zip"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("ulna.phantom.tree.encode", fail)
    with pytest.raises(OSError, match="disk full"):
        write_phantom(path, SEED, SMALL, workers=1)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"

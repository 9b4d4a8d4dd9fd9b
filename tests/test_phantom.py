import csv
import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ulna.params import Phantom
from ulna.phantom.tree import (
    MURA_STUDIES,
    draw_view,
    plan_studies,
    plan_views,
    write_phantom,
)

SMALL = Phantom(seed=1, patients=30, marker_shortcut=False)
FULL = Phantom(seed=1, patients=290, marker_shortcut=False)
ROOT = "MURA-v1.1"
PLACE = re.compile(
    r"MURA-v1\.1/(train|valid)/XR_([A-Z]+)/(patient\d{5})/study(\d+)_(positive|negative)/"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder / ROOT, folder / "truth.csv", SMALL, workers=1)
    return folder


@pytest.fixture(scope="module")
def truth(made):
    return pd.read_csv(made / "truth.csv", dtype={"near_duplicate_of": "string"})


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def lines(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_worker_count_changes_no_byte(made, tmp_path):
    write_phantom(tmp_path / ROOT, tmp_path / "truth.csv", SMALL, workers=2)
    assert digests(tmp_path) == digests(made)


def test_another_seed_draws_other_images():
    one, other = (
        draw_view(plan_views(plan_studies(params), params)[0], params)[0]
        for params in (SMALL, SMALL.model_copy(update={"seed": 2}))
    )
    assert one.shape != other.shape or (one != other).any()


def test_csv_files_have_no_header_and_list_exactly_the_files_on_disk(made):
    for split in ("train", "valid"):
        rows = lines(made / ROOT / f"{split}_image_paths.csv")
        on_disk = {
            path.relative_to(made).as_posix() for path in (made / ROOT / split).rglob("*.png")
        }
        assert all(len(row) == 1 for row in rows)
        assert {row[0] for row in rows} == on_disk
        assert len(rows) == len(on_disk)


def test_labels_agree_with_the_names_of_the_folders(made):
    for split in ("train", "valid"):
        studies = lines(made / ROOT / f"{split}_labeled_studies.csv")
        images = [row[0] for row in lines(made / ROOT / f"{split}_image_paths.csv")]
        for folder, label in studies:
            place = PLACE.fullmatch(folder)
            assert place is not None, folder
            assert place[1] == split
            assert label == {"positive": "1", "negative": "0"}[place[5]]
        assert {folder for folder, _ in studies} == {
            image.rpartition("/")[0] + "/" for image in images
        }


def test_images_are_8_bit_pngs_of_at_most_512_pixels(made):
    sizes = set()
    for path in (made / ROOT).rglob("*.png"):
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.mode in ("L", "RGB")
            assert max(picture.size) <= 512
            sizes.add(picture.size)
    assert len(sizes) > 20


def test_truth_has_a_row_for_every_image_and_findings_only_in_positive_studies(made, truth):
    on_disk = sorted(
        path.relative_to(made / ROOT).as_posix() for path in (made / ROOT).rglob("*.png")
    )
    assert truth["image"].tolist() == on_disk
    positive = truth["image"].str.contains("_positive/")
    assert ((truth["finding"] != "none") == positive).all()


def test_boxes_lie_inside_their_image_and_only_where_something_was_planted(made, truth):
    boxed = truth.dropna(subset=["x0"])
    assert len(boxed) > 10
    assert (boxed["finding"] != "none").all()
    for row in boxed.itertuples():
        with Image.open(made / ROOT / row.image) as picture:
            assert 0 <= row.x0 < row.x1 <= picture.width
            assert 0 <= row.y0 < row.y1 <= picture.height


def test_every_abnormal_study_shows_its_finding_in_some_view(truth):
    shown = truth["x0"].notna().groupby(truth["image"].str.rpartition("/")[0]).any()
    assert shown[shown.index.str.endswith("_positive")].all()
    assert not shown[shown.index.str.endswith("_negative")].any()


def test_the_finding_changes_the_pixels_of_its_box_and_hardly_any_other():
    views = plan_views(plan_studies(SMALL), SMALL)
    planted = [v for v in views if v.study.finding != "none" and v.quality == "ok" and v.view == 0]
    assert len(planted) >= 5
    for view in planted[:8]:
        sick, (x0, y0, x1, y1) = draw_view(view, SMALL)
        well, empty = draw_view(view, SMALL, healthy=True)
        assert empty == []
        assert sick.shape == well.shape
        change = np.abs(sick.astype(float) - well)
        inside = np.zeros(change.shape, bool)
        inside[max(y0 - 3, 0) : y1 + 3, max(x0 - 3, 0) : x1 + 3] = True
        assert change[inside].max() > 12, view.path
        # What is left outside is scatter, and the far parts of a displaced fragment.
        assert change[inside].mean() > 3 * change[~inside].mean(), view.path


def test_each_part_has_both_labels_in_train_even_with_20_patients():
    seen = {
        (study.body_part, study.finding != "none")
        for study in plan_studies(SMALL)
        if study.split == "train"
    }
    assert seen == {(part, label) for part in MURA_STUDIES for label in (False, True)}


def test_the_share_of_abnormal_studies_of_each_part_is_muras():
    studies = [study for study in plan_studies(FULL) if study.split == "train"]
    for part, ((normal, abnormal), _) in MURA_STUDIES.items():
        labels = [study.finding != "none" for study in studies if study.body_part == part]
        # Largest remainders: at most one study off.
        assert abs(sum(labels) - len(labels) * abnormal / (normal + abnormal)) <= 1


def test_the_full_size_is_what_the_parameters_say():
    studies = plan_studies(FULL)
    assert len({(study.split, study.patient) for study in studies}) == 290
    assert 780 <= len(plan_views(studies, FULL)) <= 830
    assert 60 <= sum(study.split == "valid" for study in studies) <= 80


@pytest.mark.parametrize("params", [SMALL, FULL])
def test_official_splits_share_no_patient(params):
    patients = {
        split: {study.patient for study in plan_studies(params) if study.split == split}
        for split in ("train", "valid")
    }
    assert min(map(len, patients.values())) >= 4
    assert not patients["train"] & patients["valid"]


@pytest.mark.parametrize("params", [SMALL, FULL])
def test_some_patients_have_several_parts_and_a_study_number_with_both_labels(params):
    parts: dict[int, set[str]] = {}
    labels: dict[tuple[int, int], set[bool]] = {}
    for study in plan_studies(params):
        parts.setdefault(study.patient, set()).add(study.body_part)
        labels.setdefault((study.patient, study.study), set()).add(study.finding != "none")
    assert any(len(several) > 1 for several in parts.values())
    # patientX/study1 is not unique: the trap that MURA sets.
    assert any(len(both) == 2 for both in labels.values())


def test_folders_of_studies_are_unique():
    folders = [study.folder for study in plan_studies(FULL)]
    assert len(set(folders)) == len(folders)


def test_quality_problems_are_planted_as_documented(truth):
    counts = truth["quality"].value_counts().to_dict()
    assert {kind: n for kind, n in counts.items() if kind != "ok"} == {
        "inverted": 3,
        "blank": 2,
        "cut_off": 3,
        "near_duplicate": 2,
    }


def test_blank_images_are_flat_and_inverted_ones_light_at_the_border(made, truth):
    for row in truth[truth["quality"].isin(["blank", "inverted"])].itertuples():
        with Image.open(made / ROOT / row.image) as picture:
            grey = np.asarray(picture.convert("L"), dtype=float)
        if row.quality == "blank":
            assert grey.std() < 3
        else:
            assert np.percentile(grey, 99) > 220


def test_near_duplicates_resemble_an_image_of_another_patient(made, truth):
    copies = truth[truth["quality"] == "near_duplicate"]
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
        pictures = []
        for image in (row.image, row.near_duplicate_of):
            with Image.open(made / ROOT / image) as picture:
                pictures.append(np.asarray(picture.convert("L").resize((16, 16)), dtype=float))
        assert np.corrcoef(pictures[0].ravel(), pictures[1].ravel())[0, 1] > 0.9
        assert (made / ROOT / row.image).read_bytes() != (
            made / ROOT / row.near_duplicate_of
        ).read_bytes()
    assert crossing == 1
    assert truth.loc[truth["quality"] != "near_duplicate", "near_duplicate_of"].isna().all()


# The corner marker that promise A7 wants to be caught.
def test_the_marker_shortcut_changes_a_corner_of_positives_and_nothing_else():
    marked = SMALL.model_copy(update={"marker_shortcut": True})
    views = plan_views(plan_studies(SMALL), SMALL)
    assert plan_views(plan_studies(marked), marked) == views
    positive = [view for view in views if view.study.finding != "none"][:4]
    negative = [view for view in views if view.study.finding == "none"][:4]
    for view in negative:
        assert (draw_view(view, marked)[0] == draw_view(view, SMALL)[0]).all()
    for view in positive:
        with_marker, without = draw_view(view, marked)[0], draw_view(view, SMALL)[0]
        changed = np.argwhere(with_marker != without)
        side = 0.05 * max(without.shape)
        assert len(changed) > 0.5 * side**2
        assert (changed < 1.6 * side).all()
        assert (with_marker[tuple(changed.T)] == 255).all()


def test_findings_do_not_move_what_is_drawn_independently_of_the_label():
    views = plan_views(plan_studies(FULL), FULL)
    table = pd.DataFrame(
        {"label": view.study.finding != "none", "views": view.study.views} for view in views
    )
    means = table.groupby("label")["views"].mean()
    assert abs(means[True] - means[False]) < 0.35


def test_an_error_leaves_the_old_data_set_and_nothing_half_written(tmp_path, monkeypatch):
    root = tmp_path / ROOT
    root.mkdir()
    (root / "old").touch()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("ulna.phantom.tree._write_view", fail)
    with pytest.raises(OSError, match="disk full"):
        write_phantom(root, tmp_path / "truth.csv", SMALL, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == [ROOT]
    assert (root / "old").exists()

"""The files of examples/: drawn by the phantom, the same bytes each time, and of nobody."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from ulna.data.images import decode
from ulna.phantom import examples
from ulna.phantom.tree import draw_view, plan_studies, plan_views

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples"


@pytest.fixture(scope="module")
def plan():
    return plan_views(plan_studies(examples.SEED, examples.PATIENTS), examples.SEED)


def test_the_files_in_git_are_those_that_are_drawn(tmp_path):
    """After a change of the phantom: `PYTHONPATH=src python -m ulna.phantom.examples`."""
    names = examples.write_examples(tmp_path)
    in_git = [path for path in FOLDER.rglob("*.*") if path.suffix != ".md"]
    assert names == sorted(str(path.relative_to(FOLDER)) for path in in_git)
    for name in names:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name
    assert sum(path.stat().st_size for path in in_git) < 500_000


def test_the_studies_are_chosen_by_the_plan_not_by_what_a_network_says(plan):
    def first(part: str, finding: str, views: int) -> str:
        return next(
            view.study.folder
            for view in plan
            if (view.study.split, view.study.body_part) == ("valid", part)
            and (view.study.finding, view.study.views) == (finding, views)
            and not view.study.cast
            and {each.quality for each in plan if each.study == view.study} == {"ok"}
        )

    assert examples.PNG_STUDIES == (
        first("WRIST", "none", 2),
        first("WRIST", "displaced_fracture", 2),
        first("ELBOW", "hardware", 2),
    )
    assert examples.DICOM_STUDY == first("FOREARM", "hardware", 1)


def test_the_dicom_file_decodes_to_the_grey_levels_that_were_drawn(plan):
    view = next(view for view in plan if view.study.folder == examples.DICOM_STUDY)
    drawn, _ = draw_view(view, examples.SEED)
    content = (FOLDER / examples.DICOM_NAME).read_bytes()
    np.testing.assert_array_equal(decode(content, max_megapixels=1).pixels, drawn)
    dark = pydicom.dcmread(BytesIO(content)).pixel_array  # MONOCHROME1: bright is stored low
    assert np.corrcoef(dark.ravel(), drawn.ravel())[0, 1] < -0.999


def test_the_dicom_file_is_of_nobody():
    image = pydicom.dcmread(FOLDER / examples.DICOM_NAME)
    assert image.PatientIdentityRemoved == "YES"
    named = [each for each in image if each.keyword.startswith(("Patient", "Study", "Referring"))]
    kept = {"PatientIdentityRemoved", "StudyInstanceUID"}
    assert {each.keyword for each in named if each.value} == kept
    assert not [each for each in image if each.VR in ("DA", "TM", "DT", "PN") and each.value]
    assert not [each for each in image if each.tag.is_private]


def test_the_pictures_hold_pixels_alone():
    for path in FOLDER.rglob("*.png"):
        with Image.open(path) as image:
            assert image.info == {}

"""The pictures of examples/: studies of the phantom's test split, and one of them as DICOM.

`PYTHONPATH=src python -m ulna.phantom.examples` draws them anew, with the same bytes.
"""

import io
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from ulna.core.io import atomic_write
from ulna.phantom.tree import draw_view, encode, plan_studies, plan_views

# The phantom of params.yaml, whose train split the bundle that comes with ulna was trained on.
SEED, PATIENTS = 1, 800
# By the plan alone, whatever a network says of them: of these parts the first studies of the test
# split with two views, no cast and no quality problem that are normal, or have this finding.
PNG_STUDIES = (
    "valid/XR_WRIST/patient11228/study1_negative",  # normal
    "valid/XR_WRIST/patient11291/study1_positive",  # displaced fracture
    "valid/XR_ELBOW/patient11273/study1_positive",  # hardware: a plate
)
DICOM_STUDY = "valid/XR_FOREARM/patient11255/study1_positive"  # hardware: a nail; one view
DICOM_NAME = "forearm_dicom/view1.dcm"
# 12 of 16 bits, MONOCHROME1: a white pixel is stored as 535, a black one as 3595. The window maps
# these to the ends of the output, so that each grey level comes back.
STEP, WHITE = 12, 535


def write_examples(folder: Path) -> list[str]:
    """Write the examples below a folder, the same bytes each time.

    Returns:
        Their names relative to the folder, sorted. Studies lie as in MURA, but without its splits.
    """
    files: dict[str, bytes] = {}
    for view in plan_views(plan_studies(SEED, PATIENTS), SEED):
        study = view.study
        if study.folder in PNG_STUDIES:
            files[view.path.removeprefix("valid/")] = encode(SEED, False, view)[1]
        elif study.folder == DICOM_STUDY:
            files[DICOM_NAME] = to_dicom(draw_view(view, SEED)[0], study.body_part)
    for name, content in files.items():
        with atomic_write(folder / name) as partial:
            partial.write_bytes(content)
    return sorted(files)


def to_dicom(grey: NDArray[np.uint8], body_part: str) -> bytes:
    """A radiograph as a file of computed radiography (CR) that shows nobody.

    Args:
        grey: Bones bright, (height, width), uint8.
        body_part: A value of Body Part Examined, such as FOREARM.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = _uid("instance")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _uid("implementation")  # else that of pydicom and its version
    meta.ImplementationVersionName = "ULNA"
    image = Dataset()
    image.file_meta = meta
    image.SOPClassUID = meta.MediaStorageSOPClassUID
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID = _uid("study")
    image.SeriesInstanceUID = _uid("series")
    for name in (
        "AccessionNumber", "Laterality", "PatientBirthDate", "PatientID", "PatientName",
        "PatientSex", "ReferringPhysicianName", "StudyDate", "StudyID", "StudyTime",
    ):  # fmt: skip
        setattr(image, name, "")  # the standard asks for them, if empty
    image.PatientIdentityRemoved = "YES"
    image.DeidentificationMethod = "Drawn by the phantom of ulna: shows nobody"
    image.Modality = "CR"
    image.Manufacturer = "ulna phantom"
    image.SeriesNumber = image.InstanceNumber = 1
    image.BodyPartExamined = body_part
    image.ViewPosition = "AP"
    image.BurnedInAnnotation = "NO"
    image.Rows, image.Columns = grey.shape
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME1"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.WindowWidth = 255 * STEP + 1
    image.WindowCenter = WHITE + (255 * STEP + 1) / 2
    stored = WHITE + STEP * (255 - grey.astype("<u2"))
    image.PixelData = stored.tobytes()
    content = io.BytesIO()
    image.save_as(content, enforce_file_format=True)
    return content.getvalue()


def _uid(name: str) -> UID:
    """An identifier that is always the same."""
    return generate_uid(entropy_srcs=["ulna", "examples", name])


if __name__ == "__main__":
    target = Path(*sys.argv[1:2] or ["examples"])
    print(f"{len(write_examples(target))} files in {target}")

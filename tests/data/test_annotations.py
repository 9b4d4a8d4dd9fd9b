import zipfile

import numpy as np
import pandas as pd
import pytest
from mura_tree import small_studies, tables

from ulna.core import InputError, paths
from ulna.core.io import write_csv
from ulna.data import BOX
from ulna.data.annotations import KEPT, find_annotations, read_annotations
from ulna.data.source import CSV_FILES, list_images, open_root
from ulna.phantom.tree import write_phantom

# Of the phantom.
COLUMNS = [*KEPT, "quality", "near_duplicate_of"]


def images(*names):
    return pd.DataFrame({"image": list(names)})


def root(folder, *lines):
    """A data set whose annotations.csv has these lines below its header."""
    for name, text in tables(small_studies()).items():
        (folder / name).write_text(text)
    (folder / "annotations.csv").write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    return open_root(folder)


def test_boxes_are_found_in_the_order_of_the_images(tmp_path):
    lines = ["a.png,hardware,plate,1,2,3,4,ok,", "b.png,none,,,,,,ok,", "c.png,none,,,,,,ok,a.png"]
    annotations = find_annotations(root(tmp_path, *lines), images("b.png", "a.png"))
    assert annotations["image"].tolist() == ["b.png", "a.png"]
    np.testing.assert_array_equal(annotations[BOX], [[np.nan] * 4, [1, 2, 3, 4]])


def test_a_data_set_without_annotations_gives_a_table_without_rows_that_is_read_again(tmp_path):
    data = root(tmp_path)
    (tmp_path / "annotations.csv").unlink()
    annotations = find_annotations(data, images("a.png"))
    write_csv(tmp_path / "prepared.csv", annotations)
    again = read_annotations(tmp_path / "prepared.csv")
    pd.testing.assert_frame_equal(again, annotations)
    assert again.empty and list(again.columns) == KEPT


def test_findings_and_details_are_text_and_a_detail_may_be_empty(tmp_path):
    lines = ["a.png,hardware,plate,1,2,3,4,ok,", "b.png,none,,,,,,ok,"]
    annotations = find_annotations(root(tmp_path, *lines), images("a.png", "b.png"))
    assert annotations["finding"].tolist() == ["hardware", "none"]
    assert annotations["detail"].tolist() == ["plate", ""]


def test_annotations_is_found_in_a_zip_too(tmp_path):
    root(tmp_path, "a.png,hardware,plate,1,2,3,4,ok,")
    with zipfile.ZipFile(tmp_path / "mura.zip", "w") as archive:
        for name in (*CSV_FILES, "annotations.csv"):
            archive.write(tmp_path / name, f"MURA-v1.1/{name}")
    annotations = find_annotations(open_root(tmp_path / "mura.zip"), images("a.png"))
    assert annotations[BOX].to_numpy().tolist() == [[1, 2, 3, 4]]


def test_what_was_prepared_is_what_is_read(tmp_path):
    annotations = find_annotations(
        root(tmp_path, "a.png,hardware,plate,1,2,3,4,ok,", "b.png,none,,,,,,ok,"),
        images("a.png", "b.png"),
    )
    write_csv(tmp_path / "prepared.csv", annotations)
    pd.testing.assert_frame_equal(read_annotations(tmp_path / "prepared.csv"), annotations)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.png,hardware,plate,1,2,1,4,ok,"], "line 2 .*area"),
        (["a.png,hardware,plate,1,2,3,2,ok,"], "line 2 .*area"),
        (["a.png,none,,,,,,ok,", "b.png,hardware,plate,1,,3,4,ok,"], "line 3 .*area"),
        (["a.png,,,,,,,ok,"], "line 2 .*no finding"),
        (["a.png,none,,,,,,ok,"] * 2, "line 3 .*earlier line"),
        (["a.png,hardware,plate,left,2,3,4,ok,"], "annotations.csv .*left"),
        (["b.png,none,,,,,,ok,"], "annotations.csv .*1 of 1 .*a.png"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        find_annotations(root(tmp_path, *lines), images("a.png"))


def test_a_finding_is_enough(tmp_path):
    data = root(tmp_path)
    (tmp_path / "annotations.csv").write_text("finding,reader,image\ncyst,me,a.png\n")
    annotations = find_annotations(data, images("a.png"))
    assert annotations[["finding", "detail"]].to_numpy().tolist() == [["cyst", ""]]
    assert annotations[BOX].isna().all(axis=None)


def test_a_table_of_something_else_is_refused(tmp_path):
    data = root(tmp_path)
    (tmp_path / "annotations.csv").write_text("image,label\na.png,1\n")
    with pytest.raises(InputError, match="image, label, needs image and finding"):
        find_annotations(data, images("a.png"))


@pytest.mark.parametrize(
    "text", [None, "", "image,label\na.png,1\n", "image,x0,y0,x1,y1\na,b,,,\n"]
)
def test_what_prepare_did_not_write_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "annotations.csv").write_text(text)
    with pytest.raises(InputError, match="run `dvc repro prepare`"):
        read_annotations(tmp_path / "annotations.csv")


def test_the_phantom_annotates_each_of_its_images(tmp_path):
    """Inside the data set, so that a change of one is a change of the other."""
    path = tmp_path / paths.PHANTOM_ROOT
    write_phantom(path, seed=1, patients=30, workers=1)
    found = open_root(path)
    listed = images(*sorted(list_images(found)))
    annotations = find_annotations(found, listed)
    assert annotations["image"].tolist() == listed["image"].tolist()
    assert annotations["x0"].notna().sum() > 10

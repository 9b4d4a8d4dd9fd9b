import os
from pathlib import Path

import pytest
from PIL import Image

from ulna.core import InputError
from ulna.inference.studies import Refused, ViewGroup, group_paths, parse_body_part

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
DICOM = bytes(128) + b"DICM"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two studies of MURA's layout, one of several parts, and what lies beside them."""
    for name in (
        "MURA/valid/XR_WRIST/patient00011/study1_negative/image1.png",
        "MURA/valid/XR_WRIST/patient00011/study1_negative/image2.png",
        "MURA/valid/XR_HAND/patient00012/study2_positive/image1.png",
        "other/a.png",
        "other/deep/b.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(groups) -> dict[str, list[str]]:
    return {group.study: [str(file) for file in group.files] for group in groups}


def test_each_folder_with_images_is_a_study(tree):
    (tree / "other" / "empty").mkdir()
    groups = list(group_paths(["MURA", Path("other")]))
    assert names(groups) == {
        "MURA/valid/XR_HAND/patient00012/study2_positive": [
            "MURA/valid/XR_HAND/patient00012/study2_positive/image1.png"
        ],
        "MURA/valid/XR_WRIST/patient00011/study1_negative": [
            "MURA/valid/XR_WRIST/patient00011/study1_negative/image1.png",
            "MURA/valid/XR_WRIST/patient00011/study1_negative/image2.png",
        ],
        "other": ["other/a.png"],
        "other/deep": ["other/deep/b.jpg"],
    }
    described = [(group.body_part, group.patient) for group in groups]
    assert described == [("HAND", "patient00012"), ("WRIST", "patient00011"), *[(None, None)] * 2]
    assert all(group.faults == () for group in groups)


def test_the_label_in_a_name_changes_nothing_but_the_name(tree):
    study = tree / "MURA/valid/XR_WRIST/patient00011/study1_negative"
    (before,) = group_paths([study])
    renamed = study.rename(study.with_name("study1_positive"))
    (after,) = group_paths([renamed])
    assert after == ViewGroup(
        str(renamed), before.body_part, before.patient,
        tuple(renamed / file.name for file in before.files),
    )  # fmt: skip


def test_a_file_is_a_study_but_files_of_one_mura_study_are_one(tree):
    wrist = "MURA/valid/XR_WRIST/patient00011/study1_negative"
    given = [f"{wrist}/image2.png", "other/a.png", "other/deep/b.jpg", f"{wrist}/image1.png"]
    groups = list(group_paths(given))
    assert names(groups) == {
        wrist: [f"{wrist}/image2.png", f"{wrist}/image1.png"],
        "other/a.png": ["other/a.png"],
        "other/deep/b.jpg": ["other/deep/b.jpg"],
    }
    assert groups[0].body_part == "WRIST"


def test_the_part_is_known_inside_of_the_studys_folder(tree, monkeypatch):
    monkeypatch.chdir("MURA/valid/XR_WRIST/patient00011/study1_negative")
    (group,) = group_paths(["image1.png", "image2.png"])
    assert (group.body_part, group.patient) == ("WRIST", "patient00011")
    assert [str(file) for file in group.files] == ["image1.png", "image2.png"]
    (group,) = group_paths(["."])
    assert group.body_part == "WRIST" and len(group.files) == 2


def test_one_study_of_all(tree):
    (group,) = group_paths(["other", "MURA/valid/XR_HAND"], one_study=True)
    assert group.study == "other" and group.body_part is None and len(group.files) == 3
    (group,) = group_paths(["MURA/valid/XR_HAND"], one_study=True)
    assert (group.body_part, group.patient) == ("HAND", "patient00012")


def test_what_is_named_twice_counts_once(tree):
    assert names(group_paths(["other", "other/", "./other"])) == names(group_paths(["other"]))
    assert names(group_paths(["other/a.png", "./other/a.png"])) == {"other/a.png": ["other/a.png"]}


def test_files_of_other_kinds_are_passed_over_in_folders_and_kept_by_name(tree):
    for name in (".hidden.png", "._a.png", "notes.txt", "README.md", "r.html", "t.csv", "m.zip"):
        (tree / "other" / name).write_bytes(b"text")
    (tree / "other" / "__MACOSX").mkdir()
    (tree / "other" / "__MACOSX" / "a.png").write_bytes(PNG)
    (tree / "other" / "IM0001").write_bytes(DICOM)
    (tree / "other" / "DICOMDIR").write_bytes(DICOM)
    (tree / "other" / "scan.tif").write_bytes(b"II*")
    found = names(group_paths(["other"]))["other"]
    assert found == ["other/IM0001", "other/a.png", "other/scan.tif"]
    assert names(group_paths(["other/notes.txt"])) == {"other/notes.txt": ["other/notes.txt"]}


def test_a_folder_without_images_is_named(tree):
    (tree / "empty" / "below").mkdir(parents=True)
    (tree / "empty" / "notes.txt").write_text("text")
    (group,) = group_paths(["empty"])
    fault = Refused("empty", "no PNG, JPEG or DICOM file in it")
    assert group == ViewGroup("empty", None, None, (), (fault,))


def test_a_folder_that_is_named_like_an_image_is_a_folder(tree):
    (tree / "x.png").mkdir()
    (tree / "x.png" / "a.png").write_bytes(PNG)
    assert names(group_paths(["x.png"])) == {"x.png": ["x.png/a.png"]}


def test_a_pattern_is_expanded_unless_a_file_has_that_name(tree):
    assert names(group_paths(["other/*.p?g"])) == {"other/a.png": ["other/a.png"]}
    assert list(names(group_paths(["other/**/*.[jp]*g"]))) == ["other/a.png", "other/deep/b.jpg"]
    (tree / "other" / "[1].png").write_bytes(PNG)
    assert names(group_paths(["other/[1].png"])) == {"other/[1].png": ["other/[1].png"]}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["other/*.dcm"], r"no file or folder matches other/\*\.dcm"),
        ([], "no file or folder is given"),
        (["other", ""], "one of the paths is empty"),
    ],
)
def test_a_bad_call_is_refused_before_the_first_study(tree, paths, message):
    with pytest.raises(InputError, match=message):
        group_paths(paths)


def test_a_missing_file_is_left_to_who_reads_it(tree):
    (group,) = group_paths(["gone.png"])
    assert group.files == (Path("gone.png"),)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no such files")
def test_links_in_circles_pipes_and_odd_names(tree):
    (tree / "other" / "deep" / "up").symlink_to(tree / "other")
    (tree / "other" / "self").symlink_to(tree / "other" / "self")
    os.mkfifo(tree / "other" / "pipe")
    os.mkfifo(tree / "other" / "pipe.png")
    odd = os.fsencode(tree / "other") + b"/new\nline \xff.png"
    Path(os.fsdecode(odd)).write_bytes(PNG)
    found = names(group_paths(["other"]))
    # The pipe that looks like an image is refused when it is read.
    expected = ["other/a.png", os.fsdecode(b"other/new\nline \xff.png"), "other/pipe.png"]
    assert found == {"other": expected, "other/deep": ["other/deep/b.jpg"]}


def test_a_linked_data_set_is_found(tree):
    (tree / "link").symlink_to(tree / "MURA", target_is_directory=True)
    assert [group.body_part for group in group_paths(["link"])] == ["HAND", "WRIST"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_folder_that_may_not_be_listed_is_named(tree):
    (tree / "other" / "deep").chmod(0)
    groups = list(group_paths(["other"]))
    (tree / "other" / "deep").chmod(0o755)
    assert groups[1].faults[0].path == "other/deep"


def test_a_walk_of_many_folders_holds_one_at_a_time(tree):
    for number in range(300):
        (tree / "many" / f"{number:03}").mkdir(parents=True)
        (tree / "many" / f"{number:03}" / "a.png").write_bytes(PNG)
    groups = group_paths(["many"])
    first = next(groups)
    assert first.study == "many/000"
    # Not yet reached, so not yet read.
    (tree / "many" / "200" / "b.png").write_bytes(PNG)
    assert len(names(groups)["many/200"]) == 2


def test_an_image_without_suffix_is_known_by_its_content(tree):
    Image.new("L", (4, 4)).save(tree / "other" / "deep" / "radiograph", format="PNG")
    assert names(group_paths(["other/deep"]))["other/deep"] == [
        "other/deep/b.jpg",
        "other/deep/radiograph",
    ]


@pytest.mark.parametrize(
    ("given", "part"), [(None, None), ("WRIST", "WRIST"), ("wrist", "WRIST"), ("XR_HAND", "HAND")]
)
def test_a_body_part_is_in_the_spelling_of_mura(given, part):
    assert parse_body_part(given) == part


@pytest.mark.parametrize("given", ["", "left wrist", "7", "XR_", "WRIST\n"])
def test_other_text_is_no_body_part(given):
    with pytest.raises(InputError, match="such as WRIST"):
        parse_body_part(given)

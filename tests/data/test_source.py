import re
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from mura_tree import image_names, small_studies, tables, write_folder, write_zip

from ulna.core import InputError
from ulna.data import source
from ulna.data.source import (
    check_root,
    display_path,
    image_reader,
    list_images,
    open_root,
    read_file,
)

TABLES = tables(small_studies())
IMAGE = "train/XR_WRIST/patient00002/study1_negative/image3.png"


def open_zip_with(path: Path, entry: str | zipfile.ZipInfo, content: bytes = b"x") -> None:
    write_zip(path, TABLES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, content)
    open_root(path)


def test_a_folder_is_found_at_its_top_and_one_level_down(tmp_path):
    write_folder(tmp_path / "data" / "MURA-v1.1", TABLES)
    at_top, above = open_root(tmp_path / "data" / "MURA-v1.1"), open_root(tmp_path / "data")
    assert (at_top.folder, above.folder) == ("", "MURA-v1.1/")
    assert list_images(at_top) == list_images(above) == set(image_names(TABLES))


@pytest.mark.parametrize("folder", ["", "MURA-v1.1/", "downloads/MURA-v1.1/"])
def test_a_zip_is_found_up_to_two_levels_down(tmp_path, folder):
    root = open_root(write_zip(tmp_path / "mura.zip", TABLES, folder))
    assert root.folder == folder
    assert list_images(root) == set(image_names(TABLES))


def test_a_zip_with_the_tables_three_levels_down_is_not_a_data_set(tmp_path):
    with pytest.raises(InputError, match="mura.zip"):
        open_root(write_zip(tmp_path / "mura.zip", TABLES, "a/b/c/"))


def test_companions_of_macos_are_ignored(tmp_path):
    folder = write_folder(tmp_path / "MURA-v1.1", TABLES)
    archive = write_zip(tmp_path / "mura.zip", TABLES)
    companion = IMAGE.replace("image3", "._image3")
    (folder / companion).touch()
    with zipfile.ZipFile(archive, "a") as added:
        added.writestr(f"MURA-v1.1/{companion}", b"")
        added.writestr(f"__MACOSX/MURA-v1.1/{companion}", b"")
        added.writestr("__MACOSX/train_image_paths.csv", b"")
        added.writestr("__MACOSX/._train_image_paths.csv", b"")
    for path in (folder, archive):
        assert list_images(open_root(path)) == set(image_names(TABLES))


def test_only_images_below_train_and_valid_are_listed(tmp_path):
    folder = write_folder(tmp_path / "MURA-v1.1", TABLES)
    stray = "train/XR_WRIST/patient00002/stray.JPG"
    for name in ("other.png", "train/notes.txt", stray):
        (folder / name).touch()
    assert list_images(open_root(folder)) - set(image_names(TABLES)) == {stray}


def test_folders_that_link_to_each_other_end(tmp_path):
    folder = write_folder(tmp_path / "MURA-v1.1", TABLES)
    (folder / "train" / "XR_LOOP").symlink_to(folder / "train")
    assert set(image_names(TABLES)) <= list_images(open_root(folder))


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_the_reader_gives_the_bytes_of_an_image(tmp_path, form):
    path = tmp_path / form
    if form == "folder":
        (write_folder(path, TABLES) / IMAGE).write_bytes(b"pixels")
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in {**TABLES, IMAGE: b"pixels"}.items():
                archive.writestr(f"MURA-v1.1/{name}", content)
    assert image_reader(path)(IMAGE) == b"pixels"


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_missing_image_is_an_error_that_names_it(tmp_path, form):
    path = tmp_path / form
    write_folder(path, TABLES) if form == "folder" else write_zip(path, TABLES)
    with pytest.raises(InputError, match="image9.png"):
        image_reader(path)(IMAGE.replace("image3", "image9"))


@pytest.mark.promise("D27")
@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("name", ["../secret", "train/../../secret", "/etc/passwd", "C:/x", "a\\b"])
def test_the_reader_refuses_a_path_that_leads_outside(tmp_path, form, name):
    path = tmp_path / form
    write_folder(path, TABLES) if form == "folder" else write_zip(path, TABLES)
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(InputError, match=re.escape(name)):
        image_reader(path)(name)


@pytest.mark.promise("D27")
@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "MURA-v1.1/../../e", "C:\\e", "a\\b"])
def test_a_zip_with_an_entry_that_leads_outside_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="mura.zip"):
        open_zip_with(tmp_path / "mura.zip", name)


@pytest.mark.promise("D27")
def test_a_zip_with_a_link_is_refused(tmp_path):
    entry = zipfile.ZipInfo("MURA-v1.1/train/link.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(InputError, match="MURA-v1.1/train/link.png"):
        open_zip_with(tmp_path / "mura.zip", entry, b"/etc/passwd")


@pytest.mark.promise("D27")
def test_a_zip_with_a_method_that_unpacks_without_a_bound_is_refused(tmp_path):
    entry = zipfile.ZipInfo("MURA-v1.1/train/a.png")
    entry.compress_type = zipfile.ZIP_LZMA
    with pytest.raises(InputError, match="MURA-v1.1/train/a.png"):
        open_zip_with(tmp_path / "mura.zip", entry)


def test_a_zip_with_an_entry_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning), pytest.raises(InputError, match=IMAGE):
        open_zip_with(tmp_path / "mura.zip", f"MURA-v1.1/{IMAGE}")


@pytest.mark.promise("D27")
def test_nothing_is_unpacked_and_a_zip_stays_as_it_is(tmp_path):
    path = write_zip(tmp_path / "mura.zip", TABLES)
    before = path.read_bytes()
    root = open_root(path)
    list_images(root)
    read_file(root, IMAGE)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


@pytest.mark.promise("D27")
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path, form, monkeypatch):
    monkeypatch.setattr(source, "MAX_FILE_BYTES", 10)
    path = tmp_path / form
    if form == "folder":
        (write_folder(path, TABLES) / IMAGE).write_bytes(bytes(11))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in (*TABLES, IMAGE):
                archive.writestr(name, bytes(11))
    with pytest.raises(InputError, match="11 .* 10"):
        image_reader(path)(IMAGE)


@pytest.mark.promise("D27")
def test_a_zip_entry_that_lies_about_its_size_takes_little_memory(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in TABLES:
            archive.writestr(name, "")
        archive.writestr(IMAGE, bytes(2**26))
    # The stated size stands in the directory at the end of the file and before the entry.
    truth, lie = struct.pack("<L", 2**26), struct.pack("<L", 1000)
    path.write_bytes(path.read_bytes().replace(truth, lie))
    read = image_reader(path)
    tracemalloc.start()
    with pytest.raises(InputError, match=IMAGE):
        read(IMAGE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_damaged_zip_is_refused(tmp_path):
    path = tmp_path / "mura.zip"
    write_zip(path, TABLES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="mura.zip"):
        open_root(path)


def test_a_damaged_entry_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "mura.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in TABLES:
            archive.writestr(name, "")
        archive.writestr(IMAGE, b"PIXELS")
    path.write_bytes(path.read_bytes().replace(b"PIXELS", b"PIXELX"))
    with pytest.raises(InputError, match=r"image3.png .*CRC-32"):
        image_reader(path)(IMAGE)


def test_a_root_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        open_root(tmp_path / "nowhere")


@pytest.mark.parametrize("lacking", source.CSV_FILES)
def test_a_root_without_one_of_the_four_tables_is_an_error_that_names_all(tmp_path, lacking):
    folder = write_folder(tmp_path / "MURA-v1.1", TABLES)
    (folder / lacking).unlink()
    with pytest.raises(InputError) as caught:
        open_root(folder)
    assert all(name in str(caught.value) for name in source.CSV_FILES)


def test_a_folder_of_several_data_sets_is_an_error_that_names_them(tmp_path):
    for name in ("one", "two"):
        write_folder(tmp_path / name, TABLES)
    with pytest.raises(InputError, match="one/, two/"):
        open_root(tmp_path)


@pytest.mark.parametrize("place_of", ["folder", "inside", "zip", "zip name", "link"])
def test_mura_v1_0_is_refused_because_it_carried_patient_data(tmp_path, place_of):
    path = tmp_path / "MURA-v1.0"
    if place_of == "zip":
        path = write_zip(tmp_path / "mura.zip", TABLES, "MURA-v1.0/")
    elif place_of == "zip name":
        path = write_zip(tmp_path / "mura-v1.0.zip", TABLES)
    else:
        write_folder(path, TABLES)
    if place_of == "inside":
        path = tmp_path
    if place_of == "link":
        path = tmp_path / "data"
        path.symlink_to(tmp_path / "MURA-v1.0")
    with pytest.raises(InputError, match="MURA.v1.0"):
        open_root(path)


def test_a_file_is_named_by_its_whole_path(tmp_path):
    root = open_root(write_zip(tmp_path / "mura.zip", TABLES))
    assert display_path(root, "a.csv") == f"{tmp_path}/mura.zip/MURA-v1.1/a.csv"


@pytest.mark.parametrize(
    ("asked", "beside"),
    [("MURA-v1.1", "mura-V1.1"), ("MURA-v1.1", "MURA-v1.1.zip"), ("mura.zip", "MURA")],
)
def test_a_missing_data_set_that_lies_beside_under_another_name_is_named(tmp_path, asked, beside):
    (tmp_path / beside).mkdir()
    with pytest.raises(InputError, match=f"did you mean .*{beside}\\?"):
        open_root(tmp_path / asked)


def test_a_missing_or_empty_data_set_is_said_to_be_had_from_stanford(tmp_path):
    for path, fault in ((tmp_path, "is empty"), (tmp_path / "mura", "does not exist")):
        with pytest.raises(InputError, match=f"{fault}: put a data set .* Stanford .*https://"):
            open_root(path)


def test_in_the_copy_of_an_experiment_a_missing_data_set_is_explained(tmp_path, monkeypatch):
    copy = tmp_path / ".dvc/tmp/exps/abc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(InputError, match="only what git or DVC tracks"):
        open_root(Path("data/MURA-v1.1"))


def test_a_data_set_that_dvc_makes_may_be_missing_and_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        check_root(Path("made"))  # outside of a repository
    for folder in (".git", ".dvc"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    (tmp_path / "dvc.yaml").write_text("stages:\n  make:\n    cmd: 'true'\n    outs: [made]\n")
    assert check_root(Path("made/MURA")) == "made or fetched by DVC"
    with pytest.raises(InputError, match="does not exist"):
        check_root(Path("other"))
    write_folder(tmp_path / "other", TABLES)
    assert check_root(Path("other")) == "a folder"
    assert check_root(write_zip(tmp_path / "other.zip", TABLES)) == "a .zip"

"""The command `ulna predict`, from its arguments to its files, with bundles known by arithmetic."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
from bundles import tiny_bundle, tiny_logit
from dicom_files import make
from PIL import Image

from ulna import cli
from ulna.core.aggregation import sigmoid
from ulna.inference import outputs, predict, text, writers
from ulna.inference.predictor import Predictor
from ulna.inference.studies import group_paths

ROOT = Path(__file__).resolve().parents[2]


def save(path, grey):
    """A square picture of one grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((32, 32), grey, np.uint8)).save(path)
    return path


def probability(grey):
    return sigmoid(np.float32(tiny_logit(np.full((32, 32), grey))))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to stand in: a bundle, a study of two views and one of one view."""
    tiny_bundle(tmp_path / "tiny")
    save(tmp_path / "in/bright/1.png", 250)
    save(tmp_path / "in/bright/2.png", 200)
    save(tmp_path / "in/dark/1.png", 50)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ulna(*arguments, bundle="tiny"):
    """Run `ulna predict`; its exit code."""
    try:
        cli.main("predict", *map(str, arguments), *(["--bundle", bundle] if bundle else []))
    except SystemExit as ended:
        return ended.code
    return 0


def fail(capsys, *arguments, **options):
    """The one sentence of a bad call."""
    assert ulna(*arguments, **options) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("predict: ") and shown.err.count("\n") == 1, shown.err
    return shown.err


def test_studies_are_answered_as_arithmetic_says(place, capsys):
    assert ulna("in", "--json", "-") == 0
    shown = capsys.readouterr()
    bright, dark = map(json.loads, shown.out.splitlines())
    assert shown.err == ""
    for record in (bright, dark):
        jsonschema.validate(record, json.loads(outputs.SCHEMA.read_text()))
    mean = (probability(250) + probability(200)) / 2
    assert bright["probability"] == pytest.approx(mean, abs=1e-6)
    assert [view["image"] for view in bright["views"]] == ["in/bright/1.png", "in/bright/2.png"]
    assert (bright["study"], bright["decision"]) == ("in/bright", "abnormal")
    assert (dark["study"], dark["decision"]) == ("in/dark", "normal")


def test_the_text_names_bundle_decision_threshold_and_purpose(place, capsys):
    assert ulna("in") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("CNN, the bundle tiny, trained on 100 drawn studies")
    assert "  ABNORMAL  probability 0.8" in shown and "Youden's J on 40 val studies" in shown
    assert "not shown to be calibrated" in shown
    assert "2 studies answered, 1 abnormal; 0 files refused\n" in shown
    assert shown.endswith(f"{text.DISCLAIMER}\n") and shown.count(text.DISCLAIMER) == 1
    assert max(map(len, shown.splitlines())) <= 120


def test_many_studies_take_a_line_each(place, capsys, monkeypatch):
    monkeypatch.setattr(predict, "IN_FULL", 1)
    assert ulna("in") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-5:-3]] == ["abnormal", "normal"]
    assert lines[-5].endswith(" in/bright  [body part unknown]")
    assert lines[-2] == "Warnings: 2 body part unknown"


def test_quiet_is_quiet(place, capsys):
    assert ulna("in", "--csv", "a.csv", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_the_body_part_of_the_call_chooses_the_threshold(place, capsys):
    assert ulna("in/bright", "--body-part", "xr_wrist", "--json", "-") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["body_part"], record["threshold"]) == ("WRIST", 0.6)


def test_the_table_has_the_columns_of_a_prediction_table(place):
    save(place / "tree/XR_WRIST/patient00011/study1_negative/image1.png", 250)
    assert ulna("tree", "--csv", "table.csv") == 0
    (row,) = csv.DictReader((place / "table.csv").read_text().splitlines())
    assert tuple(row) == writers.CSV_COLUMNS
    assert (row["patient"], row["body_part"]) == ("patient00011", "WRIST")
    assert row["split"] == row["label"] == ""
    assert float(row["probability"]) == pytest.approx(sigmoid(float(row["logit"])), abs=1e-9)


def test_good_files_are_answered_and_bad_ones_named(place, capsys):
    (place / "in/bright/3.png").write_text("no picture")
    assert ulna("in") == 2
    shown = capsys.readouterr().out
    assert "refused  3.png: neither PNG" in shown
    assert text.WARNINGS["refused_views"].split(";")[0] in shown
    assert "2 studies answered, 1 abnormal; 1 file refused\n" in shown
    assert ulna("in", "--json", "-") == 2
    shown = capsys.readouterr()
    assert all(json.loads(line) for line in shown.out.splitlines())
    assert "in/bright/3.png: neither PNG" in shown.err


def test_a_study_without_a_readable_view_is_no_answer(place, capsys):
    (place / "note.txt").write_text("no picture")
    assert (
        ulna("note.txt", "in/dark", "--csv", "a.csv", "--json", "a.json", "--report", "a.html") == 2
    )
    assert "no answer: no view could be read" in capsys.readouterr().out
    first, second = map(json.loads, (place / "a.json").read_text().splitlines())
    assert first["probability"] is None and second["decision"] == "normal"
    assert len((place / "a.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("absent.png", lambda path: None, "no such file"),
        ("empty", Path.mkdir, "no PNG, JPEG or DICOM file in it"),
        ("folder.png", Path.mkdir, "no PNG, JPEG or DICOM file in it"),
        ("pipe.png", os.mkfifo, "a pipe, not a file"),
        (
            "note.txt",
            lambda path: path.write_text("a note"),
            "neither PNG nor JPEG nor DICOM by its content",
        ),
        ("none.png", Path.touch, "the file is empty"),
    ],
)
def test_what_is_no_radiograph_is_named_and_the_rest_answered(name, make, reason, place, capsys):
    make(place / name)
    assert ulna("in/dark", name) == 2
    shown = capsys.readouterr().out
    assert f"refused  {name}: {reason}" in shown and "1 study answered" in shown


def test_a_call_without_a_path_is_a_bad_call(place, capsys):
    assert ulna() == 1
    assert "PATH" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["in", "--body-part", "the wrist"], "expected a word, such as WRIST"),
        (["in", "--threads", "0"], "give 1 or more"),
        (["in", "--json", "in"], "in is no file"),
        (["in", "--csv", "/dev/null"], "/dev/null is no file"),
        (["in", "--json", "a", "--csv", "./a"], "two outputs have the same name"),
        (["in", "--json", "in/dark/1.png"], "would be read and written"),
        (["in", "--cam", "in/dark/1.png"], "is a file: name a folder"),
        (["in", "--cam", "in/overlays"], "lies in in, which is read"),
        (["in", "--csv", "in/dark/1.png/a.csv"], "in/dark/1.png"),
        (["*.tiff"], "no file or folder matches *.tiff"),
    ],
)
def test_a_bad_call_ends_in_a_sentence_and_changes_nothing(arguments, words, place, capsys):
    before = {path: path.is_file() and path.read_bytes() for path in place.rglob("*")}
    assert words in fail(capsys, *arguments)
    assert {path: path.is_file() and path.read_bytes() for path in place.rglob("*")} == before


def test_no_bundle_names_the_command_that_makes_one(place, capsys, monkeypatch):
    assert "dvc repro bundle@" in fail(capsys, "in", bundle="absent")
    monkeypatch.setattr("ulna.inference.bundle.DEFAULT", place / "none")
    monkeypatch.setattr(predict, "REPOSITORY", place)
    assert "dvc repro bundle@" in fail(capsys, "in", bundle=None)


def test_a_damaged_or_newer_bundle_is_refused(place, capsys):
    record = json.loads((place / "tiny/bundle.json").read_text())
    (place / "tiny/bundle.json").write_text(json.dumps({**record, "schema_version": 99}))
    assert "newer ulna" in fail(capsys, "in")
    (place / "tiny/bundle.json").write_text(json.dumps(record))
    (place / "tiny/model.onnx").write_bytes(b"other weights")
    assert "SHA-256" in fail(capsys, "in")


def test_the_bundle_of_the_repository_is_used_from_inside_of_it(place, capsys, monkeypatch):
    (place / ".dvc").mkdir()
    (place / "tiny").rename(place / "cnn")
    (place / "bundles").mkdir()
    (place / "cnn").rename(place / "bundles/cnn")
    monkeypatch.chdir(place / "in")
    assert ulna("dark/1.png", bundle=None) == 0
    assert "this repository's bundle cnn" in capsys.readouterr().out
    (place / "elsewhere").mkdir()
    monkeypatch.setattr(predict, "REPOSITORY", place)
    monkeypatch.setattr(predict, "find_root", lambda: place / "elsewhere")
    assert ulna("dark/1.png", bundle=None) == 0
    assert "this repository's bundle cnn" in capsys.readouterr().out


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0"])
def test_paths_are_read_from_standard_input(end, place, capsys, monkeypatch):
    with (place / "list").open("wb") as file:
        file.write(f"in/dark/1.png{end}in/bright/1.png{end}".encode())
    with (place / "list").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert ulna("-", "--json", "-") == 0
    names = [json.loads(line)["study"] for line in capsys.readouterr().out.splitlines()]
    assert names == ["in/dark/1.png", "in/bright/1.png"]


def test_an_overlay_has_the_size_of_its_picture(place):
    Image.fromarray(np.full((50, 90), 250, np.uint8)).save(place / "in/dark/2.png")
    assert ulna("in/dark", "--cam", "deep/overlays", "--json", "a.json") == 0
    (record,) = map(json.loads, (place / "a.json").read_text().splitlines())
    sizes = [(view["width_px"], view["height_px"]) for view in record["views"]]
    drawn = []
    for view in record["views"]:
        with Image.open(place / "deep/overlays" / view["overlay"]) as image:
            drawn.append((image.size, image.mode))
    assert drawn == [(size, "RGB") for size in sizes] and sizes == [(32, 32), (90, 50)]


def test_a_picture_that_is_gone_before_its_overlay_costs_the_overlay(place, capsys, monkeypatch):
    explain, gone = Predictor.explain, "in/bright/1.png"

    def remove(self, path):
        if path == gone:
            os.remove(path)
        return explain(self, path)

    monkeypatch.setattr(Predictor, "explain", remove)
    assert ulna("in", "--cam", "overlays", "--json", "a.json") == 0
    records = map(json.loads, (place / "a.json").read_text().splitlines())
    views = {view["image"]: view["overlay"] for record in records for view in record["views"]}
    assert [path for path, overlay in views.items() if overlay is None] == [gone]
    assert f"{gone}: no overlay, no such file" in capsys.readouterr().err
    assert len(list((place / "overlays").iterdir())) == 2


@pytest.mark.parametrize("option", ["--cam", "--report"])
def test_a_file_without_maps_in_it_is_a_bad_call(option, place, capsys):
    folder = tiny_bundle(place / "odd")
    record = json.loads((folder / "bundle.json").read_text())
    shutil.copy(folder / "model.onnx", folder / "maps.onnx")
    record["files"]["maps.onnx"] = record["files"]["model.onnx"]
    (folder / "bundle.json").write_text(json.dumps(record))
    assert "odd: cnn is no network" in fail(capsys, "in", option, "out", bundle="odd")
    assert not (place / "out").exists()


def test_overlays_lie_in_no_folder_that_a_pattern_matches(place, capsys):
    assert "which is read" in fail(capsys, "in/b*", "--cam", "in/bright/overlays")


def test_overlays_may_lie_where_the_user_stands(place):
    assert ulna("in", "--cam", ".") == 0
    assert len(list(place.glob("in_*.png"))) == 3


def test_a_listed_name_is_no_pattern(place, capsys, monkeypatch):
    listed = SimpleNamespace(buffer=io.BytesIO(b"in/[bd]*/1.png\nin/dark/1.png\n"))
    monkeypatch.setattr(sys, "stdin", listed)
    assert ulna("-", "--json", "-") == 2
    shown = capsys.readouterr()
    assert "in/[bd]*/1.png: no such file" in shown.err and len(shown.out.splitlines()) == 2


def test_a_file_of_the_same_size_and_time_is_another(place):
    (group,) = group_paths(["in/dark/1.png"])
    before, status = predict._digest(group), os.stat("in/dark/1.png")
    data = Path("in/dark/1.png").read_bytes()
    time.sleep(0.02)
    Path("in/dark/1.png").write_bytes(data[::-1])
    os.utime("in/dark/1.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert predict._digest(group) != before


def test_a_bundle_cannot_move_the_cursor(place, capsys):
    tiny_bundle(place / "odd", title="CNN\x1b[2J\nx")
    assert ulna("in", bundle="odd") == 0
    assert r"CNN\x1b[2J\nx" in capsys.readouterr().out


def test_maps_that_failed_their_test_are_not_drawn(place, capsys):
    tiny_bundle(place / "mapless", maps=False)
    assert "no activation maps" in fail(capsys, "in", "--cam", "overlays", bundle="mapless")
    assert not (place / "overlays").exists()
    assert ulna("in", "--report", "a.html", bundle="mapless") == 0
    shown = (place / "a.html").read_text()
    assert shown.count("<img") == 3 and "orange" not in shown


def test_the_report_has_a_picture_and_a_map_of_every_view(place, capsys):
    assert ulna("in", "--report", "deep/page.html") == 0
    assert (place / "deep/page.html").read_text().count("data:image/jpeg;base64,") == 6
    assert "written: deep/page.html" in capsys.readouterr().out


ALL = ("--json", "out/a.json", "--csv", "out/a.csv", "--report", "out/a.html", "--cam", "out/cam")


def written(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_broke_off_ends_in_the_bytes_of_one_that_did_not(place, capsys, monkeypatch):
    for number in range(6):
        save(place / f"in/more/{number}/1.png", 10 * number)
    assert ulna("in", *ALL) == 0
    whole = written(place / "out")
    (place / "out").rename(place / "whole")
    capsys.readouterr()
    make_record, seen = predict.make_record, []

    def stop_after_three(study, *others):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(study.study)
        return make_record(study, *others)

    monkeypatch.setattr(predict, "make_record", stop_after_three)
    assert ulna("in", *ALL) == 130
    assert "3 studies are kept" in capsys.readouterr().err
    assert {"a.json", "a.csv", "a.html"}.isdisjoint(written(place / "out"))

    def note(study, *others):
        seen.append(study.study)
        return make_record(study, *others)

    monkeypatch.setattr(predict, "make_record", note)
    # One of the three that are done has changed since, so it is done again.
    changed = Path(seen[1]) / "1.png"
    time.sleep(0.01)
    changed.touch()
    assert ulna("in", *ALL) == 0
    assert "going on after 2 of 8 studies" in capsys.readouterr().err
    assert len(seen) == 3 + 6 and seen.count(str(changed.parent)) == 2
    assert written(place / "out") == whole


def test_records_of_another_body_part_are_not_gone_on_with(place, capsys, monkeypatch):
    make_record = predict.make_record

    def stop_after_the_first(study, *others):
        if study.study != "in/bright":
            raise KeyboardInterrupt
        return make_record(study, *others)

    monkeypatch.setattr(predict, "make_record", stop_after_the_first)
    assert ulna("in", "--json", "a.json") == 130
    monkeypatch.setattr(predict, "make_record", make_record)
    assert ulna("in", "--json", "a.json", "--body-part", "WRIST") == 0
    assert "going on" not in capsys.readouterr().err
    lines = (place / "a.json").read_text().splitlines()
    assert {json.loads(line)["threshold"] for line in lines} == {0.6}


def start(*arguments, cwd, **options):
    """Run it in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "ulna"), "predict", *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.slow
@pytest.mark.promise("H46")
def test_a_killed_run_ends_in_the_bytes_of_one_that_was_not(place):
    for number in range(250):
        save(place / f"in/more/{number:03}/1.png", number % 250)
    first = start("in", "--bundle", "tiny", *ALL, cwd=place)
    assert first.communicate() and first.returncode == 0
    whole = written(place / "out")
    (place / "out").rename(place / "whole")
    journal = place / "out/a.json.partial"
    for studies in (20, 90, 150):
        with start("in", "--bundle", "tiny", *ALL, cwd=place) as process:
            while not (journal.exists() and journal.read_bytes().count(b"\n") > studies):
                assert process.poll() is None
                time.sleep(0.005)
            process.kill()
    process = start("in", "--bundle", "tiny", *ALL, cwd=place)
    assert "going on after" in process.communicate()[1]
    assert process.returncode == 0
    assert written(place / "out") == whole


def peak_memory(place, names, *arguments):
    """Predict a list of files; the exit code, what is printed, and the peak of the memory in MB."""
    program = (
        "import sys; from ulna import cli\n"
        "try:\n    cli.main('predict', '-', *sys.argv[1:])\n"
        "finally:\n"
        "    print(next(line for line in open('/proc/self/status') if 'VmHWM' in line))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--bundle", "tiny", *arguments],
        input="\n".join(names),
        cwd=place,
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, int(done.stdout.split()[-2]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory is not told")
def test_of_10000_files_three_are_broken(place):
    """Each a link to one picture; the memory is that of a few studies."""
    (place / "many").mkdir()
    source = save(place / "one.png", 30)
    names = [f"many/{number:05}.png" for number in range(10_000)]
    for name in names:
        os.link(source, place / name)
    for number in (700, 5000, 9999):
        (place / names[number]).unlink()
        (place / names[number]).write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR broken")
    code, _, few = peak_memory(place, names[:100], "--csv", "few.csv")
    assert code == 0
    code, shown, many = peak_memory(place, names, "--csv", "a.csv")
    assert code == 2
    assert (
        "9,997 studies answered, 0 abnormal; 3 files refused:\n  many/00700.png: damaged" in shown
    )
    assert len((place / "a.csv").read_text().splitlines()) == 9_998
    assert not (place / "a.csv.partial").exists()
    # 1 to 3 MB were seen, of the digests of the studies.
    assert many < few + 15


@pytest.mark.promise("D29")
def test_nothing_that_identifies_a_person_is_put_out(place, capsys):
    secrets = {
        "PatientName": "Canary^Yellow", "PatientID": "CANARY-17", "PatientBirthDate": "19331217",
        "InstitutionName": "Canary Hospital", "StudyDescription": "canary study",
        "StudyInstanceUID": "1.2.840.17171717", "AccessionNumber": "CANARY99",
    }  # fmt: skip
    (place / "in/dicom").mkdir()
    pixels = np.full((32, 32), 900, np.uint16)
    whole = make(pixels, BitsStored=10, BodyPartExamined="WRIST", **secrets)
    (place / "in/dicom/1.dcm").write_bytes(whole)
    (place / "in/dicom/2.dcm").write_bytes(make(pixels, Modality="MR", **secrets))
    (place / "in/dicom/3.dcm").write_bytes(whole[:-700])
    assert ulna("in/dicom", *ALL) == 2
    assert ulna("in/dicom", "--json", "-") == 2
    shown = "".join(capsys.readouterr())
    (record,) = map(json.loads, (place / "out/a.json").read_text().splitlines())
    assert record["body_part"] == "WRIST" and len(record["refused"]) == 2
    for data in (shown.encode(), *written(place / "out").values()):
        for secret in secrets.values():
            assert secret.encode() not in data and secret.lower().encode() not in data


def test_nobody_needs_to_read_to_the_end(place):
    with start("in", "--bundle", "tiny", cwd=place) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_that_cannot_be_shown_are_answered(encoding, place):
    name = os.fsencode("in/é\n\x1b[2J") + b"\xff.png"
    (place / "in/dark/1.png").rename(os.fsdecode(os.fsencode(place) + b"/" + name))
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    process = start("in", "--bundle", "tiny", *ALL, cwd=place, env=environment)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "\x1b" not in out
    with (place / "out/a.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 3


def test_folders_in_the_way_change_nothing(place):
    """Named like packages, in the working directory: none is imported."""
    for name in ("dl", "onnx", "onnxruntime", "PIL"):
        (place / name).mkdir()
        (place / name / "__init__.py").write_text("raise SystemExit('shadowed')")
    (place / "numpy.py").write_text("raise SystemExit('shadowed')")
    process = start("in", "--bundle", "tiny", cwd=place)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "2 studies answered" in out


def test_nothing_heavy_is_imported(place):
    program = (
        "import sys; from ulna import cli\n"
        "cli.main('predict', 'in', '--bundle', 'tiny', '--report', 'a.html', '--cam', 'cam')\n"
        "heavy = 'tensorflow keras pandas scipy dvc psutil pydantic matplotlib h5py pydicom'\n"
        "sys.exit(' '.join(set(heavy.split()) & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=place,
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

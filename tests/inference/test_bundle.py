"""The bundle: what is read is what was written, and nothing else is read."""

import hashlib
import json
import os
import pathlib
import shutil
import stat
import tracemalloc
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest
from bundles import OFFSET, tiny_bundle, tiny_logit, tiny_map, tiny_onnx, tiny_record

from ulna.core import InputError
from ulna.inference import bundle as module
from ulna.inference.bundle import SCHEMA, find_bundle, load_bundle, write_bundle
from ulna.inference.bundle_files import MAX_RECORD_BYTES, RECORD

FILES = ("MODEL_CARD.md", "bundle.json", "maps.onnx", "model.onnx")
SYMLINK = stat.S_IFLNK | 0o777


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "cnn")


@pytest.fixture
def folder(made, tmp_path):
    """A bundle to be broken."""
    return shutil.copytree(made, tmp_path / "cnn")


def edit(folder, **changes):
    """Change top-level keys of bundle.json, ... removes one."""
    path = folder / "bundle.json"
    record = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not ...}))


def zipped(path, files, method=zipfile.ZIP_STORED):
    """A zip of name or ZipInfo -> bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for entry, data in files.items():
            archive.writestr(entry, data)
    return path


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def refused(path, *words):
    with pytest.raises(InputError) as error:
        load_bundle(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message, message


def run_onnx(model, squares):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": squares[..., None]})


@pytest.mark.promise("H45")
def test_a_bundle_is_read_as_it_was_written(made):
    bundle = load_bundle(made)
    record = json.loads((made / "bundle.json").read_text())
    assert bundle.record == record
    files = record.pop("files")
    assert record == tiny_record()
    assert bundle.sha256 == hashlib.sha256((made / "bundle.json").read_bytes()).hexdigest()
    assert files == {
        name: hashlib.sha256((made / name).read_bytes()).hexdigest()
        for name in FILES
        if name != "bundle.json"
    }
    assert bundle.name == "cnn"
    assert (bundle.size_px, bundle.fit, bundle.max_megapixels) == (32, "pad", 50)
    assert bundle.aggregation == "mean_probability"
    assert bundle.body_parts == ("HAND", "WRIST")
    assert bundle.has_maps
    thresholds = [bundle.threshold(part) for part in ("WRIST", "HAND", "ELBOW", None)]
    assert thresholds == [0.6, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read_as_its_folder(made, tmp_path, method):
    packed = load_bundle(zipped(tmp_path / "cnn.zip", contents(made), method))
    plain = load_bundle(made)
    assert (packed.record, packed.members, packed.sha256) == (
        plain.record,
        plain.members,
        plain.sha256,
    )
    assert packed.source == str(tmp_path / "cnn.zip")


def test_links_of_dvc_and_hidden_files_of_the_system_do_no_harm(made, tmp_path):
    """`dvc config cache.type symlink` makes every file a link into the cache."""
    folder = tmp_path / "linked"
    folder.mkdir()
    for name in FILES:
        (folder / name).symlink_to(made / name)
    (folder / ".DS_Store").write_bytes(b"x")
    assert load_bundle(folder).sha256 == load_bundle(made).sha256


def test_the_tiny_networks_compute_what_their_arithmetic_says(tmp_path):
    squares = np.random.default_rng(1).integers(0, 256, (3, 32, 32), np.uint8)
    bundle = load_bundle(tiny_bundle(tmp_path / "two", members=2))
    for number, member in enumerate(bundle.members, start=1):
        (logits,) = run_onnx(member.model, squares)
        again, maps = run_onnx(member.maps, squares)
        expected = [tiny_logit(square, number) for square in squares]
        assert np.allclose(logits[:, 0], expected, atol=1e-6)
        assert np.array_equal(logits, again)
        assert np.allclose(maps, [tiny_map(square, number) for square in squares], atol=1e-6)


def test_a_bundle_without_maps_has_none(tmp_path):
    bundle = load_bundle(tiny_bundle(tmp_path / "two", members=2, maps=False))
    assert [member.maps for member in bundle.members] == [None, None]
    assert not bundle.has_maps


def test_the_schema_is_valid_by_another_implementation(tmp_path):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    record = json.loads((tiny_bundle(tmp_path / "tiny", members=3) / "bundle.json").read_text())
    jsonschema.validate(record, schema, cls=jsonschema.Draft7Validator)


def test_writing_is_all_or_nothing(made, tmp_path):
    files = contents(made)
    files.pop("bundle.json")
    record = tiny_record()
    target = tmp_path / "cnn"
    write_bundle(target, record, files)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    for broken, lacking in ((record | {"title": ""}, ()), (record, ("maps.onnx",))):
        kept = {name: data for name, data in files.items() if name not in lacking}
        with pytest.raises(InputError):
            write_bundle(target, broken, kept)
        assert {path.name: path.read_bytes() for path in target.iterdir()} == before
        assert os.listdir(tmp_path) == ["cnn"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema_version": 2}, ["newer ulna", "version 2", "update"]),
        ({"schema_version": ...}, ["no schema_version"]),
        ({"schema_version": True}, ["no schema_version"]),
        ({"title": 7}, ["title", "string"]),
        ({"threshold": ...}, ["threshold"]),
        ({"not_for_clinical_use": False}, ["not_for_clinical_use"]),
        ({"image": {"size_px": 32, "fit": "crop", "max_megapixels": 50}}, ["image.fit"]),
        ({"image": {"size_px": 2, "fit": "pad", "max_megapixels": 50}}, ["image.size_px"]),
        ({"surprise": 1}, ["surprise"]),
        ({"body_parts": {"../x": {}}}, ["body_parts"]),
        ({"networks": tiny_record(members=2)["networks"]}, ["cnn.onnx", "agree"]),
        ({"networks": tiny_record()["networks"] * 2}, ["twice"]),
    ],
)
def test_a_record_that_breaks_the_schema_is_refused_by_key(folder, changes, words):
    edit(folder, **changes)
    refused(folder, "bundle.json" if "newer" not in words[0] else "", *words)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "[" * 100_000,
        '{"schema_version": NaN}',
        "\xff",
        '{"schema_version": 1e999}',
        f'{{"schema_version": 1{"0" * 400}}}',
    ],
)
def test_what_is_no_json_object_is_refused(folder, text):
    (folder / "bundle.json").write_bytes(text.encode("latin-1"))
    refused(folder, "bundle.json", "dvc repro")


@pytest.mark.promise("D25")
@pytest.mark.parametrize("name", ["model.onnx", "maps.onnx", "MODEL_CARD.md"])
def test_a_changed_file_is_refused(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    refused(folder, name, "SHA-256", "copy the bundle again")
    refused(zipped(folder / "x.zip", contents(folder)), name, "SHA-256")


def test_missing_and_extra_files_are_named(folder):
    (folder / "notes.txt").write_text("x")
    refused(folder, "has besides notes.txt")
    (folder / "notes.txt").unlink()
    (folder / "maps.onnx").unlink()
    refused(folder, "lacks maps.onnx")
    (folder / "maps.onnx").mkdir()
    refused(folder, "maps.onnx in it is no file")


def test_what_is_no_bundle_is_refused_with_what_to_do(folder, tmp_path):
    refused(tmp_path / "bundles" / "densenet169", "does not exist", "dvc repro bundle@densenet169")
    refused(tmp_path / "bundles" / "ensemble", "dvc repro bundle_ensemble")
    refused(tmp_path / "elsewhere", "dvc repro bundle@cnn", "dvc pull bundle@cnn")
    refused(tmp_path, "but cnn/ does: name that")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, "no bundle", "holds no bundle.json")
    zipped(empty / "cnn.zip", contents(folder))
    refused(empty, "but cnn.zip: name that file")
    refused(zipped(tmp_path / "outer.zip", {"cnn.zip": b"x"}), "but cnn.zip: name that file")
    refused(folder / "model.onnx", "no zip", "ulna export")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "neither a folder nor a file")


def test_a_file_without_the_right_to_read_it_is_named(folder, monkeypatch):
    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", deny)
    refused(folder, "MODEL_CARD.md", "Permission denied", "right")


def test_the_record_alone_is_no_bundle(folder):
    refused(folder / "bundle.json", "one file of a bundle", f"name its folder, {folder}")


def test_a_zip_that_is_cut_off_or_damaged_is_refused(folder, tmp_path):
    whole = zipped(tmp_path / "whole.zip", contents(folder)).read_bytes()
    for cut in range(0, len(whole), len(whole) // 40):
        (tmp_path / "cut.zip").write_bytes(whole[:cut])
        refused(tmp_path / "cut.zip", "cut off")
    rng = np.random.default_rng(1)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        (tmp_path / "damaged.zip").write_bytes(damaged)
        try:
            bundle = load_bundle(tmp_path / "damaged.zip")
        except InputError:
            continue
        # Bits that no reader uses, such as the date of an entry.
        assert bundle.members == load_bundle(folder).members


@pytest.mark.promise("D27")
@pytest.mark.parametrize(
    "name", ["../evil.onnx", "/evil.onnx", "a/evil.onnx", "C:\\evil.onnx", "..", ".hidden"]
)
def test_a_name_that_leaves_the_zip_is_refused(folder, tmp_path, name):
    packed = zipped(tmp_path / "odd.zip", contents(folder) | {name: b"x"})
    refused(packed, "no plain file at its top")


def test_links_folders_and_doubles_in_a_zip_are_refused(folder, tmp_path):
    link = zipfile.ZipInfo("link.onnx")
    link.create_system, link.external_attr = 3, SYMLINK << 16
    refused(zipped(tmp_path / "link.zip", contents(folder) | {link: b"/etc/passwd"}), "link.onnx")

    within = {f"cnn/{name}": data for name, data in contents(folder).items()}
    refused(zipped(tmp_path / "within.zip", within), "in a folder, 'cnn'", "unpack it")

    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(tmp_path / "two.zip", "w") as archive,
    ):
        for name in (*FILES, "model.onnx"):
            archive.writestr(name, (folder / name).read_bytes())
    refused(tmp_path / "two.zip", "twice")


@pytest.mark.promise("D27")
def test_a_network_whose_weights_lie_outside_of_the_bundle_is_refused(tmp_path, monkeypatch):
    model = onnx.ModelProto.FromString(tiny_onnx(32, False))
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "scale")
    scale.ClearField("raw_data")
    scale.data_location = onnx.TensorProto.EXTERNAL
    scale.external_data.add(key="location", value="weights")
    data = model.SerializeToString()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").write_bytes(np.float32(1).tobytes())
    # ONNX Runtime reads it.
    assert run_onnx(data, np.full((1, 32, 32), 7, np.uint8))[0][0, 0] == 7 + OFFSET

    files = {"MODEL_CARD.md": b"", "model.onnx": data}
    write_bundle(tmp_path / "cnn", tiny_record(maps=False), files)
    refused(tmp_path / "cnn", "model.onnx keeps weights in another file")


@pytest.mark.promise("D26")
def test_a_zip_that_would_grow_beyond_its_bounds_is_refused_in_little_memory(folder, tmp_path):
    bomb = contents(folder) | {"model.onnx": b"\0" * 50_000_000}
    packed = zipped(tmp_path / "bomb.zip", bomb, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    refused(packed, "more than one needs")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()

    large = contents(folder) | {"bundle.json": os.urandom(MAX_RECORD_BYTES + 1)}
    refused(zipped(tmp_path / "large.zip", large), "more than one needs")
    many = contents(folder) | {f"n{k}.onnx": b"" for k in range(100)}
    refused(zipped(tmp_path / "many.zip", many), "104 files")


def test_the_bundle_to_predict_with(folder, tmp_path, monkeypatch):
    default = tmp_path / "default"
    monkeypatch.setattr(module, "DEFAULT", default)
    with pytest.raises(InputError, match="dvc repro bundle@cnn"):
        find_bundle(None, tmp_path)
    shutil.copytree(folder, default)
    assert find_bundle(None, tmp_path) == (default, "the bundle that comes with the package")
    for name in ("ensemble", "densenet169"):
        shutil.copytree(folder, tmp_path / "bundles" / name)
    (tmp_path / "bundles" / "cnn").mkdir()  # of a stage that did not end
    found = tmp_path / "bundles" / "densenet169"
    assert find_bundle(None, tmp_path) == (found, "this repository's bundle densenet169")
    path, phrase = find_bundle("some.zip", tmp_path)
    assert (str(path), phrase) == ("some.zip", "the bundle some.zip")
    monkeypatch.chdir(tmp_path)
    by_name = (tmp_path / "bundles/ensemble", "this repository's bundle ensemble")
    assert find_bundle("ensemble", tmp_path) == by_name
    (tmp_path / "ensemble").mkdir()  # a path that is there counts first
    assert find_bundle("ensemble", tmp_path) == (pathlib.Path("ensemble"), "the bundle ensemble")


@pytest.mark.parametrize("changed", ["nothing", "threshold", "weights"])
def test_a_bundle_behind_its_network_is_said_to_be(tmp_path, changed):
    folder = tiny_bundle(tmp_path / "bundles" / "cnn")
    record = json.loads((folder / RECORD).read_text())
    threshold, (network,) = record["threshold"], record["networks"]
    details = {"overall": threshold["study"], "by_body_part": threshold["by_body_part"]}
    weights = {"weights_sha256": network["model_sha256_keras"]}
    if changed == "threshold":
        details["overall"] += 0.01
    if changed == "weights":
        weights["weights_sha256"] = "f" * 64
    assert "behind" not in find_bundle(None, tmp_path)[1]  # as after `dvc pull bundle@cnn`
    for path, values in {
        f"metrics/details/{folder.name}.json": {"thresholds": details},
        f"models/{network['name']}/model.json": weights,
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(values))
    for given in (None, "cnn"):
        phrase = find_bundle(given, tmp_path)[1]
        assert ("behind" in phrase and "`dvc repro bundle@cnn`" in phrase) == (changed != "nothing")

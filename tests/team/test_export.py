"""`ulna export`: the same bytes each time, and what it packs can be predicted with."""

import json
import os
import stat
import zipfile

import keras
import numpy as np
import pytest
from bundles import tiny_bundle
from faulty_disk import no_file_larger_than
from tiny_pipeline import ROOT, commit, dvc, read_yaml, run

from ulna.cli import main
from ulna.core import paths
from ulna.inference.bundle import load_bundle
from ulna.networks import trained
from ulna.networks.models import build_network
from ulna.team.export import pack


@pytest.fixture
def repository(tmp_path, monkeypatch):
    folder = tmp_path / "ulna"
    (folder / ".dvc").mkdir(parents=True)
    tiny_bundle(folder / paths.bundle("cnn"))
    monkeypatch.chdir(folder)
    return folder


def said(capsys, *arguments):
    """What a refused command says."""
    with pytest.raises(SystemExit) as ended:
        main("export", *arguments)
    assert ended.value.code == 1
    return capsys.readouterr().err


@pytest.mark.promise("H45")
def test_a_zip_has_the_same_bytes_each_time_and_all_of_the_bundle(repository, monkeypatch, capsys):
    main("export", "cnn")
    assert capsys.readouterr().out.startswith("cnn.zip: 0.0 MB, for `ulna predict --bundle cnn.zip")
    first = (repository / "cnn.zip").read_bytes()
    # Other times, rights and order of the files, in another folder, by another umask.
    bundle = repository / paths.bundle("cnn")
    for path in sorted(bundle.iterdir(), reverse=True):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    (repository / "deeper").mkdir()
    monkeypatch.chdir(repository / "deeper")
    umask = os.umask(0o077)
    main("export", "cnn", "--output", "new/again.zip")
    os.umask(umask)
    assert "new/again.zip: 0.0 MB" in capsys.readouterr().out
    again = repository / "deeper/new/again.zip"
    assert again.read_bytes() == first

    packed, plain = load_bundle(again), load_bundle(bundle)
    assert (packed.sha256, packed.members) == (plain.sha256, plain.members)
    with zipfile.ZipFile(again) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(path.name for path in bundle.iterdir())


def test_the_order_in_which_files_are_given_is_not_in_the_zip():
    files = {"b": b"2", "bundle.json": b"0", "a": b"1"}
    assert pack(files) == pack(dict(reversed(files.items())))


def test_what_cannot_be_packed_is_refused_and_nothing_is_left(repository, capsys):
    assert "'nope' is no bundle: expected cnn or densenet169 or mobilenetv2 or ensemble" in said(
        capsys, "nope"
    )
    assert "'../cnn' is no bundle" in said(capsys, "../cnn")
    assert (
        "bundles/ensemble does not exist: make a bundle with `dvc repro bundle_ensemble`"
        in said(capsys, "ensemble")
    )
    assert "dvc pull bundle@densenet169" in said(capsys, "densenet169")
    assert "several networks and a rule" in said(capsys, "ensemble", "--saved-model", "saved")
    assert "is a folder" in said(capsys, "cnn", "--output", ".")
    assert "is there already" in said(capsys, "cnn", "--saved-model", "bundles")
    with (paths.bundle("cnn") / "model.onnx").open("ab") as file:
        file.write(b"x")
    assert "SHA-256" in said(capsys, "cnn")
    assert sorted(os.listdir(repository)) == [".dvc", "bundles"]


def test_a_disk_that_is_full_leaves_the_former_zip(repository, capsys):
    (repository / "cnn.zip").write_bytes(b"former")
    with no_file_larger_than(1000):
        message = said(capsys, "cnn")
    assert "cnn.zip was not written" in message
    assert (repository / "cnn.zip").read_bytes() == b"former"
    assert sorted(os.listdir(repository)) == [".dvc", "bundles", "cnn.zip"]


@pytest.mark.slow
def test_a_saved_model_computes_the_logits_of_keras(repository, params, capsys):
    import tensorflow as tf

    model = build_network("cnn", 32, params.cnn)
    config = params.training("cnn")
    trained.write_trained(paths.trained("cnn"), model, 32, config, {})
    main("export", "cnn", "--saved-model", "saved")
    assert "saved: TensorFlow's SavedModel of cnn" in capsys.readouterr().out
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 1), np.uint8)
    saved = tf.saved_model.load("saved")
    assert np.allclose(saved.serve(pixels), keras.ops.convert_to_numpy(model(pixels)), atol=1e-6)
    assert (repository / "cnn.zip").is_file()


@pytest.mark.slow
def test_a_released_version_is_a_bundle_to_predict_with(tmp_path):
    """`gto register`, then `dvc artifacts get` elsewhere: the artifact as dvc.yaml names it."""
    there = tmp_path / "there"
    made = tiny_bundle(tmp_path / "made")
    stages = {"bundle": {"cmd": f"cp -r '{made}' bundles/cnn", "outs": ["bundles/cnn"]}}
    artifacts = {"cnn": read_yaml((ROOT / "dvc.yaml").read_text())["artifacts"]["cnn"]}
    (there / "bundles").mkdir(parents=True)
    (there / "dvc.yaml").write_text(json.dumps({"stages": stages, "artifacts": artifacts}))
    run(there, "git", "init", "--quiet")
    dvc(there, "init", "--quiet")
    dvc(there, "repro", "--quiet")
    commit(there)
    tagged = run(there, "gto", "register", "cnn", "--version", "v1.0.0")
    assert tagged.returncode == 0, tagged.stderr
    dvc(tmp_path, "artifacts", "get", "there", "cnn", "--rev", "v1.0.0", "--out", "got")
    got, original = load_bundle(tmp_path / "got"), load_bundle(made)
    assert (got.sha256, got.members) == (original.sha256, original.members)


def test_a_pipe_or_device_is_not_replaced(repository, capsys):
    # A pipe of this test's own: as root, a device would be lost for all of the machine.
    os.mkfifo("pipe")
    assert "pipe is a device or a pipe" in said(capsys, "cnn", "--output", "pipe")
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_a_link_is_written_through(repository):
    (repository / "real.zip").touch()
    (repository / "link.zip").symlink_to("real.zip")
    main("export", "cnn", "--output", "link.zip")
    assert (repository / "link.zip").is_symlink()
    assert zipfile.is_zipfile(repository / "real.zip")


def test_two_outputs_have_two_names(repository, capsys):
    assert "both" in said(capsys, "cnn", "--output", "x", "--saved-model", "x")
    assert not (repository / "x").exists()

"""Each fault, planted, is named with its fix; a healthy clone has none."""

import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
from mura_tree import official_studies, small_studies, tables, write_folder, write_zip
from params_files import write_params
from small_repository import make

from ulna.cli import main
from ulna.core import InputError
from ulna.core.params import load_params
from ulna.team import doctor
from ulna.team.doctor import FAULT, NOTE, OK

SEEN = {"gpus": [], "cuda": True}
ACTIVE = {"PATH": str(Path(sys.executable).parent)}


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """A small repository with parameters, where commands run."""
    folder = make(tmp_path / "clone", large=0)
    monkeypatch.chdir(folder)
    return folder


def levels_and_words(finding: doctor.Finding, level: str, *words: str) -> None:
    assert finding.level == level, finding
    for word in words:
        assert word in finding.text


@pytest.mark.parametrize(
    ("version", "environ", "level", "word"),
    [
        ((3, 11), ACTIVE, OK, "3.11"),
        ((3, 10), ACTIVE, FAULT, "needs 3.11 to 3.13"),
        ((3, 14), ACTIVE, FAULT, "needs 3.11 to 3.13"),
        ((3, 12), ACTIVE | {"PYTHONSAFEPATH": "1"}, FAULT, "unset it"),
        ((3, 12), {"PATH": "/nowhere"}, NOTE, "source .venv/bin/activate"),
    ],
)
def test_python(version, environ, level, word):
    levels_and_words(doctor.check_python(version, environ), level, word)


@pytest.mark.parametrize(
    ("versions", "level", "words"),
    [
        ({"numpy": "2.4.6", "keras": "3.15.1"}, OK, ["2, as in"]),
        ({"numpy": "2.4.5", "keras": "3.15.1"}, NOTE, ["numpy 2.4.5 (locked: 2.4.6)", "make"]),
        ({"numpy": "2.4.5"}, FAULT, ["keras missing", "make clean setup"]),
    ],
)
def test_packages_are_compared_with_the_lock_file(tmp_path, versions, level, words):
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "keras==3.15.1 \\\n    --hash=sha256:0\n    # via tensorflow\n"
        "numpy==2.4.6 ; python_full_version < '99' \\\n    --hash=sha256:1\n"
        "numpy==9.9.9 ; python_full_version >= '99' \\\n    --hash=sha256:2\n"
    )

    def installed(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    levels_and_words(doctor.check_packages(lock, installed), level, *words)


@pytest.mark.parametrize(
    ("free_gb", "free_gib", "level", "word"),
    [(80, 20, OK, "2 threads"), (0.5, 20, FAULT, "of the disk"), (80, 1, NOTE, "end other work")],
)
def test_disk_and_memory(free_gb, free_gib, level, word):
    levels_and_words(doctor.check_machine(free_gb, free_gib, 2), level, word)


@pytest.mark.parametrize(
    ("seen", "errors", "driver", "libraries", "visible", "level", "word"),
    [
        (None, "a\nImportError: libfoo.so", False, False, None, FAULT, "(ImportError: libfoo.so)"),
        (SEEN, "", False, False, None, OK, "no driver of NVIDIA"),
        (SEEN | {"gpus": ["H100"]}, "", True, True, None, OK, "H100"),
        (SEEN | {"gpus": ["H100"] * 2}, "", True, True, None, FAULT, "CUDA_VISIBLE_DEVICES=0"),
        (SEEN, "", True, True, "-1", NOTE, "unset it"),
        (SEEN, "", True, True, "", NOTE, "unset it"),
        (SEEN | {"cuda": False}, "", True, True, None, NOTE, "built without CUDA"),
        (SEEN, "", True, False, None, NOTE, "make repro GPU=1"),
        (
            SEEN, "E0000 1 2 gpu.cc:1] driver version is too old for CUDA 12\nlast", True, True,
            None, NOTE, "it says: driver version is too old for CUDA 12 (",
        ),
    ],
)  # fmt: skip
def test_why_there_is_no_gpu(seen, errors, driver, libraries, visible, level, word):
    levels_and_words(doctor.check_gpu(seen, errors, driver, libraries, visible), level, word)


def test_a_broken_tensorflow_is_a_line(tmp_path, monkeypatch):
    (tmp_path / "tensorflow.py").write_text("import os; os.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with doctor.start_probe() as probe:
        seen, errors = doctor.finish_probe(probe)
    assert seen is None and "ended with code -6" in errors
    (tmp_path / "tensorflow.py").write_text("raise ImportError('no AVX')\n")
    with doctor.start_probe() as probe:
        seen, errors = doctor.finish_probe(probe)
    assert seen is None and errors.endswith("ImportError: no AVX")


def test_a_tensorflow_that_does_not_answer_is_a_line(monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS_FOR_TENSORFLOW", 0.2)
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(sleeper, **pipes) as probe:
        assert doctor.finish_probe(probe) == (None, "no answer in 0.2 s")


def test_the_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = write_folder(tmp_path / "mine", tables(small_studies()))
    relative = Path("mine")
    levels_and_words(doctor.check_data(relative), OK, "a folder", "11 images of 5 patients")
    named = write_folder(tmp_path / "MURA-v1.1", tables(small_studies())).relative_to(tmp_path)
    levels_and_words(doctor.check_data(named), NOTE, "counts differ from MURA v1.1")
    next(mine.rglob("*.png")).unlink()
    with pytest.raises(InputError, match="1 of 11 listed images are missing"):
        doctor.check_data(relative)
    with pytest.raises(InputError, match="does not exist"):
        doctor.check_data(Path("other"))


def test_mura_is_recognised_by_its_counts(tmp_path):
    path = write_zip(tmp_path / "MURA.zip", tables(official_studies()))
    words = ("a .zip", "40,005 images", "the counts are those of MURA v1.1")
    levels_and_words(doctor.check_data(path), OK, *words)


def test_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ulna.data.pretrained.KERAS_FOLDER", tmp_path / "keras")

    def check(weights: str) -> doctor.Finding:
        write_params(Path("params.yaml"), densenet169={"weights": weights})
        return doctor.check_weights(load_params(Path("params.yaml")))

    levels_and_words(check("none"), OK, "none are asked for")
    levels_and_words(check("imagenet"), NOTE, "densenet169: `dvc repro` will fetch https://")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml"]
    with pytest.raises(InputError, match=r"other\.h5, which is not a file"):
        check("other.h5")


@pytest.mark.slow
def test_a_merge_and_changes_are_seen(clone):
    levels_and_words(doctor.check_git(), OK, "as in the last commit")
    (clone / "dvc.yaml").write_text((clone / "dvc.yaml").read_text() + "\n")
    levels_and_words(doctor.check_git(), OK, "differs from the last commit: dvc.yaml")
    blob = subprocess.run(
        ["git", "hash-object", "dvc.yaml"], capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run(["git", "hash-object", "-w", "dvc.yaml"], check=True, capture_output=True)
    sides = "".join(f"100644 {blob} {side}\tdvc.yaml\n" for side in (1, 2, 3))
    subprocess.run(["git", "rm", "--quiet", "--cached", "dvc.yaml"], check=True)
    subprocess.run(["git", "update-index", "--index-info"], input=sides, text=True, check=True)
    levels_and_words(doctor.check_git(), FAULT, "both sides of a merge in dvc.yaml")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("torn", "text", "fix"),
    [
        ("dvc.lock", "", "git checkout HEAD dvc.lock"),
        ("dvc.lock", "schema: '2.0'\nstages:\n  copy:\n    cm", "git checkout HEAD dvc.lock"),
        (".dvc/tmp/rwlock", "", "remove it"),
        (".dvc/tmp/rwlock", '{"a": {"wri', "remove it"),
    ],
)
def test_a_torn_file_of_dvc_is_named(clone, torn, text, fix):
    levels_and_words(doctor.check_dvc(), OK)
    (clone / torn).write_text(text)
    levels_and_words(doctor.check_dvc(), FAULT, torn, fix)


@pytest.mark.slow
def test_the_remote(clone, tmp_path):
    levels_and_words(doctor.attempt(doctor.check_remote), NOTE, "none")
    config = clone / ".dvc/config"
    remote = tmp_path / "remote"
    lines = f"[core]\n    remote = team\n['remote \"team\"']\n    url = {remote}\n"
    config.write_text(lines)
    levels_and_words(doctor.attempt(doctor.check_remote), NOTE, "team", "mounted")
    remote.mkdir()
    levels_and_words(doctor.attempt(doctor.check_remote), OK, "team answers")
    config.write_text(lines.replace(str(remote), "ssh://nobody@localhost:1/x"))
    found = doctor.attempt(doctor.check_remote)
    levels_and_words(found, FAULT, "team")


def test_a_remote_that_does_not_answer_holds_nobody_up():
    began = time.monotonic()
    levels_and_words(doctor.in_time(lambda: time.sleep(5), 0.1), NOTE, "no answer in 0.1 s")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("level", [OK, NOTE, FAULT])
def test_the_exit_code_is_1_after_a_fault_only(level, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "word " * 40 + "\nsecond line"
    monkeypatch.setattr(doctor, "examine", lambda: [("data", doctor.Finding(level, text))])
    if level == FAULT:
        with pytest.raises(SystemExit) as ended:
            main("doctor")
        assert ended.value.code == 1
    else:
        main("doctor")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == [level, "data"]
    assert max(map(len, lines)) <= 120
    assert lines[-2].strip() == "second line"
    assert lines[-1] == f"{int(level == FAULT)} faults, {int(level == NOTE)} notes".replace(
        "1 faults", "1 fault"
    ).replace("1 notes", "1 note")


@pytest.mark.slow
def test_a_whole_examination(clone, monkeypatch, capsys):
    """In this process, with TensorFlow asked in another, as a user calls it."""
    write_params(clone / "params.yaml", data={"root": "data/MURA-v1.1"})
    (clone / "requirements.lock").write_text("numpy==0.1 \\\n    --hash=sha256:0\n")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(SystemExit) as ended:
        main("doctor")
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert "fault data        data.root is data/MURA-v1.1, which does not exist" in out
    assert "note  packages    numpy" in out
    assert out.splitlines()[-1].startswith("1 fault, ")

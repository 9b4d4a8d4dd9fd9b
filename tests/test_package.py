"""The package: what the wheel holds, what it brings, and that it predicts where nothing else is."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from importlib import metadata
from pathlib import Path

import pytest
from needs import require
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ulna.inference.bundle import DEFAULT, load_bundle

ROOT = Path(__file__).resolve().parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
LISTS = {None: "requirements-predict.txt", "dicom": "requirements-dicom.txt",
         "train": "requirements.txt"}  # fmt: skip
# All that the build reads.
SOURCES = ("src", "setup.py", "pyproject.toml", "README.md", "LICENSE", *LISTS.values())
# Each would take hundreds of megabytes, or seconds of every start.
HEAVY = {"dvc", "keras", "matplotlib", "onnx", "opencv-python-headless", "pandas", "psutil",
         "pydantic", "scikit-learn", "scipy", "tensorflow"}  # fmt: skip
MEGABYTES = 260  # 195 measured; pip and setuptools of a new environment take 24 more
# In the working directory: python-gdcm imports `dl`, others these.
SHADOWS = ("dl", "numpy", "onnx", "onnxruntime", "pydicom", "ulna")


def listed(name: str) -> set[Requirement]:
    """The requirements of a file."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return {Requirement(line) for line in lines if line}


def test_what_predict_needs_the_pipeline_has_within_the_same_bounds():
    assert listed(LISTS[None]) <= listed(LISTS["train"])


def test_nothing_heavy_comes_with_predict():
    names = {requirement.name for file in (None, "dicom") for requirement in listed(LISTS[file])}
    assert not names & HEAVY
    assert "pylibjpeg-libjpeg" not in names  # it is under the GPL


def call(*command: object, **options) -> subprocess.CompletedProcess[str]:
    """Run a command that sees nothing of this environment's packages."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        [str(part) for part in command],
        env=kept | options.pop("env", {}), capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


def build_wheel(folder: Path, left_over: str = "") -> Path:
    """Build the wheel from a copy of the source, without the network.

    left_over is a module that an earlier build has left.
    """
    source = folder / "source"
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    if left_over:
        (source / "build/lib" / left_over).parent.mkdir(parents=True)
        (source / "build/lib" / left_over).touch()
    done = call(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source,
        env={"SOURCE_DATE_EPOCH": "315532800"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_a_new_bundle_of_the_package_makes_no_stage_stale():
    """The stage that makes bundles depends on the folder around it."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "check-ignore", DEFAULT / "bundle.json"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel):
    git = subprocess.run(
        ["git", "ls-files", "-z", "src/ulna"], cwd=ROOT, capture_output=True, text=True
    )
    require(git.returncode == 0, "this is no clone: git knows no files of it")
    expected = {name.removeprefix("src/") for name in git.stdout.split("\0") if name}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected
    assert wheel.stat().st_size < 2_500_000


@pytest.mark.slow
def test_the_same_source_gives_the_same_wheel_whatever_was_built_before(wheel, tmp_path):
    again = build_wheel(tmp_path, left_over="ulna/inference/renamed_since.py")
    assert again.read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_the_wheel_asks_for_what_the_lists_say(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        described = message_from_string(archive.read(name).decode())
    asked = [Requirement(line) for line in described.get_all("Requires-Dist")]
    assert set(described.get_all("Provides-Extra")) == set(LISTS) - {None}
    for extra, file in LISTS.items():
        marker = "None" if extra is None else f'extra == "{extra}"'
        own = {str(each).partition(";")[0] for each in asked if str(each.marker) == marker}
        assert set(map(Requirement, own)) == listed(file), extra


def pins() -> list[str]:
    """The light packages, and what they bring, at the versions that the tests run with."""
    found: dict[str, str] = {}
    names = [requirement.name for requirement in listed(LISTS[None])]
    while names:
        name = canonicalize_name(names.pop())
        if name not in found:
            found[name] = metadata.version(name)
            needed = map(Requirement, metadata.requires(name) or ())
            names += [
                each.name
                for each in needed
                if not each.marker or each.marker.evaluate({"extra": ""})
            ]
    return [f"{name}=={version}" for name, version in found.items()]


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory) -> Path:
    """The folder of programs of an environment that has the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("environment")
    made = call(sys.executable, "-m", "venv", folder / "venv")
    assert made.returncode == 0, made.stderr
    (folder / "pins").write_text("\n".join(pins()))
    programs = folder / "venv/bin"
    done = call(
        programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--constraint", folder / "pins", wheel, cwd=folder,
    )  # fmt: skip
    require(done.returncode == 0, f"pip cannot fetch packages here: {done.stderr[-300:]}")
    return programs


@pytest.mark.slow
def test_an_empty_environment_gets_the_light_packages_alone(programs):
    done = call(programs / "python", "-m", "pip", "list", "--format", "json")
    installed = {canonicalize_name(each["name"]) for each in json.loads(done.stdout)}
    assert {pin.partition("==")[0] for pin in pins()} | {"ulna"} == installed - {
        "pip", "setuptools", "wheel",
    }  # fmt: skip
    assert not installed & HEAVY
    files = [path for path in programs.parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MEGABYTES * 1e6


@pytest.mark.slow
def test_the_wheel_alone_answers_the_examples(programs, tmp_path):
    for name in SHADOWS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('shadowed')\n")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = call(programs / "ulna", "predict", "examples", "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    studies = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(study["not_for_clinical_use"] is True for study in studies)
    # The displaced fracture of the other wrist is missed.
    decisions = {study["study"]: study["decision"] for study in studies}
    assert decisions["examples/XR_ELBOW/patient11273/study1_positive"] == "abnormal"  # a plate
    assert decisions["examples/XR_WRIST/patient11228/study1_negative"] == "normal"
    assert decisions["examples/forearm_dicom"] == "abnormal"  # a nail
    assert len(decisions) == 4
    assert {path.name for path in tmp_path.iterdir()} == {*SHADOWS, "examples"}


@pytest.mark.slow
def test_the_program_tells_its_version_and_what_other_commands_lack(programs, tmp_path):
    done = call(programs / "ulna", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"ulna {VERSION}\n")
    done = call(programs / "ulna", "compare", "HEAD", "focal", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("compare ") and "pip install -r requirements.txt" in done.stderr


def test_the_bundle_of_the_package_is_whole_and_says_what_it_was_trained_on():
    bundle = load_bundle(DEFAULT)
    assert bundle.name == "cnn" and bundle.has_maps
    assert bundle.record["data"]["synthetic"] is True
    assert bundle.record["not_for_clinical_use"] is True
    card = (DEFAULT / "MODEL_CARD.md").read_text()
    assert "phantom" in card and "not a medical device" in card.lower()
    assert sum(path.stat().st_size for path in DEFAULT.iterdir()) < 2_000_000
    assert all(path.stat().st_size < 1_000_000 for path in DEFAULT.iterdir())

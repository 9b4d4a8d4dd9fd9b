"""The first stages as DVC runs them: what is missing is said before all else."""

import shutil
from pathlib import Path

import pytest
from tiny_pipeline import ROOT, checkout, commit, dvc, run

from ulna.core.params import load_params

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """Before the first run."""
    return checkout(tmp_path_factory.mktemp("check") / "ulna")


def refused(folder: Path, *command: str) -> str:
    """What a run of DVC says that ends in the first stage."""
    done = run(folder, "dvc", *command)
    assert done.returncode != 0
    assert done.stdout.count("Running stage") == 1 and "Running stage 'check'" in done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def until_prepare(pipeline: str) -> str:
    """The first stages of dvc.yaml alone: the others were never run here."""
    return pipeline.split("\n  preprocess:")[0] + "\n"


@pytest.fixture
def recipe(clone):
    """The clone with the paper's recipe."""
    shutil.copy(ROOT / "recipes/mura-paper.yaml", clone / "params.yaml")
    yield clone
    run(clone, "git", "checkout", "--", ".")


@pytest.mark.promise("C23")
@pytest.mark.parametrize("command", [("repro",), ("exp", "run"), ("exp", "run", "--temp")])
def test_without_mura_its_recipe_draws_no_phantom_and_says_where_to_get_it(recipe, command):
    said = refused(recipe, *command)
    assert "data.root is data/MURA-v1.1, which does not exist" in said
    if "--temp" in command:
        assert "only what git or DVC tracks" in said
    else:
        assert "https://stanfordmlgroup.github.io/competitions/mura/" in said
    for name in ("data/phantom/MURA-v1.1.zip", "data/pretrained", "data/checked.json"):
        assert not (recipe / name).exists()


def test_an_empty_folder_and_another_case_are_named(recipe):
    folder = recipe / load_params(recipe / "params.yaml").data.root
    folder.mkdir(parents=True)
    assert "data.root is data/MURA-v1.1, which is empty" in refused(recipe, "repro")
    folder.rename(folder.with_name("mura-V1.1"))
    assert "did you mean data/mura-V1.1?" in refused(recipe, "repro")
    folder.with_name("mura-V1.1").rmdir()


def test_weights_are_looked_for_before_the_phantom_is_drawn(clone):
    said = refused(clone, "exp", "run", "-S", "densenet169.weights=other.h5")
    run(clone, "sh", "-c", "git show HEAD:params.yaml > params.yaml")
    assert "densenet169.weights is other.h5, which is not a file" in said
    assert not (clone / "data/phantom/MURA-v1.1.zip").exists()


def test_on_other_data_no_phantom_is_drawn_and_a_colleague_pulls_all(clone, tmp_path):
    """And the phantom of before comes back from the cache."""
    phantom = clone / "data/phantom/MURA-v1.1.zip"
    assert "Running stage 'phantom'" in dvc(clone, "repro", "prepare")
    size = phantom.stat().st_size
    commit(clone)
    shutil.move(phantom, clone / "data/mine.zip")
    dvc(clone, "checkout", "--quiet", "phantom")
    dvc(clone, "add", "--quiet", "data/mine.zip")
    first = ("phantom", "prepare")
    done = dvc(clone, "exp", "run", "-S", "data.root=data/mine.zip", *first)
    assert "no phantom is drawn" in done and phantom.stat().st_size == 0 < size
    commit(clone)

    dvc(clone, "remote", "add", "--quiet", "--default", "team", str(tmp_path / "remote"))
    dvc(clone, "push", "--quiet")
    commit(clone)
    other = tmp_path / "other"
    run(clone, "git", "clone", "--quiet", ".", str(other))
    (other / "dvc.yaml").write_text(until_prepare((other / "dvc.yaml").read_text()))
    dvc(other, "pull")
    assert "Running stage" not in dvc(other, "repro", "prepare")
    assert (other / "data/phantom/MURA-v1.1.zip").stat().st_size == 0

    done = dvc(clone, "exp", "run", "-S", "data.root=data/phantom/MURA-v1.1.zip", *first)
    assert "Running stage" not in done and phantom.stat().st_size == size


def test_a_refused_parameter_of_an_experiment_is_said_to_stay_in_the_file(clone):
    done = run(clone, "dvc", "exp", "run", "-S", "data.root=elsewhere", "-S", "loss=focall")
    assert "did you mean focal?" in done.stderr
    (advice,) = (line for line in done.stderr.splitlines() if "stays in params.yaml" in line)
    command = advice.split("`")[1]
    assert run(clone, "sh", "-c", command).returncode == 0
    committed = run(clone, "git", "show", "HEAD:params.yaml").stdout
    assert (clone / "params.yaml").read_text() == committed and "focall" not in committed

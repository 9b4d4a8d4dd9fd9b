"""What a new user types in the first hour works, is quick to read, and says what to do next."""

import re
import shutil

import pytest
from first_hour import COLLEAGUE, COLUMNS, NEWCOMER, OWNER, Step, shown, walk
from tiny_pipeline import ROOT, commit, copy_of

pytestmark = pytest.mark.slow
REFUSED = (NEWCOMER, "dvc repro")


@pytest.fixture(scope="module")
def steps(built, tmp_path_factory) -> dict[tuple[str, str], Step]:
    owner = copy_of(built, tmp_path_factory.mktemp("first_hour") / OWNER)
    for name in ("recipes", "examples"):
        shutil.copytree(ROOT / name, owner / name)
    commit(owner)
    walked = walk(owner)
    for step in walked:
        print(shown(step))
    return {(step.clone, step.command): step for step in walked}


def test_every_command_works_but_the_one_without_its_data(steps):
    failed = [shown(step) for key, step in steps.items() if (step.code != 0) != (key == REFUSED)]
    assert not failed, "\n".join(failed)


def lines(steps, clone: str, start: str) -> list[str]:
    (step,) = (s for (c, command), s in steps.items() if c == clone and command.startswith(start))
    return shown(step).splitlines()[1:]


@pytest.mark.parametrize(
    ("start", "height"),
    [("./ulna compare", 45), ("./ulna experiments", 20), ("dvc metrics diff", 45),
     ("./ulna share", 20), ("./ulna predict", 45)],
)  # fmt: skip
def test_what_is_printed_fits_a_terminal(steps, start, height):
    text = lines(steps, OWNER, start)
    assert 0 < len(text) <= height
    assert max(map(len, text)) <= COLUMNS


def test_loss_and_scores_of_the_experiment_are_shown(steps):
    text = lines(steps, OWNER, "./ulna experiments")
    assert "loss" in text[0] and "CNN" in text[0] and text[1].count("kappa") == 2
    (focal,) = (line for line in text if line.startswith("- focal"))
    assert " focal " in focal and re.search(r"0\.\d{3}", focal)
    assert any("cnn." in line for line in lines(steps, OWNER, "dvc metrics diff"))
    assert "loss: bce -> focal" in "\n".join(lines(steps, OWNER, "./ulna compare"))


def test_a_bundle_of_the_network_before_the_experiment_is_said_to_be_behind(steps):
    text = lines(steps, OWNER, "./ulna predict")
    assert "this repository's bundle cnn, behind its last training or evaluation" in text[0]
    assert "4 studies answered" in "\n".join(text)


def test_going_back_trains_nothing(steps):
    text = "\n".join(lines(steps, OWNER, "dvc exp run -S loss=bce"))
    assert "Stage 'train@cnn' is cached" in text and "Running stage 'train@" not in text


def test_a_colleague_runs_nothing_and_keeps_the_remote(steps):
    for start in ("dvc repro", "dvc exp apply"):
        assert "Running stage" not in "\n".join(lines(steps, COLLEAGUE, start))


def test_a_recipe_without_its_data_says_so_at_once_and_draws_no_phantom(steps):
    step = steps[REFUSED]
    assert "data/MURA-v1.1" in step.output and "docs/data.md" in step.output
    assert "phantom" not in step.output and step.seconds < 5

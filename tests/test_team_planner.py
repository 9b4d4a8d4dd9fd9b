"""The plan against DVC itself, on stages that a shell runs."""

import re
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from small_repository import by_hand
from tiny_pipeline import commit, dvc, run

from ulna.errors import InputError
from ulna.team.planner import Plan, changed_parameters, plan

# DVC walks paths with an old call of a library.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")

PARAMS = Path(__file__).parent / "params.yaml"
# `source` follows the loss, `constant` gives the same whatever it reads, `follow` waits for that;
# `root` reads what data.root names, `whole` all of params.yaml.
PIPELINE = """\
stages:
  source:
    cmd: grep ^loss params.yaml > source.txt
    params: [loss, cnn]
    outs: [source.txt]
  constant:
    cmd: mkdir -p constant && echo same > constant/same.txt
    deps: [source.txt]
    outs: [constant]
  follow:
    cmd: cat constant/same.txt note.txt > follow.txt
    deps: [constant, note.txt]
    params: [seed]
    outs: [follow.txt]
  copy:
    matrix:
      of: [source, follow]
    cmd: cp ${item.of}.txt ${item.of}_copy.txt
    deps: ["${item.of}.txt"]
    outs: ["${item.of}_copy.txt"]
  root:
    cmd: cp ${data.root} root.txt
    deps: ["${data.root}"]
    params: [data.root]
    outs: [root.txt]
  whole:
    cmd: wc -c < params.yaml > whole.txt
    deps: [params.yaml, root.txt]
    outs: [whole.txt]
"""


def words(found: Plan) -> dict[str, str]:
    return {planned.stage: planned.verdict for planned in found.stages}


def reasons(found: Plan, stage: str) -> list[str]:
    return [str(reason) for planned in found.stages if planned.stage == stage
            for reason in planned.reasons]  # fmt: skip


# Words


def test_parameters_are_named_with_both_values():
    before = {"cnn": {"epochs": 2, "filters": [8, 16]}, "loss": "bce", "gone": 1}
    after = {"cnn": {"epochs": 2, "filters": [8]}, "loss": "focal", "new": True}
    assert list(map(str, changed_parameters(before, after))) == [
        "cnn.filters: [8, 16] -> [8]",
        "loss: bce -> focal",
        "new: nothing -> true",
        "gone: 1 -> nothing",
    ]


def test_equal_numbers_of_another_form_are_no_change():
    assert (
        changed_parameters({"cnn": {"learning_rate": 5e-05}}, {"cnn": {"learning_rate": 5e-5}})
        == []
    )


def test_a_source_that_is_not_here_would_fail(tmp_path, monkeypatch):
    """A data set that git ignores counts as dvc.lock has it."""
    monkeypatch.chdir(by_hand(tmp_path))
    assert words(plan()) == {"hold": "does not run"}
    (tmp_path / "seed.txt").unlink()
    assert reasons(plan(), "hold") == ["seed.txt is missing: it would fail"]


# Against DVC


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    (folder / "dvc.yaml").write_text(PIPELINE)
    params = re.sub("(?m)^  root: .*$", "  root: first.txt", PARAMS.read_text())
    # -S writes the file in a form of its own, in which comments stay where it once moved them.
    (folder / "params.yaml").write_text(re.sub(" *#.*", "", params).lstrip())
    apply_overrides(folder / "params.yaml", ["loss=bce"])
    for name in ("note", "first", "second"):
        (folder / f"{name}.txt").write_text(f"{name}\n")
    run(folder, "git", "init", "--quiet")
    dvc(folder, "init", "--quiet")
    dvc(folder, "config", "core.autostage", "true")
    commit(folder)
    return folder


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """All files but those that DVC keeps for itself, and git's view."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    kept = {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in files
        if "/.dvc/tmp/" not in str(path) and "/.git/" not in str(path)
    }
    git = run(folder, "git", "status", "--porcelain").stdout
    git += run(folder, "git", "for-each-ref").stdout + run(folder, "git", "stash", "list").stdout
    return kept | {"git": (git.encode(), 0)}


def said(output: str) -> dict[str, str]:
    """What DVC did with each stage."""
    found = {}
    for pattern, verdict in (
        ("Running stage '(.*)'", "runs"),
        ("Stage '(.*)' is cached", "is restored"),
        ("Stage '(.*)' didn't change", "does not run"),
    ):
        found |= dict.fromkeys(re.findall(pattern, output), verdict)
    return found


def check(folder: Path, *changes: str, command: tuple[str, ...] = ("repro",)) -> Plan:
    """Plan, see that nothing was touched, let DVC do it, and hold one against the other."""
    before = state(folder)
    found = plan(changes)
    assert state(folder) == before
    overrides = [word for change in changes for word in ("-S", change)]
    if overrides:
        done = said(dvc(folder, "exp", "run", *overrides))
    else:
        done = said(dvc(folder, *command))
    assert set(done) == set(words(found))
    for stage, verdict in words(found).items():
        if verdict != "may run":
            assert done[stage] == verdict, stage
    return found


@pytest.mark.slow
@pytest.mark.promise("B13")
def test_what_is_planned_is_what_dvc_does(toy, monkeypatch):
    monkeypatch.chdir(toy)
    found = check(toy)
    assert words(found) == dict.fromkeys(words(found), "runs")
    assert reasons(found, "root")[0] == "it has not run yet: dvc.lock does not know it"
    commit(toy)

    found = check(toy, "loss=focal")
    assert words(found) == {
        "source": "runs",
        "constant": "may run",
        "follow": "may run",
        "copy@source": "may run",
        "copy@follow": "may run",
        "root": "does not run",
        "whole": "runs",
    }
    assert reasons(found, "source") == ["loss: bce -> focal"]
    assert reasons(found, "copy@source") == ["source runs, source.txt may change"]

    # Back: what comes out is known, so nothing is uncertain.
    found = check(toy, "loss=bce")
    assert words(found) == {
        "source": "is restored",
        "constant": "is restored",
        "follow": "does not run",
        "copy@source": "is restored",
        "copy@follow": "does not run",
        "root": "does not run",
        "whole": "is restored",
    }
    run(toy, "git", "checkout", "--", ".")

    # A path in dvc.yaml that a parameter names.
    found = check(toy, "data.root=second.txt")
    assert reasons(found, "root") == [
        "command: cp first.txt root.txt -> cp second.txt root.txt",
        "second.txt is new to it",
        "data.root: first.txt -> second.txt",
    ]
    run(toy, "git", "checkout", "--", ".")
    dvc(toy, "checkout", "--force")

    (toy / "note.txt").write_text("another note\n")
    found = check(toy)
    assert words(found)["follow"] == "runs"
    assert reasons(found, "follow") == ["note.txt is changed"]
    assert words(found)["constant"] == "does not run"

    (toy / "source_copy.txt").unlink()
    (toy / "source_copy.txt").write_text("by hand\n")
    found = check(toy)
    assert words(found)["copy@source"] == "is restored"
    assert reasons(found, "copy@source") == ["source_copy.txt was changed by hand"]
    commit(toy)


@pytest.mark.slow
def test_targets_stop_the_plan_and_an_unknown_one_is_refused(toy, monkeypatch):
    monkeypatch.chdir(toy)
    assert list(words(plan(["seed=3"], ["copy@follow"]))) == [
        "source",
        "constant",
        "follow",
        "copy@follow",
    ]
    with pytest.raises(InputError, match="^DVC: Stage 'nothing' not found inside 'dvc.yaml' file$"):
        plan([], ["nothing"])


@pytest.mark.slow
def test_a_clone_without_data_gets_the_same_plan(toy, tmp_path, monkeypatch):
    """What is not there counts as dvc.lock has it: as for `dvc repro --allow-missing`."""
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", str(toy), str(clone))
    monkeypatch.chdir(clone)
    found = check(clone, command=("repro", "--allow-missing"))
    assert set(words(found).values()) == {"does not run"}
    assert {missing.path for missing in found.missing} >= {"source.txt", "constant", "follow.txt"}
    assert not any(missing.in_cache for missing in found.missing)

    found = plan(["loss=focal"])
    assert words(found)["source"] == words(found)["whole"] == "runs"
    assert words(found)["copy@source"] == "may run"
    assert words(found)["root"] == "does not run"

    # With the cache of its colleague it would be restored.
    shutil.copytree(toy / ".dvc/cache", clone / ".dvc/cache")
    found = plan(["loss=focal"])
    assert words(found)["source"] == words(found)["copy@source"] == "is restored"
    assert words(found)["follow"] == "does not run"

"""The plan of the code against the code: one-way rooms, the TensorFlow boundary, dvc.yaml."""

import ast
import subprocess
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
import yaml

from ulna.core.params import Params, TrainingConfig

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "ulna"
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SCRIPTS = {path.stem: path for path in sorted((ROOT / "stages").glob("[a-z]*.py"))}
# The order in which data flows; a module imports from its own room and from those before it.
ROOMS = (
    "core", "data", "phantom", "networks", "evaluation", "checks", "figures", "report", "inference",
    "team",
)  # fmt: skip
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts): path
    for path in sorted(SOURCE.rglob("*.py"))
    if path.name != "__init__.py"
}


@cache
def imported(path: Path) -> frozenset[str]:
    """The modules below ulna that a file imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ulna":
            inside = (node.module or "").removeprefix("ulna").removeprefix(".")
            members = {".".join(filter(None, (inside, alias.name))) for alias in node.names}
            names |= {inside} if inside in MODULES else members & set(MODULES)
    return frozenset(names)


@cache
def closure(path: Path) -> frozenset[str]:
    """The modules that a file needs, directly or through others."""
    direct = imported(path)
    return direct.union(*(closure(MODULES[name]) for name in direct))


@cache
def chain(module: str) -> int:
    """Length of the longest chain of imports below a module, itself included."""
    return 1 + max((chain(name) for name in imported(MODULES[module])), default=0)


def room(module: str) -> str:
    return module.split(".")[0]


def declared(stage: str, key: str) -> set[str]:
    """The paths or names that dvc.yaml lists for a stage."""
    entries = PIPELINE[stage].get(key, [])
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


def test_a_module_imports_from_its_own_room_and_those_before_it():
    assert {room(name) for name in MODULES} - {"__main__", "cli"} == set(ROOMS)
    order = {name: place for place, name in enumerate((*ROOMS, "cli", "__main__"))}
    against = [
        (name, other)
        for name, path in MODULES.items()
        for other in imported(path)
        if order[room(other)] > order[room(name)]
    ]
    assert against == []


def test_imports_are_few_and_shallow():
    """No circle (the recursion would not end), short chains, few joints."""
    assert max(map(chain, MODULES)) <= 6
    assert sum(len(imported(path)) for path in MODULES.values()) <= 2 * len(MODULES)


def test_tensorflow_is_imported_in_networks_and_by_every_module_there():
    importers = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        for imports in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if imports.split(".")[0] in ("tensorflow", "keras")
    }
    assert importers == {name for name in MODULES if room(name) == "networks"}


HEAVY = (
    "tensorflow", "keras", "pandas", "scipy", "sklearn", "dvc", "psutil", "pydantic", "matplotlib",
    "h5py", "cv2",
)  # fmt: skip


def test_predict_imports_nothing_heavy():
    """`pip install .` brings none of these, and they take seconds to import."""
    program = (
        "import importlib, sys\n"
        "for module in sys.argv[2:]:\n"
        "    importlib.import_module(f'ulna.{module}')\n"
        "print(*sorted(set(sys.argv[1].split()) & set(sys.modules)))\n"
    )
    modules = [name for name in MODULES if room(name) == "inference"]
    done = subprocess.run(
        [sys.executable, "-c", program, " ".join(HEAVY), *modules],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_a_stage_refuses_bad_input_before_it_imports_tensorflow():
    """One after the other in one process: the first that imports it at its top is named."""
    program = (
        "import importlib, sys\n"
        "for stage in sys.argv[1:]:\n"
        "    importlib.import_module(f'stages.{stage}')\n"
        "    if {'tensorflow', 'keras'} & set(sys.modules):\n"
        "        sys.exit(stage)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *SCRIPTS], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_stages_of_the_pipeline_are_the_scripts():
    commands = {stage["cmd"].split()[2].removeprefix("stages.") for stage in PIPELINE.values()}
    assert commands == set(SCRIPTS)
    assert all(len(path.read_text().splitlines()) <= 60 for path in SCRIPTS.values())


@pytest.mark.promise("B13")
def test_a_stage_depends_on_the_rooms_of_the_code_it_runs():
    for stage, entry in PIPELINE.items():
        script = SCRIPTS[entry["cmd"].split()[2].removeprefix("stages.")]
        needed = {f"src/ulna/{room(name)}" for name in closure(script)}
        needed.add(f"stages/{script.name}")
        listed = {dep for dep in declared(stage, "deps") if dep.startswith(("src/", "stages/"))}
        assert listed == needed, stage


@pytest.mark.promise("B13")
def test_a_stage_declares_the_sections_of_the_parameters_that_it_reads():
    shared = {field.name for field in fields(TrainingConfig)} & set(Params.model_fields)
    for stage, entry in PIPELINE.items():
        script = SCRIPTS[entry["cmd"].split()[2].removeprefix("stages.")].read_text()
        read = {
            node.attr
            for node in ast.walk(ast.parse(script))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "params"
        }
        listed = {name.split(".")[0] for name in declared(stage, "params")}
        # `check_weights` reads the networks' sections, but no output depends on what it finds.
        beside = {"networks"} if "check_weights(" in script else set()
        if "training" in read:
            # `Params.training(arch)` reads these, and the section of the network itself.
            read = read - {"training"} | shared
            assert any(name.startswith("${") for name in listed), stage
            listed = {name for name in listed if not name.startswith("${")}
        assert read <= listed <= read | beside, stage
        assert read <= set(Params.model_fields)


def test_the_headlines_alone_are_metrics_and_no_costly_stage_has_an_out_without_cache():
    """All that `dvc metrics` reads; and DVC has no run cache for a stage with such an out."""
    metrics = {name: declared(name, "metrics") for name in PIPELINE}
    assert {name: found for name, found in metrics.items() if found} == {
        "evaluate": {"metrics/${item.arch}.json"},
        "evaluate_ensemble": {"metrics/ensemble.json"},
    }
    for stage, entry in PIPELINE.items():
        in_git = [out for out in entry.get("outs", []) if isinstance(out, dict)]
        script = SCRIPTS[entry["cmd"].split()[2].removeprefix("stages.")]
        assert not in_git or "networks" not in map(room, closure(script)), stage


def test_no_two_stages_write_the_same_file():
    outs = [
        out for stage in PIPELINE for key in ("outs", "metrics") for out in declared(stage, key)
    ]
    for out in outs:
        assert [other for other in outs if f"{other}/".startswith(f"{out}/")] == [out]


def test_a_stage_imports_ulna_from_the_source_beside_it(tmp_path):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "__init__.py").write_text((ROOT / "stages/__init__.py").read_text())
    (tmp_path / "stages" / "where.py").write_text("import ulna\nprint(ulna.__file__)\n")
    (tmp_path / "src" / "ulna").mkdir(parents=True)
    (tmp_path / "src" / "ulna" / "__init__.py").touch()
    shown = subprocess.run(
        [sys.executable, "-m", "stages.where"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(shown.stdout.strip()) == tmp_path / "src" / "ulna" / "__init__.py"


@pytest.mark.promise("D24")
def test_no_module_can_run_code_from_a_file():
    """No pickle, no load_model, no yaml.load, no shell."""
    for path in [*MODULES.values(), *SCRIPTS.values()]:
        text = path.read_text()
        for word in ("pickle", "load_model", "yaml.load(", "shell=True", "eval(", "exec("):
            assert word not in text, f"{path} says {word}"

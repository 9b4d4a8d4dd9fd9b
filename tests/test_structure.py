"""The plan of the house against the house: import order, and dvc.yaml against the code."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ulna.core.params import Params

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "ulna"
PIPELINE = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))
# The order in which data flows through the modules.
FLOW = (
    "errors",
    "params",
    "paths",
    "files",
    "processes",
    "console",
    "side_by_side",
    "environment",
    "runtime",
    "predictions",
    "phantom.scene",
    "phantom.skeleton",
    "phantom.anatomy",
    "phantom.pathology",
    "phantom.radiograph",
    "phantom.tree",
    "data.counts",
    "data.cache",
    "data.rows",
    "data.source",
    "data.index",
    "data.truth",
    "data.splits",
    "data.square",
    "data.regions",
    "data.images",
    "data.cache_writer",
    "data.overview",
    "networks.augmentation",
    "networks.dataset",
    "networks.losses",
    "networks.pretrained",
    "networks.models",
    "networks.forward",
    "networks.frozen",
    "networks.devices",
    "networks.checkpoints",
    "networks.resume",
    "networks.training",
    "networks.phases",
    "networks.bundle",
    "networks.inference",
    "networks.transfer",
    "networks.subsets",
    "judging.metrics",
    "judging.exact",
    "judging.bootstrap",
    "judging.temperature",
    "judging.thresholds",
    "judging.reliability",
    "judging.calibration",
    "judging.reference",
    "judging.evaluation",
    "judging.ensemble",
    "judging.paired_tests",
    "judging.comparison",
    "judging.transfer_matrix",
    "judging.epochs",
    "judging.overfitting",
    "judging.size_curve",
    "checks.quality",
    "checks.appearance",
    "checks.duplicates",
    "checks.audit",
    "checks.baselines",
    "checks.occlusion",
    "maps.pointing",
    "maps.gallery",
    "maps.saliency",
    "figures.names",
    "figures.style",
    "figures.exhibits",
    "figures.results",
    "figures.overfitting",
    "figures.audit",
    "figures.baselines",
    "figures.occlusion",
    "figures.calibration",
    "figures.comparison",
    "figures.review",
    "figures.saliency",
    "figures.transfer",
    "report.charts",
    "report.page",
    "report.peers",
    "report.checklist",
    "report.evidence",
    "report.curves",
    "report.chapters",
    "report.chapters_training",
    "report.chapters_checks",
    "report.document",
    "team.overrides",
    "team.revisions",
    "team.planner",
    "team.plan",
    "team.compare",
    "team.ranking",
    "team.grid",
    "team.tracked",
    "team.manifest",
    "team.verify",
    "team.share",
    "team.check",
    "cli",
)
ARCHS = ("cnn", "densenet169")
# Stages that must not wait for TensorFlow, and judge networks of any framework.
LIGHT = [
    "phantom", "prepare", "preprocess", "audit", "baselines", "evaluate", "average", "compare",
    "matrix", "occlusion", "learning_curve", "overfitting", "plot", "report",
]  # fmt: skip


def file_of(module: str) -> Path:
    """Where a module, named below `ulna`, stands."""
    return SOURCE / f"{module.replace('.', '/')}.py"


def imported(path: Path) -> set[str]:
    """The ulna modules that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ulna":
            inside = [*(node.module or "").split(".")[1:]]
            if inside and file_of(".".join(inside)).exists():
                names.add(".".join(inside))
            else:
                names |= {".".join([*inside, alias.name]) for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.name.removeprefix("ulna.") for a in node.names if "ulna." in a.name}
    return names


def closure(path: Path) -> set[str]:
    """The ulna modules that a file needs, directly or through others."""
    found: set[str] = set()
    waiting = imported(path)
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= imported(file_of(module)) - found
    return found


def code_deps(stage: str) -> set[str]:
    """The files of code that a stage runs; a table beside a module belongs to it."""
    needed = {"stages/__init__.py", f"stages/{stage}.py", "src/ulna/__init__.py"}
    for module in closure(ROOT / "stages" / f"{stage}.py"):
        file = file_of(module)
        files = [file.parent / "__init__.py", *file.parent.glob(f"{file.stem}.*")]
        needed |= {str(f.relative_to(ROOT)) for f in files if f.suffix in (".py", ".csv")}
    return needed


def sections_read(stage: str) -> set[str]:
    """The top-level keys of params.yaml that a stage's script reads."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "params"
    }


def test_flow_lists_every_module_once():
    files = [path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py")]
    modules = [".".join(file.parts) for file in files if file.name != "__init__"]
    assert sorted(FLOW) == sorted(modules)


@pytest.mark.parametrize("module", FLOW)
def test_a_module_imports_only_from_upstream(module):
    upstream = set(FLOW[: FLOW.index(module)])
    assert imported(file_of(module)) - upstream == set()


def test_every_stage_script_is_in_the_pipeline_and_the_other_way_round():
    assert sorted(PIPELINE) == STAGES


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.promise("B13")
def test_deps_of_a_stage_are_the_code_it_runs(stage):
    code = {dep for dep in PIPELINE[stage]["deps"] if dep.endswith(".py") or dep.startswith("src/")}
    assert sorted(code) == sorted(code_deps(stage))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.promise("B13")
def test_params_of_a_stage_are_the_sections_it_reads(stage):
    declared = set(PIPELINE[stage].get("params", []))
    read = sections_read(stage)
    if "${item.arch}" in declared:
        declared = declared - {"${item.arch}"} | set(ARCHS)
    # One value stands in deps and reads as a path.
    assert {name.split(".")[0] for name in declared} == read
    assert read <= set(Params.model_fields)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_its_own_script_as_a_module(stage):
    command = PIPELINE[stage]["cmd"]
    assert command.split()[:3] == ["python", "-m", f"stages.{stage}"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_script_is_short(stage):
    assert len((ROOT / "stages" / f"{stage}.py").read_text().splitlines()) <= 60


def test_no_two_stages_write_the_same_file():
    outs = [
        next(iter(out)) if isinstance(out, dict) else out
        for stage in PIPELINE.values()
        for out in [*stage.get("outs", []), *stage.get("metrics", [])]
    ]
    for out in outs:
        assert [o for o in outs if o == out or o.startswith(f"{out}/")] == [out]


def test_light_stages_do_not_import_tensorflow():
    """One after the other in one process: the first that does is named."""
    program = (
        "import importlib, sys\n"
        "for stage in sys.argv[1:]:\n"
        "    importlib.import_module(f'stages.{stage}')\n"
        "    if {'tensorflow', 'keras'} & set(sys.modules):\n"
        "        sys.exit(stage)\n"
    )
    command = [sys.executable, "-c", program, *LIGHT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_report_does_not_wait_for_a_library_to_draw_with():
    """It shows what was drawn: matplotlib would take it a third longer to start."""
    program = "import sys, stages.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


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
    for path in [*SOURCE.rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        text = path.read_text()
        for word in ("pickle", "load_model", "yaml.load", "shell=True", "eval(", "exec("):
            assert word not in text, f"{path} says {word}"


def test_the_tree_in_the_readme_is_the_tree_on_the_disk():
    text = (ROOT / "README.md").read_text()
    tree = text.split("## The tree")[1].split("```")[1]
    modules, room = [], ""
    for line in tree.splitlines():
        name = line.split()[0] if line.strip() else ""
        if re.match(r"  \w", line):
            room = name.replace("/", ".") if name.endswith("/") else ""
        if re.match(r"  +\w", line) and name.endswith(".py"):
            modules.append(room + name.removesuffix(".py"))
    assert tuple(modules) == FLOW
    top = {line.split()[0].rstrip("/") for line in tree.splitlines() if line[:1].strip()}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    shown = {name.split("/")[0] for name in tracked if not name.startswith(".")} - {"src"}
    assert shown | {"src/ulna"} == top


def test_what_the_readme_links_to_is_there():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target
    assert not re.search("@[A-Z]+@", text)


def test_the_scores_in_the_readme_are_those_in_metrics():
    text = (ROOT / "README.md").read_text()
    for arch in (*ARCHS, "ensemble"):
        study = json.loads((ROOT / "metrics" / f"{arch}.json").read_text())["study"]
        spans = [
            f"{study[name]:.2f} ({study[f'{name}_low']:.2f} to {study[f'{name}_high']:.2f})"
            for name in ("auroc", "kappa", "accuracy", "recall", "specificity")
        ]
        assert f"| {' | '.join([str(study['n']), *spans])} |" in text

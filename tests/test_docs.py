"""README and docs against the repository: links, commands, names, scores, the site, the tour."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import networkx
import pytest
import yaml
from dvc.cli import DvcParserError, parse_args
from needs import require
from pydicom.data import get_testdata_file
from tiny_pipeline import run

from ulna.cli import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^(\w+):", MAKEFILE, re.M))
PACKAGE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Programs of others that the pages call.
OTHERS = {
    "cd", "cp", "docker", "git", "gto", "install", "mkdir", "mv", "pip", "pre-commit", "source",
    "tail", "xargs", "xdg-open",
}  # fmt: skip
# What they print changes nothing, and needs neither a remote nor an experiment.
CHEAP = (
    "dvc dag", "dvc status", "dvc repro --dry", "dvc params diff", "dvc metrics diff",
    "dvc queue status", "./ulna experiments",
)  # fmt: skip
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def commands(text: str) -> list[str]:
    """The commands of a page: lines of its console blocks, and code within its sentences."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.S)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    own = re.findall(r"(?<!`)`((?:dvc [\w-]+ |(?:\./)?ulna \w|make \w|python -m)[^`]*)`(?!`)", text)
    return [re.sub(r"\s#.*", "", line) for line in (*lines, *own)]


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        name, _, anchor = target.partition("#")
        other = page.parent / name if name else page
        assert target.startswith("https://") or other.exists(), target
        assert not anchor or anchor in anchors(other), target
    assert not re.search("@[A-Z]+@", text)


@each_page
def test_files_of_the_source_that_are_named_are_there(page):
    named = set(
        re.findall(
            r"`((?:src|stages|tests|recipes|docker|notebooks|\.ci|\.github)/[\w./-]+)`",
            page.read_text(),
        )
    )
    assert {name for name in named if "NAME" not in name and not (ROOT / name).exists()} == set()


def understood(arguments: list[str]) -> bool:
    """Whether DVC knows the command and its options; nothing is run."""
    try:
        parse_args(arguments)
    except (DvcParserError, SystemExit):
        return False
    return True


@each_page
def test_commands_are_understood(page):
    """By the parsers of DVC and of ulna, and by the Makefile: nothing is run."""
    for line in commands(page.read_text()):
        line = line.replace("$(dvc exp list --name-only)", "dreamy-newt")
        for command in re.split(r"&&|\|", line):
            name, *arguments = shlex.split(command)
            while "=" in name:  # a variable of the environment
                name, *arguments = arguments
            if name == "dvc":
                assert understood(arguments), line
            elif name in ("./ulna", "ulna"):
                assert arguments[0] in COMMANDS, line
                if arguments[1:]:  # without, it may be a mention
                    build_parser(arguments[0]).parse_args(arguments)
            elif name == "make":
                assert {word for word in arguments if "=" not in word} <= TARGETS, line
                variables = {word.split("=")[0] for word in arguments if "=" in word}
                assert all(re.search(rf"\b{each}\b", MAKEFILE) for each in variables), line
            elif name == "python":
                assert arguments[0] == "-m" and find_spec(arguments[1]), line
            else:
                assert name in OTHERS, line
            files = [word for word in arguments if word.startswith(("docker/", "recipes/"))]
            assert all((ROOT / file).exists() for file in files), line


@pytest.mark.slow
def test_commands_that_only_look_succeed(built):
    found = {line.strip() for page in PAGES for line in commands(page.read_text())}
    cheap = sorted(line for line in found if line.startswith(CHEAP))
    assert [each for each in CHEAP if not any(line.startswith(each) for line in cheap)] == []
    for line in cheap:
        done = run(built, *shlex.split(line.replace("./ulna", f"{sys.executable} {ROOT / 'ulna'}")))
        assert done.returncode == 0, (line, done.stdout, done.stderr)


def answers(text: str) -> list[tuple[str, str]]:
    """The commands of a page that are shown with what they print, and that."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.S)
    parts = [
        part.partition("\n") for block in blocks for part in re.split(r"^\$ ", block, flags=re.M)
    ]
    return [(re.sub(r"\s+#.*", "", command), shown) for command, _, shown in parts if shown]


def rounded(text: str) -> str:
    """Sums differ in the last digits between processors."""
    return re.sub(r"\d+\.\d{4,}(?:e-\d+)?", lambda number: f"{float(number[0]):.3f}", text)


def test_predictions_are_shown_as_they_are_printed(tmp_path):
    """By the bundle that comes with the package: outside of the repository there is no other.

    `./ulna` is shown with the same network, as the repository's own: its head differs.
    """
    require(find_spec("data_store"), "pydicom-data is not installed")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(get_testdata_file("RG3_UNCR.dcm", download=False), tmp_path)
    (tmp_path / "ulna").write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "ulna"} "$@"\n')
    (tmp_path / "ulna").chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    shown = answers((ROOT / "docs/predict.md").read_text())
    assert len(shown) >= 4
    for command, text in shown:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=os.environ | {"PATH": path},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        printed = done.stdout.replace(str(ROOT / "src"), ".../site-packages")
        if command.startswith("./"):
            printed, text = (each.partition("\n\n")[2] for each in (printed, text))
        assert printed and rounded(printed) == rounded(text), f"$ {command}\n{printed}"


def test_the_lines_of_python_that_predict_run(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/predict.md").read_text(), re.S)
    exec(source, {})
    first, *views = capsys.readouterr().out.splitlines()
    assert len(first.split()) == 4 and len(views) == 2


def test_the_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= 9000


def spans(row: dict, *names: str) -> list[str]:
    """Numbers with their limits, as the README has them; too few where there are none."""
    return [
        "too few"
        if row[name] is None
        else f"{row[name]:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"
        for name in names
    ]


def test_the_scores_in_the_readme_are_those_in_metrics():
    """A failure prints the rows as they should be, to be pasted."""
    names = {"cnn": "custom CNN", "densenet169": "DenseNet169, random weights",
             "ensemble": "mean of both"}  # fmt: skip
    rows = []
    for arch, name in names.items():
        study = json.loads((ROOT / "metrics" / f"{arch}.json").read_text())[arch]
        scores = spans(study, "auroc", "kappa", "sensitivity", "specificity")
        rows.append([name, str(study["n"]), *scores])
    details = json.loads((ROOT / "metrics/details/cnn.json").read_text())
    for finding, row in (details["by_finding"] or {}).items():
        counts = [str(row["studies"]), str(row["found"])]
        rows.append([finding.replace("_", " "), *counts, *spans(row, "sensitivity", "auroc")])
    table = [f"| {' | '.join(row)} |" for row in rows]
    readme = (ROOT / "README.md").read_text().splitlines()
    assert [line for line in table if line not in readme] == [], "\n" + "\n".join(table)


def test_the_picture_of_the_pipeline_is_that_of_dvc():
    """Redraw it by `make dag`."""
    shown = subprocess.run(
        [sys.executable, "-m", "dvc", "dag", "--dot"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    graph = networkx.DiGraph()
    for line in shown.splitlines():
        stages = [re.sub(r"@.*|.*dvc\.yaml:", "", name) for name in re.findall(r'"([^"]+)"', line)]
        networkx.add_path(graph, stages)
    expected = networkx.transitive_reduction(graph)
    drawn = re.findall("<title>(.+)</title>", (ROOT / "docs/pipeline.svg").read_text())
    pairs = [tuple(name.split("&#45;&gt;")) for name in drawn]
    assert {pair for pair in pairs if len(pair) == 2} == set(expected.edges)
    table = re.findall(r"^\| ([\w@*, ]+) \|", (ROOT / "docs/pipeline.md").read_text(), re.M)
    named = {name.removesuffix("@*") for row in table[1:] for name in row.split(", ")}
    assert set(graph) <= named


def test_the_site_asks_nothing_of_the_network(tmp_path):
    require(find_spec("furo"), "the site's tools are not installed (make docs)")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "docs", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    asked = defaultdict(list)
    for path in tmp_path.rglob("*.*"):
        if path.suffix in (".html", ".css", ".js"):
            text = path.read_text()
            tags = re.findall(r"<(?:script|link|img|iframe|source|object)\b[^>]*>", text)
            asked[path.name] += [tag for tag in tags if re.search(r"=\"(https?:)?//", tag)]
            asked[path.name] += re.findall(r"(?:url\(|@import |fetch\()\W?(?:https?:)?//", text)
    assert {name: found for name, found in asked.items() if found} == {}
    assert {page.stem for page in PAGES[2:]} <= {path.removesuffix(".html") for path in asked}
    search = (tmp_path / "searchindex.js").read_text()
    assert "kappa" in search


@pytest.mark.slow
def test_every_cell_of_the_tour_runs(built, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(built)
    cells = json.loads((ROOT / "notebooks/tour.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(sources) >= 10
    imported = {
        name.name.split(".")[0]
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert imported == {"json", "pandas", "matplotlib"}
    assert not any(cell.get("outputs") for cell in cells)
    variables: dict = {}
    for source in sources:
        exec(source, variables)
    matplotlib.pyplot.close("all")
    assert set(variables["networks"]) == {"cnn", "densenet169", "ensemble"}


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (PACKAGE["version"], PACKAGE["license"])


def test_containers_have_one_pinned_base_and_run_as_a_user():
    files = [path.read_text() for path in sorted((ROOT / "docker").iterdir())]
    bases = {tuple(re.findall(r"^FROM (.+)$", text, re.M)) for text in files}
    ((base,),) = bases
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    for text in files:
        assert re.findall(r"^USER (.+)$", text, re.M) == ["1000"]
        assert "pip install" not in text  # make installs, with hashes


def test_locks_of_one_environment_agree():
    """What `make repro GPU=1` or `make docs` adds replaces nothing that is there."""
    pinned = {}
    for lock in sorted(ROOT.glob("requirements*.lock")):
        text = lock.read_text()
        assert "://" not in text
        versions = defaultdict(set)
        for name, version in re.findall(r"^([\w-]+)==([\w.]+)", text, re.M):
            versions[name].add(version)
        assert len(re.findall(r"--hash=sha256:", text)) >= len(versions)
        pinned[lock.stem] = versions
    base = pinned.pop("requirements")
    differing = {
        (lock, name)
        for lock, versions in pinned.items()
        for name in set(versions) & set(base)
        if versions[name] != base[name]
    }
    assert differing == set()

"""README and docs against the repository: links, commands, file names and the printed scores."""

import json
import re
from pathlib import Path

import pytest

from ulna.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_and_commands_exist(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target
    assert set(re.findall(r"(?:`|\$ )make (\w+)", text)) <= TARGETS
    assert set(re.findall(r"\./ulna (\w+)", text)) <= set(COMMANDS)
    assert not re.search("@[A-Z]+@", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_source_that_are_named_are_there(page):
    named = set(
        re.findall(r"`((?:src|stages|tests|recipes|\.ci|\.github)/[\w./-]+)`", page.read_text())
    )
    assert {name for name in named if "NAME" not in name and not (ROOT / name).exists()} == set()


def test_the_scores_in_the_readme_are_those_in_metrics():
    text = (ROOT / "README.md").read_text()
    for arch in ("cnn", "densenet169", "ensemble"):
        study = json.loads((ROOT / "metrics" / f"{arch}.json").read_text())["study"]
        spans = [
            f"{study[name]:.2f} ({study[f'{name}_low']:.2f} to {study[f'{name}_high']:.2f})"
            for name in ("auroc", "kappa", "accuracy", "recall", "specificity")
        ]
        assert f"| {' | '.join([str(study['n']), *spans])} |" in text

"""The report: every number is one of the JSON files', and the page works in a browser."""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from test_evaluation import random_predictions

from ulna.judging.bootstrap import METRICS, resample
from ulna.judging.comparison import PAIRS, compare_networks
from ulna.judging.evaluation import LEVELS, decided, evaluate_table
from ulna.judging.reference import NOTE, read_reference
from ulna.predictions import sigmoid
from ulna.report.checklist import read_checklist
from ulna.report.document import html_report, markdown_report
from ulna.report.evidence import NAMES, Evidence
from ulna.report.page import span
from ulna.report.peers import read_peers

# 1 x 1 pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8"
    "ffff3f0005fe02fea735819e0000000049454e44ae426082"
)
FIGURES = (
    "splits", "examples", "learning_curves", "architecture", "roc", "confusion",
    "kappa_by_body_part", "calibration", "compare", "transfer", "audit", "baselines",
    "disagreements", "cnn/saliency", "densenet169/saliency",
)  # fmt: skip


@pytest.fixture(scope="module")
def evidence(params, tmp_path_factory) -> Evidence:
    png = tmp_path_factory.mktemp("figures") / "a.png"
    png.write_bytes(PNG)
    settings = params.evaluate.model_copy(update={"bootstrap_draws": 200})
    images = {
        arch: random_predictions(1).assign(
            logit=lambda t, k=k: t["logit"] / (k + 1),
            probability=lambda t: sigmoid(t["logit"]),
        )
        for k, arch in enumerate(NAMES)
    }
    judged = {arch: evaluate_table(table, settings, seed=1) for arch, table in images.items()}
    test = {
        (arch, level): decided(table, level, settings)[0].query("split == 'test'")
        for arch, table in images.items()
        for level in LEVELS
    }
    resamples = resample(test["cnn", "study"]["patient"], 200, seed=1)
    compare = {
        f"{one}_vs_{two}": compare_networks(
            (one, two),
            {level: (test[one, level], test[two, level]) for level in LEVELS},
            resamples,
            10,
        )
        for one, two in PAIRS
    }
    side = {"auroc": 0.9, "auroc_low": 0.8, "auroc_high": 0.95}
    ends = {"kappa": None, "kappa_low": None, "kappa_high": None}
    localisation = {
        "n": 5,
        "patients": 5,
        "value": 0.5,
        "low": 0.2,
        "high": 0.8,
        "chance_even": 0.1,
    }
    explain = {
        "randomisation": {"passed": True, "rank_correlation": {"head": 0.3, "block1": 0.1}},
        "localisation": {"abnormal": {"pointing_game": localisation}},
    }
    counts = {"duplicate_across_splits": 1, "contradicting_duplicate": 0, "inverted": 3}
    metrics = {arch: found.metrics | {"model_sha256": "ab" * 32} for arch, found in judged.items()}
    metrics |= {
        "compare": compare,
        "transfer": {"WRIST": {name: side for name in ("seen", "unseen", "seen_minus_unseen")}},
        "audit": {"images": 9, "studies": 5, "patients": 4, "set_aside": 0, "findings": counts},
        "baselines": {
            "verdict": "No baseline raises an alarm.",
            "prevalence": side | ends | {"flag": False},
        },
        "explain_cnn": explain,
        "explain_densenet169": {"randomisation": explain["randomisation"] | {"passed": False}},
    }
    history = pd.DataFrame(
        {
            "epoch": [1, 2],
            "loss": 0.5,
            "val_loss": 0.6,
            "auroc": 0.8,
            "val_auroc": 0.7,
            "best": [0, 1],
        }
    )
    cell = {"trained_on": "WRIST", "tested_on": "HAND", "studies": 12} | side | ends
    tables = {"transfer": pd.DataFrame([cell])}
    for arch in ("cnn", "densenet169"):
        tables[f"{arch}/history"] = history
        tables[f"{arch}/by_body_part"] = judged[arch].by_body_part
        tables[f"{arch}/disagreements"] = judged[arch].disagreements
    sizes = pd.DataFrame(
        {
            "body_part": "HAND",
            "split": ["train", "val", "test"],
            "label": 0,
            "studies": 3,
            "images": 4,
        }
    )
    return Evidence(
        metrics=json.loads(json.dumps(metrics)),
        tables=tables,
        figures=dict.fromkeys(FIGURES, png),
        sizes=sizes,
        reference=read_reference(),
        peers=read_peers(),
        checklist=read_checklist(),
        versions={"numpy": "2"},
        params="seed: 1",
        root="data/<here>",
    )


@pytest.fixture(scope="module")
def html(evidence) -> str:
    return html_report(evidence)


def cells(html: str, caption: str) -> list[list[str]]:
    """The text of a table's body, found by the beginning of its caption."""
    [body] = re.findall(rf"<caption>{re.escape(caption)}.*?<tbody>(.*?)</tbody>", html, re.S)
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.S)
    return [[unescape(c) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


@pytest.mark.promise("A10")
@pytest.mark.parametrize("level", ["study", "image"])
def test_the_numbers_of_the_page_are_those_of_the_json_files(evidence, html, level):
    rows = {first: rest for first, *rest in cells(html, f"Test set, per {level}")}
    names = ("AUROC", "average precision", "kappa", "accuracy", "sensitivity", "specificity")
    for words, name in zip(
        names, ("auroc", "auprc", "kappa", "accuracy", "recall", "specificity"), strict=True
    ):
        expected = [span(evidence.metrics[arch][level], name) for arch in NAMES]
        assert rows[words] == expected
    assert len(rows) == len(METRICS) + 1


def test_the_verdict_is_on_top_and_carries_n_and_intervals(evidence, html):
    top = html[html.index('id="verdict"') : html.index("<nav")]
    study = evidence.metrics["cnn"]["study"]
    assert span(study, "auroc") in top
    assert f"{study['n']:,} test studies" in top
    assert NOTE in top
    assert "No baseline raises an alarm." in top


def test_published_values_never_stand_without_their_note(html):
    for caption in re.findall(r"<caption>([^<]*[Pp]ublished[^<]*)</caption>", html):
        assert NOTE in caption


@pytest.mark.promise("E32")
def test_maps_that_fail_their_test_are_said_not_to_be_shown(html):
    maps = html[html.index('id="maps"') : html.index('id="failures"')]
    assert "CNN: the maps pass" in maps
    assert "DenseNet169: the maps do not pass" in maps
    assert "are not shown" in maps


@pytest.mark.promise("E33")
def test_every_place_in_the_checklist_is_a_section_of_the_page(evidence, html):
    for place in set(evidence.checklist["place"]) - {""}:
        assert f'id="{place}"' in html


def test_links_lead_to_sections_and_nothing_leads_out(html):
    for target in re.findall(r'href="([^"]+)"', html):
        assert target == "data:," or f'id="{target[1:]}"' in html
    assert "http://" not in html and "https://" not in html


def test_the_short_version_has_the_headline(evidence):
    text = markdown_report(evidence)
    study = evidence.metrics["cnn"]["study"]
    assert text.startswith("# ")
    assert f"| AUROC | {span(study, 'auroc')} |" in text
    assert "Not a medical device" in text


@pytest.mark.slow
def test_in_a_browser_the_page_runs_without_an_error_or_a_request(html, tmp_path):
    """Console messages go to stderr; what the policy forbids would be one of them."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing: .ci/run installs it")
        pytest.skip("chromium is not installed")
    file = tmp_path / "report.html"
    file.write_text(html, encoding="utf-8")
    shown = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )  # fmt: skip
    assert "CONSOLE" not in shown.stderr
    # The script has run: every column of a table can be sorted by a button.
    heads = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", shown.stdout)
    assert heads and all(head.startswith("<button") for head in heads)
    assert shown.stdout.count("<tr>") == html.count("<tr>")


def test_the_stage_reads_only_what_it_declares():
    """It takes whatever lies in metrics/ and plots/: dvc.yaml must list what the page shows."""
    root = Path(__file__).resolve().parents[1]
    text = (root / "dvc.yaml").read_text()
    report = text[text.index("\n  report:") :]
    for name in FIGURES:
        assert f"- plots/{name}.png" in report

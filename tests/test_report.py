"""The report: every number is one of the JSON files', and the page works in a browser."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML
from test_evaluation import random_predictions

from ulna.checks.occlusion import judge_hidden
from ulna.checks.occlusion import tabulate as tabulate_halves
from ulna.checks.occlusion import verdict as occlusion_verdict
from ulna.environment import describe
from ulna.figures.names import METRICS as WORDS
from ulna.figures.names import NAMES
from ulna.judging.bootstrap import METRICS, resample
from ulna.judging.comparison import PAIRS, compare_networks
from ulna.judging.evaluation import LEVELS, decided, evaluate_table
from ulna.judging.metrics import precision_recall, roc
from ulna.judging.reference import NOTE, read_reference
from ulna.predictions import sigmoid
from ulna.report.checklist import read_checklist
from ulna.report.document import SYNTHETIC, html_report, lead, markdown_report, verdict
from ulna.report.evidence import FIGURES, METRIC_FILES, TABLES, Evidence, in_words
from ulna.report.page import span, table
from ulna.report.peers import read_peers

# 1 x 1 pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8"
    "ffff3f0005fe02fea735819e0000000049454e44ae426082"
)
ENVIRONMENT = describe(2, [])


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
    origin = {"model_sha256": "ab" * 32, "environment": ENVIRONMENT}
    metrics = {arch: found.metrics | origin for arch, found in judged.items()}
    hidden = {
        arch: judge_hidden(
            {"whole": images[arch]} | dict.fromkeys(("frame_hidden", "centre_hidden"), halves),
            settings,
            seed=1,
        )
        for arch in ("cnn", "densenet169")
        for halves in [images["ensemble"].query("split == 'test'")]
    }
    words = occlusion_verdict(hidden)
    metrics |= {
        "occlusion": {"verdict": words, "flag": "Alarm" in words} | hidden,
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
    gap = {
        f"{name}{kind}{end}": 0.1
        for name in ("auroc", "kappa", "accuracy", "log_loss")
        for kind in ("", "_gap")
        for end in ("", "_low", "_high")
    }
    kept = {"words": "cnn: kept epoch 2", "loss_gap_kept": 0.1, "auroc_gap_kept": 0.1}
    course = {"course": kept, "verdict": "cnn does not overfit"}
    metrics["overfitting"] = {
        "cnn": course,
        "densenet169": course,
        "learning_curve": {"verdict": "the learning curve is switched off"},
    }
    cell = {"trained_on": "WRIST", "tested_on": "HAND", "studies": 12} | side | ends
    tables = {"transfer": pd.DataFrame([cell]), "occlusion": tabulate_halves(hidden)}
    sides = [
        {"network": "cnn", "split": split, "n": 9, "patients": 8} for split in ("train", "val")
    ]
    tables["overfitting"] = pd.DataFrame([side | gap for side in sides])
    tables["learning_curve"] = pd.DataFrame()
    for arch in ("cnn", "densenet169"):
        tables[f"{arch}/history"] = history
        tables[f"{arch}/by_body_part"] = judged[arch].by_body_part
        tables[f"{arch}/reliability"] = judged[arch].reliability
        truth = (judged[arch].studies["label"], judged[arch].studies["probability"])
        tables[f"{arch}/roc"] = roc(*truth)
        tables[f"{arch}/precision_recall"] = precision_recall(*truth)
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
    [body] = re.findall(rf"<caption><span>{re.escape(caption)}.*?<tbody>(.*?)</tbody>", html, re.S)
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.S)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [[unescape(re.sub("<.*?>", "", cell)) for cell in row] for row in found]


def assert_scores_stand_in(html: str, evidence: Evidence) -> None:
    """Every metric of every network at both levels, in the tables of the page."""
    for level in LEVELS:
        rows = {first: rest for first, *rest in cells(html, f"Test set, per {level}")}
        assert len(rows) == len(METRICS) + 1
        for name in METRICS:
            expected = [span(evidence.metrics[arch][level], name) for arch in NAMES]
            assert rows[WORDS[name]] == expected


@pytest.mark.promise("A10")
def test_the_numbers_of_the_page_are_those_of_the_json_files(evidence, html):
    assert_scores_stand_in(html, evidence)


def test_the_verdict_is_on_top_and_carries_n_and_intervals(evidence, html):
    top = html[html.index('id="verdict"') : html.index("<nav")]
    study = evidence.metrics["cnn"]["study"]
    assert span(study, "auroc") in top
    assert f"{study['n']:,} test studies" in top
    assert NOTE in top
    assert "No baseline raises an alarm." in top


def test_train_val_and_test_stand_side_by_side_with_their_gaps(evidence, html):
    rows = evidence.tables["overfitting"].to_dict("records")
    sides = cells(html, "Train, val and test alike")
    assert [cell[1] for cell in sides] == [row["split"] for row in rows]
    for cell, row in zip(sides, rows, strict=True):
        assert span(row, "auroc") in cell and str(row["patients"]) in cell
    [gap] = cells(html, "By how much train is better")
    assert gap[:2] == ["CNN", "val"]
    assert gap[2] == span(rows[1], "auroc_gap")
    training = html[html.index('id="training"') : html.index('id="results"')]
    for found in (evidence.metrics["overfitting"][name] for name in ("cnn", "learning_curve")):
        assert in_words(found["verdict"]) in training


def test_networks_of_fewer_patients_are_listed_where_there_are_any(evidence, html):
    assert "Networks of fewer patients" not in html
    point = {"patients": 50, "fraction": 0.25, "images": 130, "test_studies": 73}
    point |= {f"{name}{end}": 0.5 for name in ("auroc", "kappa") for end in ("", "_low", "_high")}
    tables = {**evidence.tables, "learning_curve": pd.DataFrame([point])}
    shown = cells(html_report(replace(evidence, tables=tables)), "Networks of fewer patients")
    assert [row[0] for row in shown] == ["50"]
    assert span(point, "auroc") in shown[0]


def test_published_values_never_stand_without_their_note(html):
    for caption in re.findall(r"<caption><span>([^<]*[Pp]ublished[^<]*)</span>", html):
        assert NOTE in caption


def test_what_halves_of_pictures_tell_is_said_and_an_alarm_stands_on_top(evidence, html):
    rows = cells(html, "Halves, per study of test")
    assert [row[:2] for row in rows[:2]] == [
        ["CNN", "whole picture"],
        ["CNN", "centre alone (frame hidden)"],
    ]
    alone = evidence.metrics["occlusion"]["cnn"]["frame_hidden"]
    assert re.sub("<.*?>", "", rows[1][2]) == span(alone, "auroc")
    assert re.sub("<.*?>", "", rows[1][3]) == span(alone, "auroc_drop")

    def top(flag: bool) -> str:
        found = evidence.metrics["occlusion"] | {"flag": flag, "verdict": "Alarm: cnn sees frames."}
        page = html_report(replace(evidence, metrics={**evidence.metrics, "occlusion": found}))
        return page[page.index('id="verdict"') : page.index("<nav")]

    assert "Alarm: CNN sees frames." in top(True)
    assert "sees frames" not in top(False)


@pytest.mark.promise("E32")
def test_maps_that_fail_their_test_are_said_not_to_be_shown(html):
    maps = html[html.index('id="maps"') : html.index('id="failures"')]
    assert "CNN: the maps pass" in maps
    assert "DenseNet169: the maps do not pass" in maps
    assert "are not shown" in maps


@pytest.mark.promise("E33")
def test_where_the_networks_were_trained_is_said(html):
    assert html.count(f"class {ENVIRONMENT['fingerprint']}: ") == 2


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
    assert "| duplicate across splits | 1 |" in text and "contradicting duplicate" not in text
    for found in evidence.metrics["compare"].values():
        assert in_words(found["verdict"]) in text
    assert "plots/report.html" in text


def test_the_verdict_says_whether_chance_is_excluded(evidence):
    def good(low, high):
        ends = {"auroc": 0.5, "auroc_low": low, "auroc_high": high}
        cnn = evidence.metrics["cnn"]
        changed = {**evidence.metrics, "cnn": cnn | {"study": cnn["study"] | ends}}
        [(question, [cnn_words, _]), *_] = verdict(replace(evidence, metrics=changed))
        assert question == "How good"
        return cnn_words

    assert good(0.51, 0.9).startswith("CNN tells abnormal from normal better than chance: AUROC")
    assert good(0.49, 0.9).startswith("CNN cannot be told apart from chance")
    assert good(0.1, 0.4).startswith("CNN is worse than chance")
    assert good(None, None) == "CNN cannot be judged: too few test studies."


def test_made_up_data_are_called_that_on_top(evidence):
    assert SYNTHETIC not in lead(evidence)
    assert SYNTHETIC in lead(replace(evidence, root="data/phantom/MURA-v1.1.zip"))


# Added to a copy of the page: it does what a reader does, and writes down what is to be seen.
DRIVER = """
<script>
const seen = { requests: performance.getEntriesByType("resource").map((entry) => entry.name) };
const known = document.querySelector("main").lastElementChild.querySelector("table");
const columns = () => [...known.tBodies[0].rows].map((row) => row.cells[1].textContent);
const sort = known.tHead.rows[0].cells[1].querySelector("button");
sort.click();
seen.rising = columns();
sort.click();
seen.falling = columns();

const chart = document.querySelector("#results .chart");
const [plot, readout] = chart.children;
const svg = plot.querySelector("svg");
const box = svg.getBoundingClientRect();
const scale = box.width / svg.viewBox.baseVal.width;
const place = svg.querySelector("[data-name=CNN]").dataset.points.split(";")[1].split("|");
const [x, y] = place.map((value) => Number(value) * scale);
const at = { clientX: box.left + x, clientY: box.top + y };
plot.dispatchEvent(new PointerEvent("pointermove", at));
seen.pointed = readout.textContent;
for (const key of ["Home", "ArrowRight", "ArrowRight", "ArrowLeft", "End"]) {
  plot.dispatchEvent(new KeyboardEvent("keydown", { key }));
  seen[key] = readout.textContent;
}
seen.spoken = plot.getAttribute("aria-valuetext");
plot.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }));
seen.below = readout.textContent;
seen.charts = document.querySelectorAll(".chart [role=slider][tabindex]").length;
seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const written = document.createElement("pre");
written.id = "seen";
written.textContent = JSON.stringify(seen);
document.body.append(written);
</script>
"""
VALUES = ("25", "too few", "1,204", "−3 (−4 to 5)", "< 0.001")


@pytest.fixture(scope="module")
def shown(html, tmp_path_factory) -> tuple[str, str, dict]:
    """The page as a browser holds it, the messages of the browser, and what `DRIVER` saw."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail("chromium is missing: .ci/run installs it")
        pytest.skip("chromium is not installed")
    folder = tmp_path_factory.mktemp("browser")
    file = folder / "report.html"
    rows = pd.DataFrame({"row": list("abcde"), "value": VALUES})
    whole = html.replace("</main>", f"{table(rows, 'Known')}</main>")
    file.write_text(whole.replace("</body>", f"{DRIVER}</body>"), encoding="utf-8")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    [seen] = re.findall(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    return done.stdout, done.stderr, json.loads(unescape(seen))


@pytest.mark.slow
def test_in_a_browser_the_page_runs_without_an_error_or_a_request(shown, html):
    """Console messages go to stderr; what the policy forbids would be one of them."""
    dom, messages, seen = shown
    assert "CONSOLE" not in messages
    assert all(name.startswith("data:") for name in seen["requests"])
    # The script has run: every column of a table can be sorted by a button.
    heads = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", dom)
    assert heads and all(head.startswith("<button") for head in heads)
    assert seen["wide"] == 0  # the page itself never scrolls sideways


@pytest.mark.slow
@pytest.mark.promise("A10")
def test_in_a_browser_the_numbers_are_those_of_the_json_files(shown, evidence):
    assert_scores_stand_in(shown[0], evidence)


@pytest.mark.slow
def test_in_a_browser_a_table_is_sorted_by_number_with_words_last(shown):
    *_, seen = shown
    few, *numbers = "too few", "−3 (−4 to 5)", "< 0.001", "25", "1,204"
    assert seen["rising"] == [*numbers, few]
    assert seen["falling"] == [*numbers[::-1], few]


@pytest.mark.slow
def test_in_a_browser_values_of_a_curve_are_read_out_by_pointing_and_by_key(shown, evidence, html):
    *_, seen = shown
    corners = [
        f"CNN: 1 − specificity {row.false_positive_rate:.3f}, "
        f"sensitivity {row.true_positive_rate:.3f}, "
        f"threshold {'none' if pd.isna(row.threshold) else f'{row.threshold:.3f}'}"
        for row in evidence.tables["cnn/roc"].itertuples()
    ]
    assert seen["pointed"] == corners[1]
    assert seen["Home"] == corners[0]
    assert seen["ArrowRight"] == corners[2]  # the second of two steps
    assert seen["ArrowLeft"] == corners[1]
    assert seen["End"] == seen["spoken"] == corners[-1]
    assert seen["below"].startswith("CNN at its threshold: ")
    assert seen["charts"] == html.count('<div class="chart">') == 8


def test_the_stage_lists_what_it_reads():
    """What it opens and what dvc.yaml says it opens are the same."""
    root = Path(__file__).resolve().parents[1]
    stages = YAML(typ="safe", pure=True).load((root / "dvc.yaml").read_text())["stages"]
    deps = {dep for dep in stages["report"]["deps"] if dep.startswith(("plots/", "metrics/"))}
    assert deps == {
        *(f"metrics/{name}.json" for name in METRIC_FILES),
        *(f"plots/{name}.csv" for name in TABLES),
        *(f"plots/{name}.png" for name in FIGURES),
    }

"""The report: one file, every item of the checklists, and a page that works in a browser."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from report.test_html import Structure
from report_data import EVALUATED, cells, make_report_data

from ulna.evaluation import conclusions
from ulna.evaluation.bootstrap import METRICS
from ulna.evaluation.conclusions import METRICS as LABELS
from ulna.evaluation.conclusions import REFERENCE_NOTE
from ulna.evaluation.thresholds import LEVELS
from ulna.report.build import SYNTHETIC, html_report, lead, markdown_report
from ulna.report.html import span, table
from ulna.report.sections import NOT_A_DEVICE, ReportData, read_checklist

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(params) -> ReportData:
    return make_report_data(params.evaluate)


@pytest.fixture(scope="module")
def html(data) -> str:
    return html_report(data)


def top(html: str) -> str:
    return unescape(html[html.index('id="summary"') : html.index("<nav")])


def test_the_summary_is_on_top_and_has_n_and_intervals(data, html):
    study = data.metrics["cnn"]["study"]
    assert conclusions.performance(study, "cnn") in top(html)
    assert conclusions.ci(study, "auroc") in top(html)
    assert f"{study['n']:,} test studies" in top(html)
    assert REFERENCE_NOTE in top(html)
    assert conclusions.baselines(data.metrics["baselines"]) in top(html)


def test_an_occlusion_alarm_is_on_top_and_no_alarm_is_not(data):
    for flag in (True, False):
        summary = data.metrics["occlusion"] | {"flag": flag}
        page = html_report(replace(data, metrics={**data.metrics, "occlusion": summary}))
        assert (conclusions.occlusion(summary) in top(page)) == flag


def test_the_page_is_well_formed_and_has_no_external_link(html):
    structure = Structure(html)
    assert len(structure.ids) == len(set(structure.ids))
    for link in structure.links:
        assert link == "data:," or link.startswith("data:image/png") or link[1:] in structure.ids
    assert "http://" not in html and "https://" not in html


def test_every_figure_is_in_the_page_with_alt_text(data, html):
    labels = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)">', html)
    assert len(labels) == html.count("<svg") == len(data.figures) == 17
    assert all(len(label) > 15 for label in labels)


@pytest.mark.promise("E33")
def test_every_item_of_the_checklist_has_a_section_or_a_reason(html):
    for row in read_checklist().itertuples():
        assert f'id="{row.place}"' in html if row.place else row.note.startswith("not applicable: ")


def test_the_markdown_has_the_headline_metrics(data):
    text = markdown_report(data)
    study = data.metrics["cnn"]["study"]
    assert text.startswith("# ") and NOT_A_DEVICE in text
    assert f"| AUROC | {span(study, 'auroc')} |" in text
    assert "| duplicate across splits | 1 |" in text and "duplicate label conflict" not in text
    for key, result in data.metrics["compare"].items():
        assert conclusions.comparison(result, *key.split("_vs_")) in text
    assert "plots/report.html" in text


def test_synthetic_data_are_named_on_top(data):
    assert SYNTHETIC not in lead(data)
    assert SYNTHETIC in lead(replace(data, synthetic=True))


def test_the_report_does_not_import_matplotlib():
    program = "import sys, stages.report; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


# Added to a copy of the page: it acts as a reader and records what is displayed.
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
const paper = document.querySelector("#results svg path");
const fill = () => getComputedStyle(paper).fill;
seen.day = fill();
document.documentElement.style.setProperty("--paper", "#14171c");
seen.night = fill();
seen.figure = document.querySelector("#results svg").getBoundingClientRect().width;
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
    """The DOM in a browser, the messages of the browser, and the record of `DRIVER`."""
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
            "--disable-sync", "--enable-logging=stderr", "--v=0", "--window-size=390,800",
            f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )  # fmt: skip
    [seen] = re.findall(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    return done.stdout, done.stderr, json.loads(unescape(seen))


@pytest.mark.slow
def test_in_a_browser_the_page_runs_without_an_error_or_a_request(shown):
    """Console messages go to stderr, violations of the content policy among them."""
    dom, messages, seen = shown
    assert "CONSOLE" not in messages, messages
    assert all(name.startswith("data:") for name in seen["requests"])
    # The script has run: every column of a table can be sorted by a button.
    heads = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", dom)
    assert heads and all(head.startswith("<button") for head in heads)
    assert seen["wide"] == 0  # the page itself never scrolls horizontally


@pytest.mark.slow
@pytest.mark.promise("A10")
def test_in_a_browser_the_numbers_are_those_of_the_json_files(shown, data):
    for level in LEVELS:
        rows = {first: rest for first, *rest in cells(shown[0], f"Test set, per {level}")}
        for name in METRICS:
            assert rows[LABELS[name]] == [span(data.metrics[a][level], name) for a in EVALUATED]


@pytest.mark.slow
def test_in_a_browser_a_table_is_sorted_by_number_with_text_last(shown):
    *_, seen = shown
    few, *numbers = "too few", "−3 (−4 to 5)", "< 0.001", "25", "1,204"
    assert seen["rising"] == [*numbers, few]
    assert seen["falling"] == [*numbers[::-1], few]


@pytest.mark.slow
def test_in_a_browser_figures_follow_the_colours_of_the_page(shown):
    *_, seen = shown
    assert (seen["day"], seen["night"]) == ("rgb(255, 255, 255)", "rgb(20, 23, 28)")
    assert seen["figure"] > 390  # on a phone it scrolls instead of shrinking its text

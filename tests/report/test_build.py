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
from report_data import EVALUATED, cells, make_report_data, read_checklist

from ulna.evaluation import LEVELS, conclusions
from ulna.evaluation import METRIC_NAMES as LABELS
from ulna.evaluation.bootstrap import METRICS
from ulna.report import verdict
from ulna.report.background import NOT_A_DEVICE
from ulna.report.build import SECTIONS, SYNTHETIC, html_report, lead, markdown_report
from ulna.report.contents import ReportData
from ulna.report.html import span, table

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(params) -> ReportData:
    return make_report_data(params.evaluate)


@pytest.fixture(scope="module")
def html(data) -> str:
    return html_report(data)


def top(html: str) -> str:
    return unescape(html[html.index('id="summary"') : html.index("<nav")])


def test_the_answers_are_on_top(data, html):
    for sentences in verdict.answers(data).values():
        assert all(sentence in top(html) for sentence in sentences)
    assert "0.705" not in top(html)  # another test set: no part of the verdict


def test_numbers_from_too_few_studies_are_shown_with_that_word(data):
    for conclusion, word in (("too_few", True), ("above_chance", False)):
        study = data.metrics[data.best]["study"] | {"conclusion": conclusion}
        metrics = {**data.metrics, data.best: data.metrics[data.best] | {"study": study}}
        page = top(html_report(replace(data, metrics=metrics)))
        assert ("too few studies to tell" in page) == word


def test_the_page_is_well_formed_and_has_no_external_link(html):
    structure = Structure(html)
    assert len(structure.ids) == len(set(structure.ids))
    for link in structure.links:
        assert link.startswith(("data:,", "data:image/", "data:text/")) or link[1:] in structure.ids
    assert "http://" not in html and "https://" not in html


def test_every_figure_is_in_the_page_with_alt_text(data, html):
    labels = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)">', html)
    pictures = sum(len(group) for group in data.pictures.values())
    assert len(labels) == html.count("<svg") == len(data.figures) + pictures == 17 + 4
    assert all(len(label) > 15 for label in labels)


@pytest.mark.promise("E33")
def test_every_item_of_the_checklist_has_a_section_or_a_reason(html):
    for row in read_checklist().itertuples():
        assert f'id="{row.place}"' in html if row.place else row.note.startswith("not applicable: ")


def test_headings_are_in_order_and_every_section_has_one(html):
    levels = [int(level) for level in re.findall(r"<h([1-6])", html)]
    assert levels[0] == 1 and levels.count(1) == 1 and levels.count(2) == len(SECTIONS)
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def test_the_markdown_has_the_headline_metrics_and_no_picture(data):
    text = markdown_report(data)
    study = data.metrics["cnn"]["study"]
    assert text.startswith("# ") and NOT_A_DEVICE in text
    assert f"| AUROC | {span(study, 'auroc')} |" in text
    assert "| duplicate across splits | 1 |" in text and "duplicate label conflict" not in text
    assert verdict.finds(data)[0] in text
    for key, result in data.metrics["compare"].items():
        assert conclusions.comparison(result, *key.split("_vs_")) in text
    assert "plots/report.html" in text and "data:image" not in text


def test_synthetic_data_are_named_on_top(data):
    assert SYNTHETIC not in lead(data)
    assert SYNTHETIC in lead(replace(data, synthetic=True))


def test_the_report_does_not_import_matplotlib():
    program = "import sys, stages.report; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


# Added to a copy of the page: it acts as a reader and records what is displayed.
DRIVER = """
<script>
for (const folded of document.querySelectorAll("details")) folded.open = true;
const seen = { requests: performance.getEntriesByType("resource").map((entry) => entry.name) };
const known = document.querySelector("main").lastElementChild.querySelector("table");
const columns = () => [...known.tBodies[0].rows].map((row) => row.cells[1].textContent);
const sort = known.tHead.rows[0].cells[1].querySelector("button");
sort.click();
seen.rising = columns();
sort.click();
seen.falling = columns();
const paper = document.querySelector("#results figure .wide svg path");
const fill = () => getComputedStyle(paper).fill;
seen.day = fill();
document.documentElement.style.setProperty("--paper", "#14171c");
seen.night = fill();
seen.figure = document.querySelector("#results figure .wide svg").getBoundingClientRect().width;
seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const picture = document.querySelector(".picture");
const width = () => picture.getBoundingClientRect().width;
const section = document.querySelector("#calibration > details");
section.open = false;
seen.closed = width();
seen.folded = section.open;
location.hash = picture.id;
seen.enlarged = width();
location.hash = "calibration";
dispatchEvent(new Event("hashchange"));
seen.opened = section.open;
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
    assert seen["figure"] == 864  # on a phone it scrolls instead of shrinking its text


@pytest.mark.slow
def test_in_a_browser_a_click_enlarges_a_picture_and_a_link_opens_its_section(shown):
    *_, seen = shown
    assert seen["closed"] < 400 < seen["enlarged"]
    assert seen["folded"] is False and seen["opened"] is True

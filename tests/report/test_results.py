import re
from dataclasses import replace
from html import unescape

import pandas as pd
import pytest
from report_data import EVALUATED, cells, make_report_data

from ulna.evaluation import LEVELS, NAMES, REFERENCE_NOTE, conclusions
from ulna.evaluation import METRIC_NAMES as LABELS
from ulna.evaluation.bootstrap import METRICS
from ulna.report import results
from ulna.report.html import span
from ulna.report.pictures import GROUPS


@pytest.fixture(scope="module")
def data(params):
    return make_report_data(params.evaluate)


def html_of(section):
    return unescape(section.lead + section.more)


@pytest.mark.promise("A10")
def test_the_numbers_are_those_of_the_json_files(data):
    html = html_of(results.results(data))
    for level in LEVELS:
        rows = {first: rest for first, *rest in cells(html, f"Test set, per {level}")}
        assert len(rows) == len(METRICS) + 1
        for name in METRICS:
            expected = [span(data.metrics[arch][level], name) for arch in EVALUATED]
            assert rows[LABELS[name]] == expected


def test_the_level_that_counts_is_on_top_and_says_so(data):
    section = results.results(data)
    assert "per study, the level that counts" in section.lead
    assert "per image" in section.more and "per image" not in section.lead


def test_what_is_missed_is_on_top_with_the_finding_marked_and_the_rest_is_folded(data):
    section = results.findings(data)
    found = conclusions.found_and_false(data.metrics[data.best]["study"])
    assert f"{NAMES[data.best]}: {found}" in section.lead
    assert section.lead.count('class="picture"') == 1
    assert section.more.count('class="picture"') == len(GROUPS) - 1
    assert '<rect x="1" y="2" width="5" height="7"/>' in section.lead
    assert "<b>missed</b>" in section.lead and "p 0.25, 3 views" in section.lead
    none = replace(data, pictures=dict.fromkeys(GROUPS, []))
    assert 'class="picture"' not in html_of(results.findings(none))


def test_each_finding_has_its_counts_and_scores(data):
    row = {"finding": "bone_loss", "studies": 1200, "found": 6, "sensitivity": 0.75}
    row |= {f"sensitivity{end}": 0.5 for end in ("_low", "_high")}
    row |= {f"auroc{end}": float("nan") for end in ("", "_low", "_high")}
    row |= {"sensitivity_at_specificity_80": 0.7}
    named = {**data.tables, f"{data.best}/by_finding": pd.DataFrame([row])}
    html = html_of(results.findings(replace(data, tables=named)))
    [shown] = cells(html, f"{NAMES[data.best]} by finding")
    assert shown == ["bone loss", "1,200", "6", "0.75 (0.50 to 0.50)", "too few", "0.70"]
    assert f"{NAMES[data.best]} by finding" not in html_of(results.findings(data))


def test_published_values_are_never_shown_without_their_note(data):
    html = html_of(results.body_parts(data))
    captions = re.findall(r"<(?:caption><span|figcaption)>([^<]*[Pp]ublished[^<]*)<", html)
    assert captions and all(REFERENCE_NOTE in caption for caption in captions)
    rows = cells(html, "Published kappas of Stanford's model")
    assert rows[-1] == ["overall", "0.705"] and len(rows) == 8
    assert "best of three radiologists 0.778" in html


def test_synthetic_radiographs_are_not_compared_with_published_values(data):
    html = html_of(results.body_parts(replace(data, synthetic=True)))
    assert "cannot be compared" in html and "<caption><span>Published" not in html


def test_each_pair_is_compared(data):
    frame = results.difference_frame(data)
    study = data.metrics["compare"]["ensemble_vs_cnn"]["study"]
    assert list(frame["pair"]) == ["CNN − DenseNet169", "ensemble − CNN", "ensemble − DenseNet169"]
    assert frame["n"][1] == f"{study['n']:,}"
    assert len(results.compared(data)) == 3

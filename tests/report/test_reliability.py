from dataclasses import replace
from html import unescape

import pandas as pd
import pytest
from report_data import cells, make_report_data

from ulna.evaluation import conclusions
from ulna.report import reliability
from ulna.report.html import span


@pytest.fixture(scope="module")
def data(params):
    return make_report_data(params.evaluate)


def html_of(section):
    return unescape(section.lead + section.more)


def test_train_val_and_test_are_listed_with_their_gaps(data):
    html = html_of(reliability.training(data))
    rows = data.tables["overfitting"].to_dict("records")
    values = cells(html, "Metrics by split")
    assert [cell[1] for cell in values] == [row["split"] for row in rows]
    for cell, row in zip(values, rows, strict=True):
        assert span(row, "auroc") in cell and str(row["patients"]) in cell
    [gap] = cells(html, "Train minus val or test")
    assert gap[:3] == ["CNN", "val", span(rows[1], "auroc_gap")]
    summaries = data.metrics["overfitting"]
    assert conclusions.overfitting(summaries["cnn"], "cnn") in unescape(html)
    assert conclusions.learning_curve(summaries["learning_curve"]) in unescape(html)


def test_the_learning_curve_is_listed_if_it_was_computed(data):
    assert "Learning curve, one training" not in html_of(reliability.training(data))
    point = {"patients": 50, "fraction": 0.25, "images": 130, "test_studies": 73}
    point |= {f"{name}{end}": 0.5 for name in ("auroc", "kappa") for end in ("", "_low", "_high")}
    tables = {**data.tables, "learning_curve": pd.DataFrame([point])}
    html = html_of(reliability.training(replace(data, tables=tables)))
    [shown] = cells(html, "Learning curve, one training")
    assert shown[0] == "50" and span(point, "auroc") in shown


def test_occlusion_scores_are_listed(data):
    html = html_of(reliability.shortcuts(data))
    whole, centre, *_ = cells(html, "Per study of test, n = 120; loss")
    assert whole[0] == centre[0] == "CNN"
    alone = data.metrics["occlusion"]["cnn"]["frame_hidden"]
    assert centre[2:4] == [span(alone, "auroc"), span(alone, "auroc_drop")]
    assert whole[3] == ""


@pytest.mark.promise("E32")
def test_maps_that_fail_the_randomization_test_are_not_shown_and_the_page_says_so(data):
    # The stage `plot` draws no figure of them.
    figures = {k: svg for k, svg in data.figures.items() if k != "densenet169/saliency"}
    section = reliability.maps(replace(data, figures=figures))
    passed, failed = section.lead.split("</li>")[:2]
    assert "not shown" not in passed and "not shown" in failed
    assert section.more.count("<figure>") == 1
    for arch in data.networks:
        test = data.metrics[f"saliency_{arch}"]["randomization"]
        assert conclusions.randomization(test, arch) in html_of(section)


def test_maps_stand_beside_all_levels_that_need_no_network(data):
    lead = reliability.maps(data).lead
    for level in (
        "by chance in 0.10",
        "another image's map in 0.30",
        "brightest spot of the image in 0.45",
    ):
        assert level in unescape(lead)
    chance = data.metrics["saliency_cnn"] | {"at_chance": True}
    other = replace(data, metrics={**data.metrics, "saliency_cnn": chance})
    assert "have nothing to show" in reliability.maps(other).lead


def test_findings_of_the_audit_are_explained_where_their_name_does_not(data):
    audit = data.metrics["audit"] | {"findings": {"single_view": 4, "inverted": 0}}
    data = replace(data, metrics={**data.metrics, "audit": audit})
    assert reliability.finding_frame(data).to_numpy().tolist() == [
        ["single view", "4", "a study of one image"], ["inverted", "0", ""]
    ]  # fmt: skip
    assert len(reliability.finding_frame(data, only_found=True)) == 1

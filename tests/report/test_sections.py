import re
from dataclasses import replace
from html import unescape

import pandas as pd
import pytest
from report_data import ENVIRONMENT, EVALUATED, cells, make_report_data

from ulna.evaluation import conclusions
from ulna.evaluation.bootstrap import METRICS
from ulna.evaluation.conclusions import METRICS as LABELS
from ulna.evaluation.conclusions import REFERENCE_NOTE
from ulna.evaluation.thresholds import LEVELS
from ulna.report import sections
from ulna.report.html import span
from ulna.report.sections import PEERS_NOTE, read_checklist, read_peers


@pytest.fixture(scope="module")
def data(params):
    return make_report_data(params.evaluate)


@pytest.mark.promise("A10")
def test_the_numbers_are_those_of_the_json_files(data):
    _, _, html = sections.results(data)
    for level in LEVELS:
        rows = {first: rest for first, *rest in cells(html, f"Test set, per {level}")}
        assert len(rows) == len(METRICS) + 1
        for name in METRICS:
            expected = [span(data.metrics[arch][level], name) for arch in EVALUATED]
            assert rows[LABELS[name]] == expected


def test_the_sizes_of_the_splits_are_those_of_the_table_in_the_order_of_use(data):
    _, _, html = sections.data_section(data)
    rows = cells(html, "Sizes of the splits")
    assert [row[0] for row in rows] == ["train", "val", "test"]
    assert rows[0] == ["train", "normal", "1,203", "4"]


def test_train_val_and_test_are_listed_with_their_gaps(data):
    _, _, html = sections.training(data)
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
    assert "Learning curve, one training" not in sections.training(data)[2]
    point = {"patients": 50, "fraction": 0.25, "images": 130, "test_studies": 73}
    point |= {f"{name}{end}": 0.5 for name in ("auroc", "kappa") for end in ("", "_low", "_high")}
    tables = {**data.tables, "learning_curve": pd.DataFrame([point])}
    _, _, html = sections.training(replace(data, tables=tables))
    [shown] = cells(html, "Learning curve, one training")
    assert shown[0] == "50" and span(point, "auroc") in shown


def test_published_values_are_never_shown_without_their_note(data):
    _, _, html = sections.body_parts(data)
    captions = re.findall(r"<(?:caption><span|figcaption)>([^<]*[Pp]ublished[^<]*)<", html)
    assert captions and all(REFERENCE_NOTE in caption for caption in captions)
    assert "official valid" in PEERS_NOTE
    assert [row[0] for row in cells(html, "Public projects")] == list(read_peers()["setting"])


def test_occlusion_scores_are_listed(data):
    _, _, html = sections.shortcuts(data)
    whole, centre, *_ = cells(html, "Occlusion, per study of test")
    assert whole[0] == centre[0] == "CNN"
    alone = data.metrics["occlusion"]["cnn"]["frame_hidden"]
    assert centre[2:4] == [span(alone, "auroc"), span(alone, "auroc_drop")]
    assert whole[3] == ""


@pytest.mark.promise("E32")
def test_maps_that_fail_the_randomization_test_are_not_shown_and_the_page_says_so(data):
    _, _, html = sections.maps(data)
    passed, failed = html.split("</figure>")[:2]
    assert "not shown" not in passed and "not shown" in failed
    for arch in data.networks:
        test = data.metrics[f"explain_{arch}"]["randomization"]
        assert conclusions.randomization(test, arch) in unescape(html)


def test_each_pair_is_compared(data):
    frame = sections.difference_frame(data)
    study = data.metrics["compare"]["ensemble_vs_cnn"]["study"]
    assert list(frame["pair"]) == ["CNN − DenseNet169", "ensemble − CNN", "ensemble − DenseNet169"]
    assert frame["n"][1] == f"{study['n']:,}"
    assert len(sections.compared(data, data.networks)) == 1
    assert len(sections.compared(data, data.evaluated)) == 3


@pytest.mark.promise("E33")
def test_the_environment_of_training_is_listed(data):
    _, _, html = sections.provenance(data)
    assert html.count(f"class {ENVIRONMENT['fingerprint']}: ") == 2
    assert html.count("ab" * 32) == 2 and data.metrics["cnn"]["split_sha256"] in html


def test_both_guidelines_are_complete():
    """CLAIM 2024 has 44 items, TRIPOD+AI 27."""
    table = read_checklist()
    items = {name: list(rows["item"]) for name, rows in table.groupby("guideline")}
    assert items["CLAIM 2024"] == [str(number) for number in range(1, 45)]
    assert items["TRIPOD+AI"] == [str(number) for number in range(1, 28)]


def test_peers_are_complete():
    peers = read_peers()
    assert tuple(peers.columns) == ("setting", "level", "result", "source")
    assert peers.notna().all(axis=None)
    assert set(peers["level"]) == {"study", "image"} and len(peers) == 6

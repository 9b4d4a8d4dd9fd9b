from html import unescape
from urllib.parse import quote

import pytest
from report_data import ENVIRONMENT, cells, make_report_data, read_checklist

from ulna.report import background
from ulna.report.background import CHECKLIST


@pytest.fixture(scope="module")
def data(params):
    return make_report_data(params.evaluate)


def test_the_sizes_of_the_splits_are_those_of_the_table_in_the_order_of_use(data):
    html = unescape(background.data_section(data).more)
    rows = cells(html, "Sizes of the splits")
    assert [row[0] for row in rows] == ["train", "val", "test"]
    assert rows[0] == ["train", "normal", "1,203", "4"]


@pytest.mark.promise("E33")
def test_the_environment_of_training_is_listed(data):
    html = background.provenance(data).more
    assert html.count(f"class {ENVIRONMENT['fingerprint']}: ") == 2
    assert html.count("ab" * 32) == 2 and data.metrics["cnn"]["split_sha256"] in html


@pytest.mark.promise("E33")
def test_the_checklists_can_be_saved(data):
    assert quote(CHECKLIST.read_text(encoding="utf-8")) in background.provenance(data).lead


def test_both_guidelines_are_complete():
    """CLAIM 2024 has 44 items, TRIPOD+AI 27."""
    table = read_checklist()
    items = {name: list(rows["item"]) for name, rows in table.groupby("guideline")}
    assert items["CLAIM 2024"] == [str(number) for number in range(1, 45)]
    assert items["TRIPOD+AI"] == [str(number) for number in range(1, 28)]

import base64
import re

import pandas as pd
import pytest

from ulna.report.page import (
    ABSENT,
    details,
    interval,
    linked_table,
    number,
    p_value,
    page,
    paragraph,
    picture,
    section,
    span,
    table,
)

VERDICT = [("How good", ["Good."])]
FRAME = pd.DataFrame({"body part": ["HAND", "<b>"], "kappa": ["0.50 (0.40 to 0.60)", ABSENT]})


def test_a_value_stands_with_its_interval():
    row = {"kappa": 0.5, "kappa_low": -0.1, "kappa_high": 0.9}
    assert span(row, "kappa") == "0.500 (−0.100 to 0.900)"
    assert span(row, "kappa", 1) == "0.5 (−0.1 to 0.9)"


@pytest.mark.promise("E31")
@pytest.mark.parametrize("missing", ["kappa", "kappa_low"])
@pytest.mark.parametrize("undefined", [None, float("nan")])
def test_a_value_without_an_interval_is_too_few(missing, undefined):
    row = {"kappa": 0.5, "kappa_low": 0.4, "kappa_high": 0.6} | {missing: undefined}
    assert span(row, "kappa") == "too few"


def test_an_interval_behind_a_value_is_set_apart_and_other_brackets_are_not():
    cells = ["−1,204.5 (−1.5 to 0.25)", "MURA (2 to 3 views)", "(0.1 to 0.2)"]
    html = table(pd.DataFrame({"a": "row", "b": cells}), "Cells")
    assert html.count('class="bound"') == 1
    assert '−1,204.5 <span class="bound">(−1.5 to 0.25)</span>' in html


def test_the_parts_of_an_interval_are_all_there_or_none_is():
    assert interval(0.5, 0.25, 0.75, 2) == "0.50 (0.25 to 0.75)"
    assert interval(0.5, None, 0.75) == interval(float("nan"), 0.1, 0.2) == ABSENT


def test_no_p_value_is_zero():
    assert (p_value(0.0), p_value(0.0009), p_value(0.001)) == ("< 0.001", "< 0.001", "0.001")


def test_long_words_keep_their_column_wide():
    frame = pd.DataFrame({"a": ["1"], "short": ["yes"], "long": ["word " * 20]})
    html = table(frame, "Words", ("short", "long"))
    assert '<td class="text">yes</td>' in html
    assert html.count('<td class="text long">') == 1


def test_counts_are_whole_and_have_thousands():
    assert number(1199) == "1,199"


def test_text_is_escaped_everywhere(tmp_path):
    evil = "<script>alert(1)</script>"
    png = tmp_path / "a.png"
    png.write_bytes(b"png")
    html = page(
        evil,
        evil,
        [(evil, [evil])],
        [
            section(
                "one",
                evil,
                paragraph(evil),
                table(pd.DataFrame({evil: [evil], "b": [evil]}), evil),
                picture({"a": png}, "a", evil, evil),
                details(evil, evil),
            )
        ],
    )
    assert evil not in html
    assert html.count("<script>") == 1  # ours


def test_a_table_names_its_rows_columns_and_subject():
    html = table(FRAME, "Kappa, n = 2")
    assert "<caption><span>Kappa, n = 2</span></caption>" in html
    assert html.count('scope="col"') == html.count('scope="row"') == 2
    assert "&lt;b&gt;" in html


def test_a_place_leads_to_its_section_and_an_empty_one_nowhere():
    frame = pd.DataFrame({"item": ["1", "2"], "place": ["results", ""]})
    html = linked_table(frame, "Items", link="place")
    assert html.count("<a ") == 1
    assert '<a href="#results">results</a>' in html


def test_a_picture_is_inside_the_page(tmp_path):
    png = tmp_path / "a.png"
    png.write_bytes(b"bytes of a picture")
    html = picture({"a": png}, "a", "what it shows", "n = 3")
    [data] = re.findall(r"base64,([^\"]+)", html)
    assert base64.b64decode(data) == b"bytes of a picture"
    assert 'alt="what it shows"' in html


def test_a_page_asks_for_nothing_from_anywhere():
    html = page("Title", "lead", VERDICT, [section("one", "One", paragraph("text"))])
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", html)
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html


def test_a_page_is_valid_enough_to_be_read_aloud():
    html = page("Title", "lead", VERDICT, [section("one", "One", paragraph("text"))])
    assert html.startswith('<!doctype html>\n<html lang="en">')
    for landmark in ("<header>", "<nav ", "<main ", "<h1>", 'class="skip"', "viewport"):
        assert html.count(landmark) == 1
    assert '<a href="#one">One</a>' in html and 'id="one"' in html

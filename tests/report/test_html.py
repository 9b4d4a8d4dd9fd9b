import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pandas as pd
import pytest

from ulna.report.html import (
    ABSENT,
    Tile,
    download,
    embed_figure,
    embed_picture,
    fold,
    interval,
    number,
    p_value,
    page,
    paragraph,
    picture_grid,
    preformatted,
    section,
    span,
    subheading,
    table,
)

ANSWERS = {"How good?": ["Good."]}
TILES = [Tile("AUROC", "0.83", "0.72 to 0.91", "0.5 is chance")]
FRAME = pd.DataFrame({"body part": ["HAND", "<b>"], "kappa": ["0.50 (0.40 to 0.60)", ABSENT]})
SVG = (
    '<svg stroke-linejoin="round" font-family="\'DejaVu Sans\', sans-serif" '
    'xmlns:xlink="http://www.w3.org/1999/xlink" width="648pt" height="60pt" viewBox="0 0 648 60" '
    'xmlns="http://www.w3.org/2000/svg" version="1.1">'
    '\n <g>\n  <path stroke-width="2"/>\n </g>\n</svg>\n'
)
VOID = {"meta", "link", "br", "img", "wbr"}


class Structure(HTMLParser):
    """Elements that are closed in the order in which they were opened, and ids that are unique."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.ids += [named["id"]] if "id" in named else []
        self.links += [v for k, v in attributes if k in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_value_is_shown_with_its_interval():
    row = {"kappa": 0.5, "kappa_low": -0.1, "kappa_high": 0.9}
    assert span(row, "kappa") == "0.500 (−0.100 to 0.900)"
    assert span(row, "kappa", 1) == "0.5 (−0.1 to 0.9)"
    assert interval(0.5, 0.25, 0.75, 2) == "0.50 (0.25 to 0.75)"


@pytest.mark.promise("E31")
@pytest.mark.parametrize("missing", ["kappa", "kappa_low"])
@pytest.mark.parametrize("undefined", [None, float("nan")])
def test_a_value_without_an_interval_is_too_few(missing, undefined):
    row = {"kappa": 0.5, "kappa_low": 0.4, "kappa_high": 0.6} | {missing: undefined}
    assert span(row, "kappa") == ABSENT


def test_an_interval_after_a_value_is_marked_and_other_brackets_are_not():
    cells = ["−1,204.5 (−1.5 to 0.25)", "MURA (2 to 3 views)", "(0.1 to 0.2)"]
    html = table(pd.DataFrame({"a": "row", "b": cells}), "Cells")
    assert html.count('class="bound"') == 1
    assert '−1,204.5 <span class="bound">(−1.5 to 0.25)</span>' in html


def test_no_p_value_is_zero_and_counts_have_thousands():
    assert (p_value(0.0), p_value(0.0009), p_value(0.001)) == ("< 0.001", "< 0.001", "0.001")
    assert number(1199) == "1,199"


def test_long_text_keeps_its_column_wide():
    frame = pd.DataFrame({"a": ["1"], "short": ["yes"], "long": ["word " * 20]})
    html = table(frame, "Words", ("short", "long"))
    assert '<td class="text">yes</td>' in html
    assert html.count('<td class="text long">') == 1


def test_text_is_escaped_everywhere():
    evil = '<script>alert("1")</script>'
    pieces = [
        paragraph(evil),
        table(pd.DataFrame({evil: [evil], "b": [evil]}), evil),
        embed_figure(SVG, evil, evil),
        picture_grid("grid", evil, [embed_picture("one", b"", (2, 3), None, [evil, evil], "grid")]),
        fold(evil, preformatted(evil), subheading(evil)),
        download(evil, evil, evil),
    ]
    html = page(evil, evil, evil, [Tile(*[evil] * 4)], {evil: [evil]}, [section("a", evil, pieces)])
    assert "alert" in html and evil not in html
    assert html.count("<script>") == 1  # ours
    Structure(html)


def test_a_table_names_its_rows_columns_and_subject():
    html = table(FRAME, "Kappa, n = 2")
    assert "<caption><span>Kappa, n = 2</span></caption>" in html
    assert html.count('scope="col"') == html.count('scope="row"') == 2
    assert "&lt;b&gt;" in html


def test_a_picture_is_embedded_once_with_its_box_and_a_way_back():
    html = embed_picture("one", b"abc", (100, 50), (10, 5, 30, 25), ["HAND", "a/b"], "grid")
    assert html.count("data:image/jpeg;base64,YWJj") == 1
    assert 'viewBox="0 0 100 50"' in html
    assert '<rect x="10" y="5" width="20" height="20"/>' in html
    assert 'aria-label="HAND. a/b; the finding is marked"' in html
    assert html.count('href="#one"') == html.count('href="#grid"') == 1 and 'id="one"' in html
    assert "<rect" not in embed_picture("one", b"", (1, 1), None, ["HAND"], "grid")


def test_a_section_shows_its_lead_and_folds_the_rest():
    html = page("T", "l", "s", [], {}, [section("one", "One", ["<p>a</p>"], ["<p>b</p>", ""])])
    section_html = html[html.index('<section id="one"') :]
    assert section_html.index("<p>a</p>") < section_html.index("<details>")
    assert section_html.index("<details>") < section_html.index("<p>b</p>")
    alone = page("T", "l", "s", [], {}, [section("one", "One", ["<p>a</p>"])])
    assert "<details>" not in alone


def test_a_download_carries_its_text():
    text = 'a,b\n1,"x, y"\n100%,ä\n'
    [link] = re.findall(
        r'href="data:text/csv;charset=utf-8,([^"]+)"', download(text, "t.csv", "Save")
    )
    assert unquote(link) == text
    assert 'download="t.csv"' in download(text, "t.csv", "Save")


def test_a_figure_is_embedded_with_alt_text():
    html = embed_figure(SVG, "what it shows", "n = 3")
    opening = re.search(r"<svg[^>]*>", html)[0]
    assert 'role="img" aria-label="what it shows"' in opening
    assert 'viewBox="0 0 648 60"' in opening and "DejaVu Sans" in opening
    assert " width=" not in opening and " height=" not in opening and "http" not in html
    assert 'style="width: 864px"' in opening  # 648 points: nothing is scaled
    assert '<path stroke-width="2"/>' in html
    assert "<figcaption>n = 3</figcaption>" in html


def test_a_page_makes_no_request_and_has_its_landmarks():
    html = page("Title", "lead", "CNN", TILES, ANSWERS, [section("one", "One", ["text"])])
    assert all(link.startswith(("#", "data:")) for link in Structure(html).links)
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html
    assert html.startswith('<!doctype html>\n<html lang="en">')
    for landmark in ("<header>", "<nav ", "<main ", "<h1>", 'class="skip"', "viewport"):
        assert html.count(landmark) == 1
    for link in ("#one", "#summary", "#top", "#main"):
        assert f'href="{link}"' in html and f'id="{link[1:]}"' in html
    for medium in ("prefers-color-scheme: dark", "@media print", "max-width: 40rem"):
        assert medium in html


def test_the_numbers_and_the_answers_are_on_top():
    html = page("Title", "lead", "CNN", TILES, ANSWERS, [])
    top = html[html.index('id="summary"') : html.index("<nav")]
    for text in ("CNN", "AUROC", "0.83", "0.72 to 0.91", "chance", "How good?", "Good."):
        assert text in top

"""The page of a prediction: self-contained, escaped, accessible, of bounded size."""

import math
import re
from html.parser import HTMLParser

import pytest
from predictions import BUNDLE, make_bundle, make_refused, make_study, make_view

from ulna.inference import outputs, page
from ulna.inference.text import DISCLAIMER, WARNINGS

JPEG = b"\xff\xd8\xff\xe0 a picture"


def render(*studies, load=lambda path: page.Picture(JPEG, JPEG, 300, 320), **changes):
    bundle = make_bundle(**changes)
    records = [outputs.make_record(study, bundle, None, {}) for study in studies]
    pieces = page.render_page(
        bundle.record, "the bundle <b>", bundle.sha256, lambda: iter(records), load
    )
    return "".join(pieces)


class Reader(HTMLParser):
    """Counts tags, collects attributes and checks that all tags are closed in order."""

    VOID = {"meta", "link", "img", "rect", "line", "br", "wbr"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_makes_no_request_and_runs_no_script():
    text = render(make_study())
    assert f'content="{page.POLICY}"' in text and "script" not in page.POLICY
    reader = Reader(text)
    assert not reader.all("script")
    for _, attributes in reader.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert "url(" not in page.STYLE and "@import" not in page.STYLE


def test_it_begins_with_what_it_is_and_what_predicted_it():
    text = render(make_study())
    places = [
        text.index(words)
        for words in (
            DISCLAIMER,
            "Abnormal means any finding.",
            "the bundle &lt;b&gt; (abababababab)",
            "AUROC 0.83 (0.75 to 0.89)",
            "not shown to be calibrated",
            "hairline fracture 5 of 6, hardware 1 of 18",
            'id="studies"',
        )
    ]
    assert places == sorted(places)


def test_data_that_name_no_finding_say_so():
    performance = {**BUNDLE["performance"], "by_finding": None}
    assert "it cannot be known" in render(make_study(), performance=performance)


def test_names_are_escaped():
    text = render(make_study("<img src=x onerror=alert(1)>\n\udcff"))
    assert "<img src=x" not in text and "&lt;img src=x onerror=alert(1)&gt;\\n\\udcff" in text
    Reader(text)
    text.encode("utf-8")


def test_pictures_tables_and_regions_have_names():
    reader = Reader(render(make_study(), make_study("b", views=(make_view("b/1.png"),))))
    assert len(reader.all("img")) == 4
    assert all(attributes["alt"] for attributes in reader.all("img"))
    assert all(attributes["scope"] in ("col", "row") for attributes in reader.all("th"))
    drawn = [attributes for _, attributes in reader.tags if attributes.get("role") == "img"]
    assert len(drawn) == len(reader.all("svg")) == 2
    assert all(attributes["aria-label"] for attributes in drawn)
    assert len(reader.all("main")) == len(reader.all("header")) == len(reader.all("h1")) == 1
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for attributes in (each for _, each in reader.tags):
        for name in ("aria-labelledby",):
            assert attributes.get(name, ids[0]) in ids
        assert attributes.get("href", f"#{ids[0]}").lstrip("#") in (*ids, "data:,")


def test_the_most_probable_study_comes_first_and_the_table_keeps_the_order():
    text = render(make_study("low", 0.1), make_study("high", 0.9), make_study("middle", 0.5))
    assert re.findall(r'<h3 id="name\d+">(\w+)', text) == ["high", "middle", "low"]
    assert re.findall(r'<th scope="row"><a href="#study\d+">(\w+)', text) == [
        "low", "high", "middle",
    ]  # fmt: skip


def test_of_many_studies_the_most_probable_have_pictures(monkeypatch):
    monkeypatch.setattr(page, "MOST_SHOWN", 3)
    text = render(*(make_study(f"s{n}", n / 10) for n in range(10)))
    assert re.findall(r'<h3 id="name\d+">(\w+)', text) == ["s9", "s8", "s7"]
    assert "The 3 of the highest probability" in text
    assert text.count('<th scope="row">') - text.count('<th scope="row"><a') >= 7


def test_the_first_tiles_count_what_was_answered_and_what_was_warned_of():
    nothing = make_study("c", math.nan, threshold=math.nan, views=(), refused=(make_refused("c"),))
    text = render(make_study(warnings=("maybe_inverted",)), make_study("b", 0.1), nothing)
    tiles = dict(re.findall(r"<dt>([\w ]+)</dt><dd>(\d+)</dd>", text))
    assert tiles == {
        "Studies answered": "2", "Abnormal": "1", "Normal": "1", "With warnings": "1",
        "Files refused": "1",
    }  # fmt: skip


def test_of_a_study_of_many_views_the_first_are_shown(monkeypatch):
    monkeypatch.setattr(page, "MOST_VIEWS", 2)
    views = tuple(make_view(path=f"s/{n}.png") for n in range(5))
    reader = Reader(text := render(make_study("s", 0.5, views=views)))
    assert len(reader.all("figure")) == 2 and "and 3 more views" in text


def test_studies_without_an_answer_and_refused_files_are_named():
    nothing = make_study(
        "b", math.nan, threshold=math.nan, views=(), refused=(make_refused("b/1.png"),)
    )
    text = render(nothing)
    assert "No study could be answered." in text and "no answer" in text
    assert '<th scope="row">b/<wbr>1.png</th><td class="text">damaged or cut off</td>' in text
    Reader(text)
    assert "Files that were refused" not in render(make_study())


def test_warnings_are_sentences():
    text = render(make_study(warnings=("maybe_inverted", "refused_views")))
    for code in ("maybe_inverted", "refused_views"):
        assert f"<b>Warning:</b> {WARNINGS[code]}</li>" in text


@pytest.mark.parametrize("overlay", [JPEG, None])
def test_a_view_without_a_map_is_one_picture(overlay):
    reader = Reader(render(make_study(), load=lambda _: page.Picture(JPEG, overlay, 300, 320)))
    assert len(reader.all("img")) == (2 if overlay else 1)


def test_a_picture_that_is_gone_is_said_to_be():
    text = render(make_study(), load=lambda _: None)
    assert "1.png: 0.622 (the file cannot be read any more)" in text
    Reader(text)

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulna.figures.names import NETWORK_COLOURS
from ulna.report.charts import (
    LEFT,
    PLOT_HEIGHT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Curve,
    chart_figure,
    line_chart,
    ticks,
)
from ulna.report.page import STYLE

X, Y = Axis("epoch", 0, 10), Axis("loss", 0, 2)
BOTTOM = TOP + PLOT_HEIGHT


def draw(*curves: Curve) -> str:
    return line_chart("Loss", "falling", X, Y, curves)


def test_a_point_stands_where_its_values_say():
    html = draw(Curve("a", "#123456", [0, 5, 10], [0, 1, 2]))
    [path] = re.findall(r'<path class="curve" stroke="#123456" d="(M.*?)"', html)[:1]
    middle = (LEFT + WIDTH - RIGHT) / 2
    places = [(LEFT, BOTTOM), (middle, TOP + PLOT_HEIGHT / 2), (WIDTH - RIGHT, TOP)]
    drawn = [tuple(map(float, point.split())) for point in re.split("[ML]", path)[1:]]
    assert drawn == places


def test_a_missing_value_is_a_gap_and_nothing_to_read_out():
    nan = float("nan")
    html = draw(Curve("a", "red", [0, 1, 2, 3], [1, nan, 1, 1], {"n": ["0", "1", "2", "3"]}))
    path = re.search(r' d="(M.*?)"', html)[1]
    assert path.count("M") == 2 and path.count("L") == 1
    points = re.search(r'data-points="(.*?)"', html)[1].split(";")
    assert [point.split("|")[2] for point in points] == ["0", "2", "3"]


def test_steps_hold_a_value_back_to_the_point_before():
    html = draw(Curve("a", "red", [5, 10], [2, 0], steps=True))
    middle = (LEFT + WIDTH - RIGHT) / 2
    expected = f"M{LEFT} {float(TOP)}H{middle}V{float(BOTTOM)}H{float(WIDTH - RIGHT)}"
    assert f'd="{expected}"' in html


def test_bars_reach_from_the_lower_to_the_upper_end():
    html = draw(Curve("a", "red", [5], [1], dots="full", low=[0], high=[2]))
    assert f'y1="{float(BOTTOM)}" y2="{float(TOP)}"' in html


def test_what_is_read_out_names_its_columns():
    html = draw(Curve("CNN", "red", [5], [1], {"epoch": ["5"], "loss": ["1.000"]}))
    assert 'data-name="CNN" data-columns="epoch|loss"' in html
    assert html.count("data-points") == 1
    assert "data-points" not in draw(Curve("chance", "red", [0, 1], [0, 1]))


def test_a_chart_is_an_image_with_a_name_for_who_cannot_see_it():
    html = draw(Curve("a", "red", [0, 1], [0, 1]))
    assert 'role="img" aria-label="Loss: falling"' in html
    assert "<title>Loss</title>" in html
    assert ">epoch</text>" in html and ">loss</text>" in html
    assert "<figcaption>n = 3</figcaption>" in chart_figure([html], "n = 3")


def test_the_legend_has_each_curve_but_those_left_out():
    html = draw(
        Curve("one", "red", [0], [0]),
        Curve("two", "red", [0], [0], legend="two: AUROC 0.9"),
        Curve("three", "red", [0], [0], legend=""),
    )
    words = re.findall(r'<text x="[\d.]+" y="\d+">(.*?)</text>', html)
    assert words == ["one", "two: AUROC 0.9"]


def test_text_is_escaped():
    evil = '<script>"&'
    html = line_chart(evil, evil, Axis(evil, 0, 1), Axis(evil, 0, 1), [
        Curve(evil, "red", [0], [0], {evil: [evil]})
    ])  # fmt: skip
    assert "<script>" not in html
    assert unescape(re.search(r'data-name="(.*?)"', html)[1]) == evil


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-3, 1e6),
    most=st.integers(2, 12),
)
def test_ticks_are_few_rise_and_lie_between_the_ends(low, width, most):
    found = ticks(low, low + width, most)
    assert len(found) <= most
    slack = 1e-6 * (abs(low) + width)
    assert all(low - slack <= value <= low + width + slack for value in found)
    assert sorted(set(found)) == found


@given(first=st.integers(1, 300), epochs=st.integers(1, 300))
def test_ticks_of_epochs_are_whole(first, epochs):
    found = ticks(first - 0.5, first + epochs - 0.5, whole=True)
    assert all(value == int(value) for value in found)


def luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance of #rrggbb."""
    shares = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def variables(dark: bool) -> dict[str, str]:
    """The colours of the page, by day or by night."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.S)
    found = dict(re.findall(r"--(\w+): (#\w+)", blocks[dark]))
    return {k: v if len(v) == 7 else "#" + "".join(2 * c for c in v[1:]) for k, v in found.items()}


@pytest.mark.parametrize("dark", [False, True])
def test_colours_can_be_told_from_the_page_by_day_and_by_night(dark):
    """WCAG 2.1: 3 to 1 for what is drawn (1.4.11), 4.5 to 1 for text (1.4.3)."""
    page = variables(dark)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for colour in NETWORK_COLOURS.values():
        assert contrast(colour, page["paper"]) >= 3
    for ink in ("ink", "soft", "link"):
        for ground in ("paper", "panel"):
            assert contrast(page[ink], page[ground]) >= 4.5

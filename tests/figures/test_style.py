import base64
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context, rcParams
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image

from ulna.core.params import NETWORKS
from ulna.core.paths import ENSEMBLE
from ulna.figures.style import (
    FAINT,
    FALLBACK,
    INK,
    LABEL_COLOURS,
    LIFT,
    LOOKS,
    ON_DARK,
    PAPER,
    PUBLISHED,
    RC_PARAMS,
    SOFT,
    VARIABLES,
    colour,
    luminance,
    marker,
    new_figure,
    show_image,
    title,
    to_svg,
    with_interval,
)
from ulna.report.html import STYLE

REPOSITORY = Path(__file__).resolve().parents[2]
COLOURS = [colour for colour, _ in (*LOOKS.values(), FALLBACK)]

DRAW = """
import sys
from pathlib import Path
import pandas as pd
from ulna.figures.data import split_sizes
from ulna.figures.style import to_svg
columns = ["body_part", "split", "label", "studies", "images"]
sizes = pd.DataFrame([("HAND", "train", 0, 1234, 2345), ("HAND", "val", 1, 5, 6)], columns=columns)
Path(sys.argv[1]).write_text(to_svg(split_sizes(sizes), "splits"), encoding="utf-8")
assert "matplotlib.pyplot" not in sys.modules
"""


def test_every_network_has_a_colour_and_a_marker_of_its_own():
    assert list(LOOKS) == [*NETWORKS, ENSEMBLE]
    assert len({marker for _, marker in LOOKS.values()}) == len(LOOKS)


def draw(path, home, **environment):
    home.mkdir(exist_ok=True)
    known = {"PYTHONPATH": str(REPOSITORY / "src"), "PATH": os.environ["PATH"]}
    subprocess.run(
        [sys.executable, "-c", DRAW, str(path)],
        env=known | {"HOME": str(home), "MPLCONFIGDIR": str(home)} | environment,
        check=True,
        capture_output=True,
    )
    return path.read_bytes()


def drawn(*colours, name="a"):
    figure = new_figure(2)
    with rc_context(RC_PARAMS):
        axis = figure.add_subplot()
        for place, ink in enumerate(colours or [INK]):
            axis.plot([0, 1], [place, 1], "o-", color=ink)
        axis.text(0, 0, "1 < 2 & 3")
        show_image(figure.add_axes((0.5, 0.5, 0.2, 0.4)), np.eye(8, dtype=np.uint8) * 200)
    return to_svg(figure, name)


@pytest.mark.promise("B12")
def test_home_settings_locale_time_zone_and_hash_seed_change_no_byte(tmp_path):
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "matplotlibrc").write_text(
        "font.size: 20\nfont.family: serif\nsavefig.dpi: 50\nsavefig.bbox: tight\n"
        "axes.formatter.use_locale: True\npath.simplify: False\nsvg.fonttype: path\n"
    )
    plain = draw(tmp_path / "a.svg", tmp_path / "plain", PYTHONHASHSEED="1")
    other = draw(tmp_path / "b.svg", hostile, PYTHONHASHSEED="2", LC_ALL="C", TZ="Asia/Tokyo")
    assert plain == other


def test_the_same_figure_gives_the_same_text_without_software_time_or_style_sheet():
    svg = drawn()
    assert svg == drawn()
    for word in ("matplotlib", "<metadata", "<style", "<!--", "<?xml", "DOCTYPE"):
        assert word.lower() not in svg.lower()
    assert not re.search(r"20\d\d-\d\d", svg)


def test_ids_of_two_figures_are_disjoint():
    one, other = (set(re.findall(r'id="([^"]+)"', drawn(name=name))) for name in ("a", "b"))
    assert one and not one & other
    svg = drawn(name="a")
    assert len(re.findall(r'id="', svg)) == len(one)
    targets = re.findall(r'(?:url\(#|href="#)([^)"]+)', svg)
    assert targets and set(targets) <= one


def test_colours_follow_the_page_and_have_plain_values_without_it():
    svg = drawn(INK, SOFT, FAINT, PAPER, PUBLISHED)
    for ink, name in VARIABLES.items():
        assert f"{ink.lower()}; stroke: var(--{name}, {ink.lower()})" in svg
        assert f"--{name}:" in STYLE
    # Whatever follows a variable has the plain value before it, for who knows no CSS variables.
    assert not re.search(r'(?<![;"] )(?<!")(fill|stroke): var', svg)
    assert f"var(--ink, {ON_DARK.lower()})" not in drawn(ON_DARK)


def test_text_stays_text():
    assert ">1 &lt; 2 &amp; 3</text>" in drawn()


def test_a_radiograph_is_embedded_in_grey():
    [data] = re.findall(r"data:image/png;base64,([^\"]+)", drawn())
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.mode == "L"
    assert image.getextrema() == (0, 200)


@pytest.mark.parametrize("weight", ["normal", "bold"])
def test_the_font_is_the_one_that_matplotlib_brings(weight):
    with rc_context(RC_PARAMS):
        font = findfont(FontProperties(family=RC_PARAMS["font.family"], weight=weight))
    assert "mpl-data" in Path(font).parts


def test_drawing_leaves_the_settings_of_matplotlib_as_they_were():
    # Looking at the backend is what would import pyplot.
    keys = [key for key in rcParams if key != "backend"]
    before = {key: rcParams[key] for key in keys}
    drawn()
    assert {key: rcParams[key] for key in keys} == before


def test_every_colour_means_one_thing():
    colours = [*COLOURS, *LABEL_COLOURS, PUBLISHED]
    assert len(set(colours)) == len(colours)


def test_a_network_without_an_entry_has_a_colour_a_marker_and_a_name():
    assert (colour("resnet"), marker("resnet"), title("resnet")) == (*FALLBACK, "resnet")


def test_a_value_has_its_interval_or_is_undefined():
    assert with_interval(0.5, -0.1, 1.0) == "0.500 (−0.100 to 1.000)"
    assert with_interval(None, None, None) == with_interval(float("nan"), 0, 1)


def contrast(one: str, two: str) -> float:
    """WCAG 2.1."""
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def page(dark: bool) -> dict[str, str]:
    """The colours of the page in light or dark mode."""
    inks = dict(re.findall(r"--(\w+): (#\w+)", re.findall(r":root \{(.*?)\}", STYLE, re.S)[dark]))
    return {k: v if len(v) == 7 else "#" + "".join(2 * c for c in v[1:]) for k, v in inks.items()}


def in_dark_mode(colour: str) -> str:
    """The colour that a browser makes of what `to_svg` writes."""
    if colour in VARIABLES:
        return page(dark=True)[VARIABLES[colour]]
    if f"color-mix(in srgb, {colour.lower()}" not in drawn(colour):
        return colour
    share = float(LIFT.rstrip("%")) / 100
    parts = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return "#" + "".join(f"{round(part + share * (255 - part)):02x}" for part in parts)


@pytest.mark.parametrize("dark", [False, True])
def test_colours_have_contrast_with_the_page_in_light_and_dark_mode(dark):
    """WCAG 2.1: 3 to 1 for what is drawn (1.4.11), 4.5 to 1 for text (1.4.3)."""
    inks = page(dark)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for ink in COLOURS:
        assert contrast(in_dark_mode(ink) if dark else ink, inks["paper"]) >= (4.5 if dark else 3)
    for ink in ("ink", "soft", "link"):
        for ground in ("paper", "panel"):
            assert contrast(inks[ink], inks[ground]) >= 4.5

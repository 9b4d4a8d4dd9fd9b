"""Style of all figures, and SVG that follows the light or dark mode of the page around it."""

import base64
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from ulna.evaluation import NAMES
from ulna.evaluation.conclusions import number as number

Pixels = npt.NDArray[np.uint8]
Colour = str | tuple[float, float, float, float]
Tables = Mapping[str, pd.DataFrame]  # by network, or by name
Scores = Mapping[str, Mapping[str, Any]]  # network -> numbers by name; None or NaN where undefined
Look = dict[str, Any]  # of a text, a line or a patch, in matplotlib's words

CENTRED: Look = {"ha": "center", "va": "center"}
LABELS = ("normal", "abnormal")
# Okabe and Ito's vermilion, blue and green, distinguishable with any common colour vision
# deficiency. Here, not in the table of networks: another colour re-runs plot and report only.
LOOKS = {
    "cnn": ("#D55E00", "o"),
    "densenet169": ("#0072B2", "s"),
    "mobilenetv2": ("#009E73", "^"),
    "ensemble": ("#222222", "D"),
}
FALLBACK = ("#B8860B", "v")  # of a network that has no entry above
# Tol's teal and purple, distinguishable from the networks' colours too.
LABEL_COLOURS = ("#44AA99", "#AA4499")
SPLITS = ("train", "val", "test")
INK, SOFT, FAINT, PAPER = "#222222", "#6B6B6B", "#E4E4E4", "#FFFFFF"
PUBLISHED = "#555555"  # never the colour of a network
ON_DARK = "#FDFDFD"  # marks on a radiograph, the same in light and dark mode
# CSS variables that a page may set; without them a figure is black on white.
VARIABLES = {INK: "ink", SOFT: "soft", FAINT: "line", PAPER: "paper", PUBLISHED: "soft"}
# In dark mode colours below this relative luminance are mixed with so much white: Okabe and Ito's
# blue has a contrast of 3.5 to 1 on a dark page, 6 to 1 once it is mixed.
LIFTED_BELOW, LIFT = 0.2, "35%"

WIDTH_INCHES = 9.0
DPI = 144  # of radiographs inside a figure

# From matplotlib's own defaults: a matplotlibrc in the home folder must not change the bytes.
# Any: rc_context wants a literal type of every key.
RC_PARAMS: Any = {
    **{key: rcParamsDefault[key] for key in rcParamsDefault if not key.startswith("backend")},
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    **dict.fromkeys(("xtick.color", "ytick.color"), SOFT),
    **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 8.5),
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.constrained_layout.use": True,
    # Text stays text: it can be searched, and a file is a third as large as with outlines.
    "svg.fonttype": "none",
}
# For sheets of images, which are positioned in inches.
SHEET: Any = RC_PARAMS | {"figure.constrained_layout.use": False}
# Verdana has DejaVu's widths where that is not installed.
FONTS = "'DejaVu Sans', Verdana, sans-serif"


def new_figure(height_inches: float, columns: int = 2) -> Figure:
    """An empty figure outside pyplot's global state, wider where it has more than two columns."""
    return Figure(figsize=(WIDTH_INCHES * max(2, columns) / 2, height_inches))


def colour(network: str) -> str:
    """The colour of a network in every figure."""
    return LOOKS.get(network, FALLBACK)[0]


def marker(network: str) -> str:
    """The marker of a network in every figure."""
    return LOOKS.get(network, FALLBACK)[1]


def title(network: str) -> str:
    """The display name of a network."""
    return NAMES.get(network, network)


def add_note(figure: Figure, text: str) -> None:
    """Add one or two small lines under a figure; the layout reserves their space."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=SOFT)


def add_title(figure: Figure, text: str) -> None:
    """Add the line over a figure that names its content and n."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, fontweight="bold")


def add_heading(axis: Axes, text: str, line: str, colour: str = INK) -> None:
    """Add a bold title over an axes, with a plain line between the two."""
    axis.set_title(text, color=colour, pad=18)
    annotate(axis, line, (0, 1), (0, 6), xycoords="axes fraction", fontsize=8.5)


def annotate(
    axis: Axes, text: str, xy: tuple[float, float], points: tuple[float, float], **look: Any
) -> None:
    """Add text at an offset in points."""
    axis.annotate(text, xy, points, textcoords="offset points", **look)


def add_text(figure: Figure, x: float, y: float, text: str, **look: Any) -> None:
    """Add text at a position in inches from the upper left corner."""
    width, height = figure.get_size_inches()
    figure.text(x / width, 1 - y / height, text, **look)


def add_cell(figure: Figure, x: float, y: float, side: float) -> Axes:
    """Add a square axes at a position in inches from the upper left corner, without ticks."""
    width, height = figure.get_size_inches()
    axis = figure.add_axes((x / width, 1 - (y + side) / height, side / width, side / height))
    axis.axis("off")
    return axis


def show_image(axis: Axes, pixels: Pixels) -> None:
    """Show a radiograph, black 0 and white 255, without ticks."""
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)


def draw_interval(
    axis: Axes,
    place: float,
    values: Iterable[float],
    colour: str,
    marker: str,
    face: str | None = None,
    width: float = 2.0,
) -> None:
    """Draw a value with its confidence limits, given as (value, low, high), in a row."""
    value, low, high = values
    axis.plot([low, high], [place, place], color=colour, linewidth=width)
    face = face or colour
    axis.plot(value, place, marker, markersize=5, color=colour, markerfacecolor=face)


def write_beside(axis: Axes, place: float, text: str, ink: str, weight: str = "normal") -> None:
    """Write text to the right of an axes, beside a row."""
    look = {"va": "center", "fontsize": 8, "color": ink, "fontweight": weight}
    annotate(axis, text, (1, place), (6, 0), xycoords=axis.get_yaxis_transform(), **look)


def draw_rows(
    axis: Axes, rows: Sequence[str], tables: Tables, name: str, write: Callable[[Any], str]
) -> None:
    """Draw a forest plot: a value with its interval for each row and network, text beside it.

    Args:
        axis: Its y axis counts the rows from the top.
        rows: Labels of the rows.
        tables: Network -> a table whose index is the rows, with columns name, name_low, name_high;
            hollow without an interval, nothing where the value is NaN or the row is not there.
        name: The column.
        write: The text beside a row of a table.
    """
    for order, (network, table) in enumerate(tables.items()):
        ink = colour(network)
        for row, label in enumerate(rows):
            # The networks of a row are drawn in parallel.
            place = row + 0.84 * ((order + 0.5) / len(tables) - 0.5)
            if label not in table.index:
                write_beside(axis, place, "too few", ink)
                continue
            values = [table.loc[label, f"{name}{end}"] for end in ("", "_low", "_high")]
            face = PAPER if pd.isna(values[1]) else None
            draw_interval(axis, place, values, ink, marker(network), face)
            write_beside(axis, place, write(table.loc[label]), ink)
    for row in range(1, len(rows)):
        axis.axhline(row - 0.5, color=FAINT, linewidth=0.8)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    bare(axis, "y")


def rows_height(rows: int, networks: int) -> float:
    """Inches that the rows of `draw_rows` take."""
    return rows * (0.12 + 0.17 * networks)


def bare(axis: Axes, way: Literal["x", "y"]) -> None:
    """Remove the grid and the tick marks of a categorical axis."""
    axis.grid(axis=way, visible=False)
    axis.tick_params(axis=way, length=0)


def network_key(networks: Iterable[str]) -> list[Line2D]:
    """Legend handles of networks: a line with the marker of each."""
    return [Line2D([], [], color=colour(n), marker=marker(n), label=title(n)) for n in networks]


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Format a number with its confidence limits; None and NaN are "undefined".

    Example:
        >>> with_interval(0.5, -0.1, 1.0), with_interval(float("nan"), None, None)
        ('0.500 (−0.100 to 1.000)', 'undefined')
    """
    if value is None or math.isnan(value):
        return number(value)
    return f"{number(value)} ({number(low)} to {number(high)})"


def to_svg(figure: Figure, name: str) -> str:
    """Convert a figure to SVG: the same figure gives the same text.

    Returns:
        An `svg` element without prolog, date, version or style sheet. Its ids derive from `name`,
        unique over figures; the colours of `VARIABLES` are CSS variables after their plain values.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context(RC_PARAMS | {"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", dpi=DPI, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg ") :]
    # matplotlib's own rule is for every element: it would apply to the page's elements too.
    svg = re.sub(r"\s*<style type=\"text/css\">.*?</style>", "", svg, flags=re.DOTALL)
    root = f'<svg stroke-linejoin="round" stroke-linecap="butt" font-family="{FONTS}" '
    svg = svg.replace("<svg ", root, 1)
    svg = re.sub(r"\s*<metadata>.*?</metadata>|\s*<defs/>|\s*<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<(?:g|image)) id="[^"]*"', r"\1", svg)
    # matplotlib's ids are hashes of positions, whose last digits differ from run to run.
    ids = dict.fromkeys(re.findall(r' id="([\w-]+)"', svg))
    numbered = {old: f"{name.replace('/', '-')}-{n}" for n, old in enumerate(ids)}
    svg = re.sub(r'( id="|#)([\w-]+)', lambda m: m[1] + numbered.get(m[2], m[2]), svg)
    svg = re.sub(r"data:image/png;base64,([^\"]+)", _compress, svg)
    svg = svg.replace("font-family: 'DejaVu Sans'; ", "").replace("px 'DejaVu Sans'", f"px {FONTS}")
    return re.sub(r"(fill|stroke): (#[0-9a-f]{6})", _with_variables, svg)


def _with_variables(match: re.Match[str]) -> str:
    kind, colour = match.groups()
    name = VARIABLES.get(colour.upper())
    if name:
        return f"{kind}: {colour}; {kind}: var(--{name}, {colour})"
    coloured = np.ptp(to_rgb(colour)) > 0.15
    if coloured and luminance(colour) < LIFTED_BELOW:
        mixed = f"color-mix(in srgb, {colour}, var(--lift, {colour}) {LIFT})"
        return f"{kind}: {colour}; {kind}: {mixed}"
    return match[0]


def luminance(colour: Colour) -> float:
    """WCAG 2.1's relative luminance.

    Example:
        >>> luminance("#FFFFFF"), luminance("#000000")
        (1.0, 0.0)
    """
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _compress(match: re.Match[str]) -> str:
    """Drop unused channels: a grey radiograph takes half the bytes, with the same pixels."""
    image = Image.open(io.BytesIO(base64.b64decode(match[1]))).convert("RGBA")
    red, green, blue, opacity = image.split()
    if opacity.getextrema()[0] == 255:
        grey = red.tobytes() == green.tobytes() == blue.tobytes()
        image = red if grey else image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"

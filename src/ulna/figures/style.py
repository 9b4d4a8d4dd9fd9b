"""One look for all figures: fixed colours, and PNG files with fixed bytes."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ulna.figures.names import NETWORK_COLOURS, NETWORKS
from ulna.files import replacing
from ulna.params import NETWORKS as TABLE

NETWORK_MARKERS = {name: spec.marker for name, spec in TABLE.items()}
CENTRED: dict[str, Any] = {"ha": "center", "va": "center"}
LABELS = ("normal", "abnormal")
# Tol's teal and purple: they and the networks' colours can be told apart with any common colour
# blindness.
LABEL_COLOURS = ("#44AA99", "#AA4499")
SPLITS = ("train", "val", "test")
INK, SOFT, FAINT = "#222222", "#6B6B6B", "#E4E4E4"
PUBLISHED = "#555555"  # never the colour of a network

WIDTH_INCHES = 9.0
DPI = 144  # 1296 px: sharp at a README's 900 px; example images stay below 600 KB

# From matplotlib's own defaults: a matplotlibrc in somebody's home must not change the bytes.
# Any: rc_context wants a literal type of every key.
HOUSE: Any = {
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
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.constrained_layout.use": True,
}


def new_figure(height_inches: float) -> Figure:
    """An empty figure as wide as a README, outside pyplot's global state."""
    return Figure(figsize=(WIDTH_INCHES, height_inches))


def add_note(figure: Figure, text: str) -> None:
    """Set a small line or two under a figure; the layout keeps room for it."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=SOFT)


def add_title(figure: Figure, text: str) -> None:
    """Set the line over a figure that says what is shown and of how many."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, fontweight="bold")


def add_heading(axis: Axes, title: str, line: str, colour: str) -> None:
    """Set a bold title over an axes, and a plain line between the two."""
    axis.set_title(title, color=colour, pad=18)
    axis.annotate(
        line, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", fontsize=8.5
    )


def network_key(networks: Iterable[str]) -> list[Line2D]:
    """What a legend shows of networks: a line and a dot each."""
    looks = ((NETWORK_COLOURS[arch], NETWORK_MARKERS[arch], NETWORKS[arch]) for arch in networks)
    return [Line2D([], [], color=c, marker=m, label=name) for c, m, name in looks]


def number(value: float | None, digits: int = 3) -> str:
    """Write a number to so many decimals; None and NaN are undefined.

    Example:
        >>> number(0.6789), number(-0.01, 1), number(-0.5, 1), number(None)
        ('0.679', '0.0', '−0.5', 'undefined')
    """
    if value is None or math.isnan(value):
        return "undefined"
    return f"{value:z.{digits}f}".replace("-", "−")


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Write a number with the ends of its interval; without a number it is undefined.

    Example:
        >>> with_interval(0.5, -0.1, 1.0), with_interval(float("nan"), None, None)
        ('0.500 (−0.100 to 1.000)', 'undefined')
    """
    words = number(value)
    return words if words == "undefined" else f"{words} ({number(low)} to {number(high)})"


def write_png(path: Path, figure: Figure) -> None:
    """Write a figure as PNG without a version or a time: the same figure gives the same bytes."""
    with replacing(path) as partial, rc_context(HOUSE):
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})

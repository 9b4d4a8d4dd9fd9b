"""Numbers -> line charts as SVG inside the page, readable in light, in dark and in print.

Without script a chart stands as it is. With script (see `SCRIPT`) the values of a point are read
out under the chart by pointing, by touch, or with the arrow keys; the script finds them in the SVG
itself. Every function returns HTML and escapes the text that it is given.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

# In units of the drawing: a chart is shown about so many CSS pixels wide, a little less on a phone.
WIDTH, PLOT_HEIGHT = 460, 260
LEFT, RIGHT, TOP = 58, 12, 30
AXIS_HEIGHT = 44  # of tick labels and label below the plot
LEGEND_ROW = 20
DASHES = {"solid": "", "dashed": "6 4", "dotted": "2 4"}

STYLE = """
.charts { display: grid; gap: 0.4rem 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.chart svg { display: block; width: 100%; height: auto; font-size: 13px; fill: currentColor; }
.chart .title { font-size: 14px; font-weight: 600; }
.chart .grid { stroke: var(--line); }
.chart .axis { stroke: var(--soft); }
.chart .tick { fill: var(--soft); }
.chart .curve { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
.chart .full { stroke: var(--paper); }
.chart .hollow { fill: var(--paper); stroke-width: 1.6; }
.chart .cursor { fill: none; stroke: var(--ink); stroke-width: 2.5; }
.chart .plot:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.chart .plot[tabindex] { cursor: crosshair; touch-action: pan-y; }
.chart .plot[tabindex] svg { pointer-events: none; }
.readout { min-height: 3em; margin: 0; padding-left: 0.4rem; font-size: 0.87rem; max-width: none;
  font-variant-numeric: tabular-nums; color: var(--soft); }
.readout:empty { display: none; }
@media print { .readout { display: none; } .chart { break-inside: avoid; } }
"""

# A slider is what a reader of screens hands the arrow keys to.
SCRIPT = """
for (const chart of document.querySelectorAll(".chart")) {
  const [plot, readout] = chart.children;
  const svg = plot.querySelector("svg");
  const cursor = svg.querySelector(".cursor");
  const curves = [...svg.querySelectorAll("[data-points]")].map((line) => ({
    name: line.dataset.name,
    columns: line.dataset.columns.split("|"),
    points: line.dataset.points.split(";").map((point) => {
      const [x, y, ...values] = point.split("|");
      return { x: Number(x), y: Number(y), values };
    }),
  }));
  if (!curves.length) continue;
  readout.textContent = "Values: point, touch, or use the arrow keys.";
  let curve = 0;
  let place = -1;
  const show = () => {
    const { name, columns, points } = curves[curve];
    const { x, y, values } = points[place];
    cursor.setAttribute("cx", x);
    cursor.setAttribute("cy", y);
    cursor.setAttribute("r", 6);
    const text = `${name}: ${columns.map((column, k) => `${column} ${values[k]}`).join(", ")}`;
    readout.textContent = text;
    plot.setAttribute("aria-valuemax", points.length);
    plot.setAttribute("aria-valuenow", place + 1);
    plot.setAttribute("aria-valuetext", text);
  };
  const nearest = (x, y, among) => {
    let least = Infinity;
    for (const k of among) {
      curves[k].points.forEach((point, p) => {
        const distance = Math.hypot(point.x - x, point.y - y);
        if (distance < least) [least, curve, place] = [distance, k, p];
      });
    }
    show();
  };
  const follow = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    nearest(x * scale, y * scale, curves.keys());
  };
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("keydown", (event) => {
    const last = curves[curve].points.length - 1;
    const steps = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: last };
    const turn = { ArrowDown: 1, ArrowUp: curves.length - 1 }[event.key];
    if (event.key in steps) {
      place = Math.max(0, Math.min(last, steps[event.key]));
      show();
    } else if (turn !== undefined) {
      const { x, y } = curves[curve].points[Math.max(0, place)];
      nearest(x, y, [(curve + turn) % curves.length]);
    } else {
      return;
    }
    event.preventDefault();
  });
  const role = { role: "slider", tabindex: 0, "aria-label": svg.getAttribute("aria-label") };
  const range = { "aria-valuemin": 1, "aria-valuemax": 1, "aria-valuenow": 1 };
  for (const [name, value] of Object.entries({ ...role, ...range })) {
    plot.setAttribute(name, value);
  }
}
"""


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Attributes:
        label: What it shows, with its unit.
        low: Its first value.
        high: Its last value, above `low`.
        whole: Whether ticks stand at whole numbers only.
    """

    label: str
    low: float
    high: float
    whole: bool = False


@dataclass(frozen=True)
class Curve:
    """One line of a chart, or one dot.

    Attributes:
        name: As it stands in the legend and before what is read out.
        colour: Of CSS.
        x: Values on the horizontal axis.
        y: As many values on the vertical one; NaN leaves a gap.
        columns: What is read out at each point: words -> as many texts. None: nothing is.
        line: A key of `DASHES`, or none.
        steps: Whether each value holds back to the x before it, the first one to the left end.
        dots: none, full or hollow, at each point.
        low: Lower ends of bars through the points, as many as points, or none.
        high: Upper ends.
        legend: What the legend says, if more than the name; empty leaves the curve out of it.
    """

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    line: str = "solid"
    steps: bool = False
    dots: str = "none"
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    legend: str | None = None


def line_chart(title: str, alt: str, x: Axis, y: Axis, curves: Sequence[Curve]) -> str:
    """Draw curves over two axes.

    Args:
        title: Set over the plot.
        alt: What a reader who cannot see it must know.
        x: The horizontal axis.
        y: The vertical axis.
        curves: Later ones lie above earlier ones; what lies outside the axes is not cut.

    Returns:
        A div: the SVG, and an empty line for what is read out.

    Example:
        >>> line = Curve("a", "#000", [0, 1], [0, 1])
        >>> svg = line_chart("Line", "rising", Axis("x", 0, 1), Axis("y", 0, 1), [line])
        >>> 'd="M58.0 290.0L448.0 30.0"' in svg
        True
    """
    frame = _Frame(x, y)
    named = [curve for curve in curves if curve.legend != ""]
    height = TOP + PLOT_HEIGHT + AXIS_HEIGHT + LEGEND_ROW * len(named) + 4
    return (
        f'<div class="chart"><div class="plot">'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(f"{title}: {alt}")}">'
        f"<title>{escape(title)}</title>"
        f'<text class="title" x="{LEFT}" y="18">{escape(title)}</text>'
        f"{_axes(frame)}{''.join(_draw(curve, frame) for curve in curves)}"
        f'{_legend(named)}<circle class="cursor" r="0"/></svg></div>'
        f'<p class="readout"></p></div>'
    )


def chart_figure(charts: Sequence[str], caption: str) -> str:
    """Charts side by side, or one below the other on a phone, over one caption with n and units."""
    return (
        f'<figure><div class="charts">{"".join(charts)}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """Round values between two ends.

    Args:
        low: First end.
        high: Second end, above the first.
        most: No more than so many values.
        whole: Whether only whole numbers will do.

    Returns:
        Multiples of 1, 2 or 5 times a power of ten, rising.

    Example:
        >>> ticks(0, 1), ticks(0.34, 0.74), ticks(1, 18, whole=True)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.4, 0.5, 0.6, 0.7], [5.0, 10.0, 15.0])
    """
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    steps = [max(factor * power, 1.0) if whole else factor * power for factor in (1, 2, 5, 10, 20)]
    for step in steps:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [round(k * step, 12) for k in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    """Where values of both axes stand in the drawing."""

    x: Axis
    y: Axis

    def across(self, value: float) -> float:
        share = (value - self.x.low) / (self.x.high - self.x.low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def down(self, value: float) -> float:
        share = (value - self.y.low) / (self.y.high - self.y.low)
        return round(TOP + (1 - share) * PLOT_HEIGHT, 1)


def _axes(frame: _Frame) -> str:
    right, bottom = WIDTH - RIGHT, TOP + PLOT_HEIGHT
    pieces = []
    for value in ticks(frame.x.low, frame.x.high, whole=frame.x.whole):
        x = frame.across(value)
        pieces.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom}"/>')
        pieces.append(
            f'<text class="tick" x="{x}" y="{bottom + 17}" text-anchor="middle">'
            f"{_plain(value)}</text>"
        )
    for value in ticks(frame.y.low, frame.y.high, whole=frame.y.whole):
        y = frame.down(value)
        pieces.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        pieces.append(
            f'<text class="tick" x="{LEFT - 7}" y="{y + 4:g}" text-anchor="end">'
            f"{_plain(value)}</text>"
        )
    middle = TOP + PLOT_HEIGHT // 2
    return (
        f"{''.join(pieces)}"
        f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
        f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{bottom}"/>'
        f'<text x="{(LEFT + right) // 2}" y="{bottom + 37}" text-anchor="middle">'
        f"{escape(frame.x.label)}</text>"
        f'<text transform="translate(15 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(frame.y.label)}</text>"
    )


def _plain(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _draw(curve: Curve, frame: _Frame) -> str:
    places = [
        (k, frame.across(x), frame.down(y))
        for k, (x, y) in enumerate(zip(curve.x, curve.y, strict=True))
        if not math.isnan(y)
    ]
    pieces = [
        f'<line stroke="{curve.colour}" stroke-width="1.6" opacity="0.55" x1="{x}" x2="{x}" '
        f'y1="{frame.down(curve.low[k])}" y2="{frame.down(curve.high[k])}"/>'
        for k, x, _ in places
        if curve.low
    ]
    if curve.line != "none":
        pieces.append(f'<path class="curve" {_ink(curve)} d="{_path(curve, places)}"/>')
    if curve.dots != "none":
        pieces += [_dot(curve, x, y) for _, x, y in places]
    if not curve.columns or not places:
        return "".join(pieces)
    points = ";".join(
        "|".join([f"{x}", f"{y}", *(texts[k] for texts in curve.columns.values())])
        for k, x, y in places
    )
    return (
        f'<g data-name="{escape(curve.name)}" data-columns="{escape("|".join(curve.columns))}" '
        f'data-points="{escape(points)}">{"".join(pieces)}</g>'
    )


def _ink(curve: Curve) -> str:
    dashes = DASHES[curve.line]
    return f'stroke="{curve.colour}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")


def _dot(curve: Curve, x: float, y: float) -> str:
    look = "hollow" if curve.dots == "hollow" else "full"
    paint = "stroke" if look == "hollow" else "fill"
    return f'<circle class="{look}" {paint}="{curve.colour}" cx="{x}" cy="{y}" r="4.5"/>'


def _path(curve: Curve, places: Sequence[tuple[int, float, float]]) -> str:
    """What is drawn from point to point; a point that is missing starts it anew."""
    if curve.steps:
        return "".join(
            f"M{LEFT} {y}H{x}" if order == 0 else f"V{y}H{x}"
            for order, (_, x, y) in enumerate(places)
        )
    present = {k for k, _, _ in places}
    return "".join(f"{'L' if k - 1 in present else 'M'}{x} {y}" for k, x, y in places)


def _legend(curves: Sequence[Curve]) -> str:
    """A row a curve, below the axes: inside them a weak network's curve would run through it."""
    rows = []
    for order, curve in enumerate(curves):
        y = TOP + PLOT_HEIGHT + AXIS_HEIGHT + LEGEND_ROW * order + 12
        if curve.line != "none":
            rows.append(f'<path class="curve" {_ink(curve)} d="M{LEFT} {y - 4}h28"/>')
        if curve.dots != "none":
            rows.append(_dot(curve, LEFT + 14, y - 4))
        words = curve.name if curve.legend is None else curve.legend
        rows.append(f'<text x="{LEFT + 36}" y="{y}">{escape(words)}</text>')
    return "".join(rows)

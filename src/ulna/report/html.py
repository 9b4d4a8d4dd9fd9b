"""Parts of a self-contained HTML page: no requests; made for phones, print and screen readers.

Every function returns HTML and escapes its text.
"""

import base64
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pandas as pd

_HERE = Path(__file__)
STYLE = _HERE.with_name("page.css").read_text(encoding="utf-8")
# Sorts tables, opens what a link leads to, tells what scrolls; without it the page is complete.
SCRIPT = _HERE.with_name("page.js").read_text(encoding="utf-8")

ABSENT = "too few"
LONG_CHARACTERS = 24  # a text column with longer cells gets a minimum width


class Section(NamedTuple):
    """A section of the page."""

    anchor: str
    title: str
    lead: str  # HTML that is always visible
    more: str  # HTML that is folded, "" for none


class Tile(NamedTuple):
    """A headline number."""

    name: str
    value: str
    limits: str  # its 95% interval, "" for none
    words: str


BOUND = re.compile(r"(?<=\d) (\([−\d.,]+ to [−\d.,]+\))$")

# Content-Security-Policy: the page makes no request.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def number(value: object, digits: int = 3) -> str:
    """Format a number to `digits` decimals, a count without; undefined is "too few".

    Example:
        >>> number(0.12345), number(-1204, 0), number(None), number(float("nan"))
        ('0.123', '−1,204', 'too few', 'too few')
    """
    if _undefined(value):
        return ABSENT
    if isinstance(value, int):
        digits = 0
    return f"{value:z,.{digits}f}".replace("-", "−")


def interval(value: object, low: object, high: object, digits: int = 3) -> str:
    """Format a value with its 95% interval; "too few" if either is undefined.

    Example:
        >>> interval(0.8553, 0.7601, 0.9311), interval(0.8553, None, None)
        ('0.855 (0.760 to 0.931)', 'too few')
    """
    if any(map(_undefined, (value, low, high))):
        return ABSENT
    return f"{number(value, digits)} ({number(low, digits)} to {number(high, digits)})"


def _undefined(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def span(row: Mapping[str, object], name: str, digits: int = 3) -> str:
    """The `interval` of `name`, whose limits are `<name>_low` and `<name>_high` of the row."""
    return interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits)


def p_value(value: float | None) -> str:
    """Format a p-value to three decimals, never as 0.

    Example:
        >>> p_value(0.0321), p_value(0.00016), p_value(None)
        ('0.032', '< 0.001', 'too few')
    """
    return "< 0.001" if value is not None and value < 0.001 else number(value)


def paragraph(*sentences: str) -> str:
    """One paragraph."""
    return f"<p>{escape(' '.join(sentences))}</p>"


def bullets(items: Sequence[str]) -> str:
    """A bulleted list."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def table(frame: pd.DataFrame, caption: str, text: Sequence[str] = (), dense: bool = False) -> str:
    """A sortable table that scrolls horizontally on a narrow screen.

    Args:
        frame: Cells as strings; the first column has the row headers.
        caption: Content and n.
        text: Columns that are left-aligned and may be wrapped.
        dense: Whether to put each interval on a line of its own.
    """
    kinds = [_kind(frame[column]) if column in text else "" for column in frame.columns]
    head = "".join(
        f'<th scope="col"{_class(kind)}>{escape(str(column))}</th>'
        for column, kind in zip(frame.columns, kinds, strict=True)
    )
    rows = []
    for values in frame.itertuples(index=False, name=None):
        first, *others = (escape(str(value)) for value in values)
        cells = "".join(
            f"<td{_class(kind)}>{BOUND.sub(_mark_interval, value)}</td>"
            for value, kind in zip(others, kinds[1:], strict=True)
        )
        rows.append(f'<tr><th scope="row"{_class(kinds[0])}>{first}</th>{cells}</tr>')
    kind = "sortable dense" if dense else "sortable"
    return (
        f'<div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0">'
        f'<table class="{kind}"><caption><span>{escape(caption)}</span></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _kind(column: pd.Series) -> str:
    return "text long" if column.map(len).max() > LONG_CHARACTERS else "text"


def _mark_interval(match: re.Match[str]) -> str:
    # In a softer ink, and on a phone on its own line, see page.css.
    return f' <span class="bound">{match[1]}</span>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def embed_figure(svg: str, alt: str, caption: str) -> str:
    """Embed a figure at its natural size, with colours that follow the page's.

    Args:
        svg: See `ulna.figures.style.to_svg`.
        alt: Text for screen readers.
        caption: Content, units and n.
    """
    opening, rest = svg.split(">", 1)
    points = re.search(r' width="([\d.]+)pt"', opening)
    width = f' style="width: {float(points[1]) * 4 / 3:g}px"' if points else ""
    # In HTML an svg needs no namespaces.
    opening = re.sub(r' (?:xmlns(?::xlink)?|width|height|version)="[^"]*"', "", opening)
    return (
        f'<figure><div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0">'
        f'{opening}{width} role="img" aria-label="{escape(alt)}">{rest.strip()}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def embed_picture(
    anchor: str,
    jpeg: bytes,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None,
    lines: Sequence[str],
    back: str,
) -> str:
    """Embed a radiograph that a click enlarges, without a script.

    Args:
        anchor: Its id.
        jpeg: The encoded image.
        size: Width and height of the original, in pixels.
        box: Left, top, right and bottom of what is marked, in pixels of the original.
        lines: The caption, its first line in bold.
        back: The id that closing it leads to.
    """
    width, height = size
    data = base64.b64encode(jpeg).decode("ascii")
    mark = ""
    if box is not None:
        left, top, right, bottom = box
        mark = (
            f'<rect x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}"/>'
        )
    # A path may be broken after its folders.
    first, *others = (escape(line).replace("/", "/<wbr>") for line in lines)
    alt = f"{'. '.join(lines)}{'; the finding is marked' if mark else ''}"
    return (
        f'<figure class="picture" id="{anchor}"><a href="#{anchor}" title="Enlarge">'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(alt)}">'
        f'<image href="data:image/jpeg;base64,{data}" width="{width}" height="{height}"/>{mark}'
        f"</svg></a><figcaption><b>{first}</b>{''.join(f'<br>{line}' for line in others)}"
        f'<a class="close" href="#{back}">Close</a></figcaption></figure>'
    )


def picture_grid(anchor: str, heading: str, pictures: Sequence[str], large: bool = False) -> str:
    """Pictures in a grid under a heading; `anchor` is its id."""
    kind = "pictures large" if large else "pictures"
    return f'<h3 id="{anchor}">{escape(heading)}</h3><div class="{kind}">{"".join(pictures)}</div>'


def subheading(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{escape(text)}</h3>"


def fold(title: str, *pieces: str) -> str:
    """Folded HTML."""
    html = "\n".join(pieces)
    return f"<details><summary>{escape(title)}</summary>\n{html}\n</details>"


def preformatted(text: str) -> str:
    """Text as it is, such as a file."""
    return f'<pre tabindex="0">{escape(text)}</pre>'


def download(text: str, name: str, label: str) -> str:
    """A link that saves a text file that the page carries, such as a .csv."""
    data = f"data:text/csv;charset=utf-8,{quote(text)}"
    return f'<p><a href="{data}" download="{escape(name)}">{escape(label)}</a></p>'


def section(anchor: str, title: str, lead: Sequence[str], more: Sequence[str] = ()) -> Section:
    """A section of the page: `lead` is always visible, `more` is folded."""
    return Section(anchor, title, "\n".join(lead), "\n".join(filter(None, more)))


def page(
    title: str,
    lead: str,
    subject: str,
    tiles: Sequence[Tile],
    answers: Mapping[str, Sequence[str]],
    sections: Sequence[Section],
) -> str:
    """Assemble an HTML document that makes no request.

    Args:
        title: The heading of the page.
        lead: The line below it.
        subject: Of what `tiles` are.
        tiles: Headline numbers.
        answers: The box on top: question -> sentences.
        sections: See `section`, in order.
    """
    contents = "".join(
        f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name, *_ in sections
    )
    body = "\n".join(map(_section, sections))
    numbers = "".join(
        f"<div><dt>{escape(tile.name)}</dt><dd><b>{escape(tile.value)}</b> "
        f'<span class="bound">{escape(tile.limits)}</span> '
        f'<span class="words">{escape(tile.words)}</span></dd></div>'
        for tile in tiles
    )
    rows = "".join(
        f"<dt>{escape(question)}</dt><dd>{''.join(map(paragraph, sentences))}</dd>"
        for question, sentences in answers.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body id="top">
<a class="skip" href="#main">Skip to the report</a>
<header><h1>{escape(title)}</h1><p class="soft">{escape(lead)}</p>
<section class="summary" id="summary" aria-label="Summary">
<p class="subject">{escape(subject)}</p>
<dl class="tiles">{numbers}</dl><dl class="answers">{rows}</dl></section></header>
<nav aria-label="Contents"><ul><li><a href="#summary">Summary</a></li>{contents}</ul>
<a class="up" href="#top">Back to top</a></nav>
<main id="main">
{body}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _section(section: Section) -> str:
    anchor, title, lead, more = section
    folded = fold(f"Details: {title}", more) if more else ""
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">'
        f'<h2 id="{anchor}-title">{escape(title)}</h2>\n{lead}\n{folded}\n</section>'
    )

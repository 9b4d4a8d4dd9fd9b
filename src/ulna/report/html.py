"""Parts of a self-contained HTML page: no requests; made for phones, print and screen readers.

Every function returns HTML and escapes its text.
"""

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import pandas as pd

_HERE = Path(__file__)
STYLE = _HERE.with_name("page.css").read_text(encoding="utf-8")
# Sorts the tables; without scripts they are complete.
SCRIPT = _HERE.with_name("page.js").read_text(encoding="utf-8")

ABSENT = "too few"
LONG_CHARACTERS = 24  # a text column with longer cells gets a minimum width
Section = tuple[str, str, str]

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


def table(frame: pd.DataFrame, caption: str, text: Sequence[str] = ()) -> str:
    """A sortable table that scrolls horizontally on a narrow screen.

    Args:
        frame: Cells as strings; the first column has the row headers.
        caption: Content and n.
        text: Columns that are left-aligned and may be wrapped.
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
    return (
        f'<div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0">'
        f'<table class="sortable"><caption><span>{escape(caption)}</span></caption>'
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
    """Embed a figure, whose colours follow the page's.

    Args:
        svg: See `ulna.figures.style.to_svg`.
        alt: Text for screen readers.
        caption: Content, units and n.
    """
    opening, rest = svg.split(">", 1)
    # In HTML an svg needs no namespaces; page.css sets its size.
    opening = re.sub(r' (?:xmlns(?::xlink)?|width|height|version)="[^"]*"', "", opening)
    return (
        f'<figure><div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0">'
        f'{opening} role="img" aria-label="{escape(alt)}">{rest.strip()}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def section(anchor: str, title: str, *pieces: str) -> Section:
    """A section of the page: anchor, title and HTML."""
    return anchor, title, "\n".join(pieces)


def linked_table(frame: pd.DataFrame, caption: str, link: str) -> str:
    """A `table` of text, one column of which names sections of the page and links to them."""
    html = table(frame, caption, tuple(frame.columns))
    for anchor in sorted(set(frame[link]) - {""}):
        cell = f">{escape(anchor)}</td>"
        html = html.replace(cell, f'><a href="#{escape(anchor)}">{escape(anchor)}</a></td>')
    return html


def details(title: str, text: str) -> str:
    """Preformatted text, folded."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def page(
    title: str, lead: str, summary: Mapping[str, Sequence[str]], sections: Sequence[Section]
) -> str:
    """Assemble an HTML document that makes no request.

    Args:
        title: The heading of the page.
        lead: The line below it.
        summary: The box on top: heading -> sentences.
        sections: See `section`, in order.
    """
    contents = "".join(
        f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name, _ in sections
    )
    body = "\n".join(
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">'
        f'<h2 id="{anchor}-title">{escape(name)}</h2>\n{html}\n</section>'
        for anchor, name, html in sections
    )
    answers = "".join(
        f"<dt>{escape(heading)}</dt><dd>{''.join(map(paragraph, sentences))}</dd>"
        for heading, sentences in summary.items()
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
<body>
<a class="skip" href="#main">Skip to the report</a>
<header><h1>{escape(title)}</h1><p class="soft">{escape(lead)}</p>
<section class="summary" id="summary" aria-label="Summary"><dl>{answers}</dl></section></header>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
<main id="main">
{body}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""

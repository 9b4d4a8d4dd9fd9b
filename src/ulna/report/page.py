"""Pieces of a self-contained HTML page: no network, readable on a phone, in print, when read aloud.

Every function returns HTML and escapes the text that it is given.
"""

import base64
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import pandas as pd

from ulna.report import charts

STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #586170; --line: #d9dde3; --paper: #fff;
  --panel: #f4f6f8; --link: #0b57a4; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e8eaee; --soft: #a9b1bd;
  --line: #3a414c; --paper: #14171c; --panel: #1d2229; --link: #8cc4ff; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main, header, footer, nav { max-width: 64rem; margin: 0 auto; padding: 0 1rem; }
main { padding-bottom: 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1.5rem 0 0.3rem; text-wrap: balance; }
h2 { font-size: 1.3rem; line-height: 1.25; margin: 2.8rem 0 0.6rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
p, ul, dl { max-width: 46rem; }
li { margin: 0.2rem 0; }
a { color: var(--link); }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: 0.5rem; background: var(--paper); padding: 0.3rem 0.6rem; }
.verdict { background: var(--panel); border-left: 0.35rem solid var(--link); margin: 1rem 0;
  padding: 0.4rem 1.1rem; }
.verdict dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.5rem 1.2rem;
  margin: 0.6rem 0; max-width: none; }
.verdict dt { font-weight: 600; }
.verdict dd { margin: 0; max-width: 46rem; }
.verdict dd:first-of-type { font-size: 1.08rem; }
.verdict dd p { margin: 0 0 0.25rem; }
.soft { color: var(--soft); }
nav ul { columns: 3 15rem; padding: 0; max-width: none; margin: 0.8rem 0; list-style: none; }
nav li { break-inside: avoid; margin: 0.15rem 0; }
.wide { overflow-x: auto; margin: 1rem 0; max-width: 100%; }
.wide:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.87rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: 0.3rem 0; }
/* Of a table that scrolls sideways, the caption and the names of the rows stay. */
caption span { display: inline-block; position: sticky; left: 0;
  max-width: min(46rem, calc(100vw - 2rem)); }
th, td { padding: 0.28rem 0 0.28rem 0.9rem; border-bottom: 1px solid var(--line);
  text-align: right; white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
th:first-child { padding-left: 0; position: sticky; left: 0; background: var(--paper); }
td.text { white-space: normal; }
td.long { min-width: 12rem; overflow-wrap: anywhere; }
tbody th { font-weight: 500; }
thead th { border-bottom: 2px solid var(--line); vertical-align: bottom; white-space: normal; }
.bound { color: var(--soft); }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--link); }
th[aria-sort] button::after { content: "\\a0\\2195"; color: var(--soft); }
th[aria-sort=ascending] button::after { content: "\\a0\\2191"; color: var(--ink); }
th[aria-sort=descending] button::after { content: "\\a0\\2193"; color: var(--ink); }
figure { margin: 1.4rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption { color: var(--soft); font-size: 0.87rem; max-width: 46rem; margin-top: 0.3rem; }
code { font-size: 0.85em; overflow-wrap: anywhere; }
summary { cursor: pointer; }
pre { overflow-x: auto; font-size: 0.8rem; }
@media screen and (max-width: 40rem) {
  .verdict dl { grid-template-columns: 1fr; gap: 0; }
  .verdict dt { margin-top: 0.6rem; }
  .bound { display: block; font-size: 0.93em; }
  table { font-size: 0.82rem; }
  th, td { padding-left: 0.6rem; }
  th:first-child { white-space: normal; max-width: 8rem; }
  /* The words in a figure stay readable: it scrolls sideways, as a wide table does. */
  figure .wide img { max-width: none; width: 46rem; }
}
@media print {
  nav, .skip { display: none; }
  html { font-size: 12px; }
  thead { break-inside: avoid; }
  main, header { max-width: none; padding: 0; }
  h2, caption { break-after: avoid; }
  figure, tr, .verdict { break-inside: avoid; }
  figure img { max-height: 88vh; }
  .wide { overflow: visible; }
  td.long { min-width: 0; }
  th[aria-sort] button::after { content: none; }
}
"""

# Sorting is a convenience: without script the tables are whole.
SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    // A number, alone or before its interval; else the words themselves.
    const value = (row) => {
      const text = row.cells[column].textContent;
      const plain = text.replace("\\u2212", "-").replaceAll(",", "").replace("< ", "");
      const found = plain.match(/^-?[0-9.]+(?= \\(|$)/);
      return found ? Number(found[0]) : text;
    };
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [left, right] = [value(a), value(b)];
        // Words, such as "too few", stand below numbers either way.
        if (typeof left !== typeof right) return typeof left === "number" ? -1 : 1;
        return (left < right ? -1 : left > right ? 1 : 0) * (rising ? 1 : -1);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
"""

ABSENT = "too few"
LONG_CHARACTERS = 24  # a column of words that long is kept wide enough to be read
Section = tuple[str, str, str]
Answer = tuple[str, Sequence[str]]

BOUND = re.compile(r"(?<=\d) (\([−\d.,]+ to [−\d.,]+\))$")

# A browser that keeps to this asks nobody for anything.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def number(value: object, digits: int = 3) -> str:
    """A number to so many decimals, counts whole; what is undefined is "too few".

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
    """A value with its 95% interval; "too few" where either is undefined.

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
    """The `interval` of `name`, whose ends stand beside it as `<name>_low` and `<name>_high`."""
    return interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits)


def p_value(value: float | None) -> str:
    """A p-value to three decimals, none of them called 0.

    Example:
        >>> p_value(0.0321), p_value(0.00016), p_value(None)
        ('0.032', '< 0.001', 'too few')
    """
    return "< 0.001" if value is not None and value < 0.001 else number(value)


def paragraph(*sentences: str) -> str:
    """One paragraph."""
    return f"<p>{escape(' '.join(sentences))}</p>"


def bullets(items: Sequence[str]) -> str:
    """A list of points."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def table(frame: pd.DataFrame, caption: str, text: Sequence[str] = ()) -> str:
    """A table whose cells are text already; its columns can be sorted.

    Args:
        frame: Cells as strings; the first column names the rows.
        caption: What is shown, of how many.
        text: Columns that are set flush left and may be wrapped.

    Returns:
        A table that scrolls sideways on a narrow screen.
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
            f"<td{_class(kind)}>{BOUND.sub(_apart, value)}</td>"
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


def _apart(found: re.Match[str]) -> str:
    """The interval behind a value in softer ink; on a phone it stands on a line of its own."""
    return f' <span class="bound">{found[1]}</span>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def picture(files: Mapping[str, Path], name: str, alt: str, caption: str) -> str:
    """A PNG file inside the page.

    Args:
        files: PNG files by name.
        name: Which of them.
        alt: What a reader who cannot see it must know.
        caption: What is shown, with units and n.
    """
    data = base64.b64encode(files[name].read_bytes()).decode("ascii")
    return (
        f'<figure><div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0">'
        f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def section(anchor: str, title: str, *pieces: str) -> Section:
    """A part of the page: its anchor, its title and its HTML."""
    return anchor, title, "\n".join(pieces)


def linked_table(frame: pd.DataFrame, caption: str, link: str) -> str:
    """A `table` of text in which one column names sections of the page, and leads to them."""
    html = table(frame, caption, tuple(frame.columns))
    for anchor in sorted(set(frame[link]) - {""}):
        cell = f">{escape(anchor)}</td>"
        html = html.replace(cell, f'><a href="#{escape(anchor)}">{escape(anchor)}</a></td>')
    return html


def details(title: str, text: str) -> str:
    """Text as it is, folded away until it is wanted."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def page(title: str, lead: str, verdict: Sequence[Answer], sections: Sequence[Section]) -> str:
    """Put a page together.

    Args:
        title: Of the page.
        lead: A line below it.
        verdict: What stands on top: questions, each with the sentences that answer it.
        sections: See `section`, in order.

    Returns:
        A whole HTML document that asks for nothing from anywhere.
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
        f"<dt>{escape(question)}</dt><dd>{''.join(map(paragraph, sentences))}</dd>"
        for question, sentences in verdict
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
<style>{STYLE}{charts.STYLE}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header><h1>{escape(title)}</h1><p class="soft">{escape(lead)}</p>
<section class="verdict" id="verdict" aria-label="Verdict"><dl>{answers}</dl></section></header>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
<main id="main">
{body}
</main>
<script>{SCRIPT}{charts.SCRIPT}</script>
</body>
</html>
"""

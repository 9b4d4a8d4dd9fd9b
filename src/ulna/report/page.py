"""Pieces of a self-contained HTML page: no network, readable on a phone, in print, when read aloud.

Every function returns HTML and escapes the text that it is given.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import pandas as pd

STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #586170; --line: #d9dde3; --paper: #fff;
  --panel: #f4f6f8; --link: #0b57a4; --mark: #a63c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaee; --soft: #a9b1bd; --line: #3a414c;
  --paper: #14171c; --panel: #1d2229; --link: #8cc4ff; --mark: #ffb38a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main, header, footer, nav { max-width: 62rem; margin: 0 auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1.5rem 0 0.3rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 0.6rem; padding-top: 0.8rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.4rem 0 0.4rem; }
p, ul { max-width: 46rem; }
a { color: var(--link); }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: 0.5rem; background: var(--paper); padding: 0.3rem 0.6rem; }
.verdict { background: var(--panel); border-left: 0.35rem solid var(--link); margin: 1rem 0;
  padding: 0.7rem 1rem; }
.verdict p { margin: 0.35rem 0; }
.soft { color: var(--soft); }
nav ul { columns: 3 12rem; padding-left: 1.1rem; max-width: none; margin: 0.6rem 0; }
.wide { overflow-x: auto; margin: 0.9rem 0; }
table { border-collapse: collapse; font-size: 0.87rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: 0.3rem 0; }
th, td { padding: 0.28rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
td.text { white-space: normal; min-width: 9rem; }
thead th { border-bottom: 2px solid var(--line); }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--link); }
th[aria-sort] button::after { content: " \\2195"; color: var(--soft); }
th[aria-sort=ascending] button::after { content: " \\2191"; color: var(--ink); }
th[aria-sort=descending] button::after { content: " \\2193"; color: var(--ink); }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption { color: var(--soft); font-size: 0.87rem; max-width: 46rem; }
code { font-size: 0.85em; overflow-wrap: anywhere; }
pre { overflow-x: auto; font-size: 0.8rem; }
@media print { nav, .skip { display: none; } h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; } .wide { overflow: visible; } body { font-size: 0.85rem; } }
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
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const value = (row) => {
        const text = row.cells[column].textContent.replace("\\u2212", "-");
        const parsed = parseFloat(text);
        return Number.isNaN(parsed) ? text : parsed;
      };
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [left, right] = [value(a), value(b)];
        if (typeof left !== typeof right) return typeof left === "number" ? -1 : 1;
        return (left < right ? -1 : left > right ? 1 : 0) * (rising ? 1 : -1);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
"""

ABSENT = "too few"
Section = tuple[str, str, str]

# A browser that keeps to this asks nobody for anything.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def number(value: object, digits: int = 3) -> str:
    """A number to so many decimals, counts whole; what is undefined is "too few".

    Example:
        >>> number(0.12345), number(-1204, 0), number(None), number(float("nan"))
        ('0.123', '−1,204', 'too few', 'too few')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ABSENT
    if isinstance(value, int):
        digits = 0
    return f"{value:z,.{digits}f}".replace("-", "−")


def span(row: Mapping[str, object], name: str, digits: int = 3) -> str:
    """A value with its 95% interval: `0.855 (0.760 to 0.931)`; "too few" where there is none."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if number(row[name]) == ABSENT or number(low) == ABSENT:
        return ABSENT
    return f"{number(row[name], digits)} ({number(low, digits)} to {number(high, digits)})"


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
    kinds = ["text" if column in text else "" for column in frame.columns]
    head = "".join(
        f'<th scope="col"{_class(kind)}>{escape(str(column))}</th>'
        for column, kind in zip(frame.columns, kinds, strict=True)
    )
    rows = []
    for values in frame.itertuples(index=False, name=None):
        first, *others = (escape(str(value)) for value in values)
        cells = "".join(
            f"<td{_class(kind)}>{value}</td>" for value, kind in zip(others, kinds[1:], strict=True)
        )
        rows.append(f'<tr><th scope="row"{_class(kinds[0])}>{first}</th>{cells}</tr>')
    return (
        f'<div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0">'
        f'<table class="sortable"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


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
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def section(anchor: str, title: str, *pieces: str) -> Section:
    """A part of the page: its anchor, its title and its HTML."""
    return anchor, title, "\n".join(pieces)


def linked_table(frame: pd.DataFrame, caption: str, link: str) -> str:
    """A `table` of text in which one column names sections of the page, and leads to them."""
    html = table(frame, caption, tuple(frame.columns))
    for anchor in sorted(set(frame[link]) - {""}):
        cell = f'<td class="text">{escape(anchor)}</td>'
        html = html.replace(
            cell, f'<td class="text"><a href="#{escape(anchor)}">{escape(anchor)}</a></td>'
        )
    return html


def details(title: str, text: str) -> str:
    """Text as it is, folded away until it is wanted."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def page(title: str, lead: str, verdict: Sequence[str], sections: Sequence[Section]) -> str:
    """Put a page together.

    Args:
        title: Of the page.
        lead: A line below it.
        verdict: Sentences to stand on top.
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
    verdicts = "".join(f"<p>{escape(sentence)}</p>" for sentence in verdict)
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
<div class="verdict" id="verdict" role="note" aria-label="Verdict">{verdicts}</div></header>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
<main id="main">
{body}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""

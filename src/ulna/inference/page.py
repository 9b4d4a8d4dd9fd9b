"""The report of a prediction: one HTML page that makes no request, for screen, phone and print.

Made in pieces, so that a page of 10,000 studies takes no more memory than one of ten.
"""

import base64
import heapq
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any

from ulna.core import version
from ulna.inference import text

Record = Mapping[str, Any]
Records = Callable[[], Iterable[Record]]  # those of all studies, the same each time

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
# Content-Security-Policy: no request, no script.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
MOST_SHOWN = 200  # studies with pictures, the most probable ones: about 15 MB
LONGEST_PX = 320  # of a picture
MOST_VIEWS = 40  # of a study: a folder of many studies is one, if nobody sorted it


@dataclass(frozen=True)
class Picture:
    """A view on the page, as JPEG; overlay is its activation map over it, None without maps."""

    jpeg: bytes
    overlay: bytes | None
    width_px: int
    height_px: int


LoadPicture = Callable[[str], Picture | None]


def render_page(
    bundle: Record,
    origin: str,
    sha256: str,
    records: Records,
    load_picture: LoadPicture,
) -> Iterator[str]:
    """Render the page, piece by piece.

    Args:
        bundle: The record of the bundle.
        origin: Where the bundle comes from, in words.
        sha256: That of the bundle.
        records: See `ulna.inference.outputs`.
        load_picture: Path of a view -> its picture; None if it cannot be read any more.
    """
    shown = _most_probable(records())
    yield _head(bundle)
    yield _tiles(records())
    yield _about(bundle, origin, sha256)
    yield from _cards(bundle, records, shown, load_picture)
    yield from _all_studies(records(), shown)
    yield from _refused(records())
    yield (
        f"</main><footer><p>{_text(text.DISCLAIMER)} Made by ulna {escape(version())} with the "
        f"bundle {_text(bundle['name'])}, SHA-256 <code>{sha256[:16]}</code>.</p></footer>"
        "</body></html>\n"
    )


def _most_probable(records: Iterable[Record]) -> list[int]:
    """Places of the most probable studies that were answered, the most probable first."""
    keys = (
        (-record["probability"], place)
        for place, record in enumerate(records)
        if record["probability"] is not None
    )
    return [place for _, place in heapq.nsmallest(MOST_SHOWN, keys)]


def _head(bundle: Record) -> str:
    title = "Bone radiographs: abnormal or normal"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<a class="skip" href="#studies">Skip to the studies</a>
<header><h1>{title}</h1>
<p class="notice" role="note"><b>{_text(text.DISCLAIMER)}</b> A network answered; nobody has
looked at these studies. {_text(bundle["label"]["meaning"])}</p></header>
<main>
"""


def _tiles(records: Iterable[Record]) -> str:
    abnormal = normal = warned = refused = 0
    for record in records:
        abnormal += record["decision"] == "abnormal"
        normal += record["decision"] == "normal"
        warned += record["decision"] is not None and len(record["warnings"]) > 0
        refused += len(record["refused"])
    counts = {
        "Studies answered": abnormal + normal, "Abnormal": abnormal, "Normal": normal,
        "With warnings": warned, "Files refused": refused,
    }  # fmt: skip
    tiles = "".join(
        f"<div><dt>{name}</dt><dd>{count:,}</dd></div>" for name, count in counts.items()
    )
    return f'<section aria-label="Summary"><dl class="tiles">{tiles}</dl></section>\n'


def _about(bundle: Record, origin: str, sha256: str) -> str:
    chosen = bundle["threshold"]
    threshold = f"{chosen['study']:.3f} ({text.describe_rule(chosen)})"
    if chosen["by_body_part"]:
        threshold += "; body parts have their own"
    parts = ", ".join(sorted(bundle["body_parts"]))
    facts = {
        "Network": f"{bundle['title']}, {origin} ({sha256[:12]})",
        "Trained on": text.describe_training(bundle),
        "Body parts": parts,
        "How good": text.describe_performance(bundle),
        "Threshold": threshold,
        "Calibration": bundle["calibration"]["sentence"],
        "Test findings missed": _missed(bundle["performance"]["by_finding"]),
    }
    rows = "".join(f"<dt>{name}</dt><dd>{_text(fact)}</dd>" for name, fact in facts.items())
    maps = "".join(f"<p>{_text(network['saliency'])}</p>" for network in bundle["networks"])
    return (
        '<section aria-labelledby="about"><h2 id="about">What predicted this</h2>'
        f'<dl class="facts">{rows}</dl>'
        "<details><summary>Test results by body part, and test of the activation maps</summary>"
        f"{_performance(bundle)}{maps}</details></section>\n"
    )


def _missed(findings: Mapping[str, Record] | None) -> str:
    """The findings of the test split, the most often missed first."""
    if findings is None:
        return "The data do not name findings: it cannot be known."
    tested = [(name, row) for name, row in findings.items() if row["studies"]]
    tested.sort(key=lambda item: item[1]["found"] / item[1]["studies"])
    return ", ".join(
        f"{name.replace('_', ' ')} {row['studies'] - row['found']:,} of {row['studies']:,}"
        for name, row in tested
    )


def _performance(bundle: Record) -> str:
    performance = bundle["performance"]
    rows = [("All", performance["study"]), *sorted(performance["by_body_part"].items())]
    cells = [
        [
            name, f"{scores['n']:,}", f"{scores['abnormal']:,}",
            *(text.with_interval(scores, key) for key in ("auroc", "recall", "specificity")),
        ]
        for name, scores in rows
    ]  # fmt: skip
    names = ("Body part", "Studies", "Abnormal", "AUROC", "Sensitivity", "Specificity")
    caption = "Test studies of the data it was trained on, with 95% intervals over patients"
    return "".join(_table(caption, names, map(_row, cells)))


def _cards(
    bundle: Record, records: Records, shown: Sequence[int], load_picture: LoadPicture
) -> Iterator[str]:
    rule = text.describe_rule(bundle["threshold"])
    title = "Studies, the highest probability first"
    yield f'<section aria-labelledby="studies"><h2 id="studies">{title}</h2>'
    # In the order of their probability, of which only the records shown are held.
    wanted = set(shown)
    held = {place: record for place, record in enumerate(records()) if place in wanted}
    if not shown:
        yield "<p>No study could be answered.</p>"
    elif len(shown) == MOST_SHOWN:
        yield f"<p>The {MOST_SHOWN} of the highest probability; the table below has all.</p>"
    if shown and all(network["maps"] for network in bundle["networks"]):
        yield (
            "<p>Beside each view its activation map: orange speaks for abnormal, blue for normal. "
            "It shows what the network used, not where a finding is.</p>"
        )
    for place in shown:
        yield _card(place, held[place], load_picture, rule)
    yield "</section>\n"


def _card(place: int, record: Record, load_picture: LoadPicture, rule: str) -> str:
    probability, threshold = text.format_pair(record["probability"], record["threshold"])
    side = "above" if record["decision"] == "abnormal" else "not above"
    part = f' <span class="soft">{_text(record["body_part"])}</span>' if record["body_part"] else ""
    warnings = "".join(
        f"<li><b>Warning:</b> {_text(warning['sentence'])}</li>" for warning in record["warnings"]
    )
    warnings = f'<ul class="warnings">{warnings}</ul>' if warnings else ""
    views = "".join(_view(view, load_picture) for view in record["views"][:MOST_VIEWS])
    more = len(record["views"]) - MOST_VIEWS
    if more > 0:
        views += f"<p>and {more:,} more views</p>"
    return (
        f'<article class="{record["decision"]}" id="study{place}" aria-labelledby="name{place}">'
        f'<h3 id="name{place}">{_text(record["study"])}{part}</h3>'
        f'<p class="call"><b>{text.decide(record).capitalize()}</b> probability {probability}, '
        f"{side} the threshold {threshold}</p>"
        f"{_bar(record['probability'], record['threshold'], rule)}{warnings}"
        f'<div class="views">{views}</div></article>\n'
    )


def _bar(probability: float, threshold: float, rule: str) -> str:
    """A bar from 0 to 1 with a mark at the threshold."""
    label = f"Probability {probability:.3f} of 1; threshold {threshold:.3f}: {rule}"
    # Words near an end of the bar would leave it.
    at = 100 * min(max(threshold, 0.12), 0.88)
    return (
        f'<div class="bar" role="img" aria-label="{escape(label)}">'
        '<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="3"/>'
        f'<rect class="value" width="{100 * probability:.2f}" height="3"/>'
        f'<rect class="mark" x="{100 * threshold - 0.25:.2f}" width="0.5" height="4"/></svg>'
        f'<span style="left: {at:.1f}%">threshold</span></div>'
    )


def _view(view: Record, load_picture: LoadPicture) -> str:
    picture = load_picture(view["image"])
    name = _text(os.path.basename(view["image"]))
    caption = f"{name}: {view['probability']:.3f}{text.marks(view['warnings'])}"
    if picture is None:
        caption += " (the file cannot be read any more)"
        return f"<figure><figcaption>{caption}</figcaption></figure>"
    alt = f"Radiograph {name}, probability {view['probability']:.3f}"
    images = _image(picture.jpeg, alt, picture)
    kind = "pair"
    if picture.overlay is not None:
        kind = "pair both"
        images += _image(picture.overlay, f"{alt}, with its activation map", picture)
    return f'<figure><div class="{kind}">{images}</div><figcaption>{caption}</figcaption></figure>'


def _image(jpeg: bytes, alt: str, picture: Picture) -> str:
    data = base64.b64encode(jpeg).decode("ascii")
    return (
        f'<img src="data:image/jpeg;base64,{data}" alt="{alt}" width="{picture.width_px}" '
        f'height="{picture.height_px}">'
    )


def _all_studies(records: Iterable[Record], shown: Sequence[int]) -> Iterator[str]:
    linked = set(shown)
    yield '<section aria-labelledby="all"><h2 id="all">All studies</h2>'
    names = ("Study", "Body part", "Decision", "Probability", "Threshold", "Views", "Warnings")

    def rows() -> Iterator[str]:
        for place, record in enumerate(records):
            numbers = ("", "")
            if record["decision"]:
                numbers = text.format_pair(record["probability"], record["threshold"])
            views = f"{len(record['views'])}"
            notes = ", ".join(text.SHORT[each["code"]] for each in record["warnings"])
            link = f"#study{place}" if place in linked else ""
            cells = [
                record["study"],
                record["body_part"] or "",
                text.decide(record),
                *numbers,
                views,
                notes,
            ]
            yield _row(cells, link, aligned=(1, 2, 6))

    yield from _table("In the order of their paths", names, rows(), aligned=(1, 2, 6))
    yield "</section>\n"


def _refused(records: Iterable[Record]) -> Iterator[str]:
    files = (each for record in records for each in record["refused"])
    rows = (_row([each["image"], each["reason"]], aligned=(1,)) for each in files)
    first = next(rows, None)
    if first is None:
        return
    yield '<section aria-labelledby="refused"><h2 id="refused">Files that were refused</h2>'
    yield from _table("File and reason", ("File", "Reason"), chain([first], rows), aligned=(1,))
    yield "</section>\n"


def _table(
    caption: str, names: Sequence[str], rows: Iterable[str], aligned: Sequence[int] = ()
) -> Iterator[str]:
    """A table that scrolls horizontally on a narrow screen; columns `aligned` are left-aligned."""
    head = "".join(
        f'<th scope="col"{_class(place in aligned)}>{escape(name)}</th>'
        for place, name in enumerate(names)
    )
    yield (
        f'<div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>"
    )
    yield from rows
    yield "</tbody></table></div>"


def _row(cells: Sequence[str], link: str = "", aligned: Sequence[int] = ()) -> str:
    first, *others = map(_text, cells)
    if link:
        first = f'<a href="{link}">{first}</a>'
    rest = "".join(
        f"<td{_class(place in aligned)}>{cell}</td>" for place, cell in enumerate(others, start=1)
    )
    return f'<tr><th scope="row">{first}</th>{rest}</tr>\n'


def _class(is_text: bool) -> str:
    return ' class="text"' if is_text else ""


def _text(words: str) -> str:
    """Escaped; a path may be broken after its folders."""
    return escape(text.printable(words)).replace("/", "/<wbr>")

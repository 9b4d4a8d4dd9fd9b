"""The figure of the baselines: what is told without a look at bone, beside the networks.

Like `ulna.figures.results`: numbers in, a matplotlib Figure out, nothing is computed or read.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ulna.checks.baselines import AUROC, CHANCE
from ulna.figures.names import BASELINES, NETWORK_COLOURS, NETWORKS, NOTES
from ulna.figures.style import (
    FAINT,
    HOUSE,
    INK,
    SOFT,
    add_note,
    add_title,
    new_figure,
    with_interval,
)

LINE_CHARACTERS = 145  # of a note, across the figure
TEST, TRAIN = -0.14, 0.2  # places in a row


@rc_context(HOUSE)
def dots_and_intervals(
    scores: pd.DataFrame, networks: Mapping[str, Mapping[str, Any]], verdict: str
) -> Figure:
    """Draw the AUROC of every baseline with its interval, over those of the networks.

    Args:
        scores: See `ulna.checks.baselines.judge`; NaN where undefined.
        networks: A network's study-level numbers: auroc, auroc_low, auroc_high; None or NaN where
            undefined.
        verdict: See `ulna.judging.conclusions.baselines`; it is set under the figure.

    Returns:
        A figure with one axes, a row a baseline, then a row a network.
    """
    rows = len(scores) + len(networks)
    lines = ["An alarm: both lines of a baseline lie above chance. Brightness alone raises none."]
    note = "\n".join(lines + textwrap.wrap(verdict, LINE_CHARACTERS))
    figure = new_figure(1.6 + 0.42 * rows + 0.16 * note.count("\n"))
    sizes = scores.iloc[0]
    add_title(
        figure,
        f"What is told without a look at bone (study level): n = {sizes['n']:,} test studies, "
        f"{sizes['abnormal']:,} abnormal",
    )
    axis = figure.subplots()
    axis.axvline(CHANCE, linestyle=":", color=SOFT)
    for place, row in enumerate(scores.to_dict("records")):
        colour = INK if row["flag"] else SOFT
        _draw(axis, place + TEST, [row[name] for name in AUROC], colour, "o", colour)
        across = [row[f"train_{name}"] for name in AUROC]
        _draw(axis, place + TRAIN, across, SOFT, "s", "white")
        words = NOTES.get(row["note"]) or _words(row)
        _write(axis, place, f"{words}  alarm" if row["flag"] else words, colour, row["flag"])
    for place, (arch, found) in enumerate(networks.items(), start=len(scores)):
        colour = NETWORK_COLOURS[arch]
        row = {name: np.nan if found[name] is None else found[name] for name in AUROC}
        _draw(axis, place, [row[name] for name in AUROC], colour, "D", colour)
        _write(axis, place, _words(row), colour, False)
    axis.axhline(len(scores) - 0.5, color=SOFT, linewidth=0.8)
    titles = [BASELINES[name] for name in scores["baseline"]]
    axis.set_yticks(range(rows), [*titles, *(NETWORKS[arch] for arch in networks)])
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    for place in range(1, len(scores)):
        axis.axhline(place - 0.5, color=FAINT, linewidth=0.8)
    axis.set(xlim=(-0.02, 1.02), ylim=(rows - 0.4, -0.6), xlabel="AUROC (lines: 95% intervals)")
    axis.legend(handles=_key(), loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    add_note(figure, note)
    return figure


def _draw(
    axis: Axes, place: float, values: list[float], colour: str, marker: str, fill: str
) -> None:
    value, low, high = values
    axis.plot([low, high], [place, place], color=colour, linewidth=1.2 if fill == "white" else 2)
    axis.plot(value, place, marker, markersize=5, color=colour, markerfacecolor=fill)


def _write(axis: Axes, place: float, words: str, colour: str, bold: bool) -> None:
    axis.annotate(
        words,
        (1, place),
        (6, 0),
        xycoords=axis.get_yaxis_transform(),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=colour,
        fontweight="bold" if bold else "normal",
    )


def _words(row: Mapping[str, Any]) -> str:
    return with_interval(*(row[name] for name in AUROC))


def _key() -> list[Line2D]:
    chance = Line2D([], [], color=SOFT, linestyle=":", label="chance")
    return [
        Line2D([], [], color=SOFT, marker=marker, markersize=5, markerfacecolor=fill, label=label)
        for marker, fill, label in (
            ("o", SOFT, "baseline, test"),
            ("s", "white", "baseline, train (cross-validated)"),
            ("D", SOFT, "network, test"),
        )
    ] + [chance]

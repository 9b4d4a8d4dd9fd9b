"""The figure of calibration: are probabilities as often right as they say.

Like `ulna.figures.results`: numbers in, a matplotlib Figure out, nothing is computed or read.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ulna.figures.names import NETWORK_COLOURS, NETWORKS
from ulna.figures.style import HOUSE, SOFT, add_heading, add_note, add_title, new_figure, number
from ulna.judging import conclusions

NOTE_CHARACTERS = 150  # of a line under the figure, at 9 inches and 8 points


@rc_context(HOUSE)
def reliability_diagrams(
    curves: Mapping[str, pd.DataFrame], calibration: Mapping[str, Mapping[str, Any]]
) -> Figure:
    """Draw the share of abnormal studies over the probability, before and after temperature.

    Args:
        curves: A table a network, see `ulna.judging.reliability.reliability_curves`.
        calibration: A network's numbers, see `ulna.judging.calibration.summarize`; None or NaN
            where undefined.

    Returns:
        A figure with two axes a network: the diagram with 95% intervals, and under it the number of
        studies of each bin. The verdicts stand under the figure.
    """
    figure = new_figure(6.9)
    first = next(iter(calibration.values()))  # all networks judge the same test set
    add_title(
        figure,
        f"Reliability: n = {first['n']:,} test studies, {first['abnormal']:,} abnormal",
    )
    axes = figure.subplots(
        2, len(curves), squeeze=False, sharex=True, sharey="row", height_ratios=[4, 1]
    )
    for column, (arch, curve) in enumerate(curves.items()):
        _draw_network(axes[0, column], axes[1, column], arch, curve, calibration[arch])
    axes[0, 0].set(
        ylabel="share of abnormal studies (95% interval)", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02)
    )
    axes[1, 0].set(ylabel="studies in the bin", ylim=(0, None))
    axes[1, 0].yaxis.set_major_locator(MaxNLocator(3, integer=True))
    figure.align_ylabels(axes[:, 0])
    figure.legend(
        handles=[
            Line2D([], [], color=SOFT, linestyle=":", label="calibrated"),
            Line2D(
                [], [], color=SOFT, linestyle="--", marker="o", markerfacecolor="white",
                label="before",
            ),
            Line2D([], [], color=SOFT, marker="o", linewidth=2, label="after scaling"),
        ],
        loc="outside upper right",
        ncols=3,
    )  # fmt: skip
    lines = [conclusions.calibration(calibration[arch], arch) for arch in curves]
    lines.append("Temperatures were fitted on split val; intervals of shares are Wilson's.")
    add_note(figure, "\n".join(textwrap.fill(line, NOTE_CHARACTERS) for line in lines))
    return figure


def _draw_network(
    diagram: Axes, counts: Axes, arch: str, curve: pd.DataFrame, numbers: Mapping[str, Any]
) -> None:
    colour = NETWORK_COLOURS[arch]
    diagram.plot([0, 1], [0, 1], ":", color=SOFT)
    before, after = (curve[curve["scaling"] == name] for name in ("before", "after"))
    diagram.plot(
        before["probability"],
        before["share_abnormal"],
        "o--",
        color=colour,
        markerfacecolor="white",
        linewidth=1.2,
        label="before",
    )
    # Without a temperature there is only the curve before it.
    judged = before if after.empty else after
    diagram.vlines(judged["probability"], judged["low"], judged["high"], color=colour, alpha=0.5)
    diagram.plot(
        after["probability"],
        after["share_abnormal"],
        "o-",
        color=colour,
        linewidth=2,
        label="after",
    )
    counts.vlines(judged["probability"], 0, judged["n"], color=colour, linewidth=4)
    counts.set_xlabel("mean probability of abnormal in the bin")
    smallest, largest = judged["n"].min(), judged["n"].max()
    each = f"{smallest:,}" if smallest == largest else f"{smallest:,} to {largest:,}"
    ece = (number(numbers[name]["ece"]) for name in ("before", "after"))
    line = (
        f"T {number(numbers['temperature'], 2)}, ECE {' → '.join(ece)}, "
        f"{len(judged)} bin{'s' * (len(judged) > 1)} of {each} studies"
    )
    add_heading(diagram, NETWORKS[arch], line, colour)

"""Figure of the errors: the most confident ones of each network, for review."""

from collections.abc import Callable, Mapping

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from ulna.figures import style
from ulna.figures.style import LABELS, SOFT, Pixels, Tables, add_note, colour, number, title

COLUMNS = 6


@rc_context(style.RC_PARAMS)
def review_sheet(studies: Tables, pixels: Mapping[str, Pixels]) -> Figure:
    """Show the first view of each study, one axes per study in the colour of its network.

    Args:
        studies: Network -> body_part, split, label, probability of the studies in order.
        pixels: Network -> their first views, (studies, size_px, size_px) uint8.
    """
    rows = {arch: max(1, -(-len(table) // COLUMNS)) for arch, table in studies.items()}
    figure = style.new_figure(0.8 + 2.0 * sum(rows.values()))
    style.add_title(figure, "Most confident errors (val and test)")
    grid = figure.add_gridspec(sum(rows.values()), COLUMNS)
    first = 0
    for arch, table in studies.items():
        for order, study in enumerate(table.itertuples()):
            axis = figure.add_subplot(grid[first + order // COLUMNS, order % COLUMNS])
            style.show_image(axis, pixels[arch][order])
            caption = (
                f"{study.body_part}, {study.split}\nlabelled {LABELS[study.label]}\n"
                f"{title(arch)}: {number(study.probability, 2)}"
            )
            axis.set_title(caption, fontsize=7.5, fontweight="normal", color=colour(arch))
            axis.spines[:].set(visible=True, color=colour(arch))
        if table.empty:
            axis = figure.add_subplot(grid[first, :])
            axis.axis("off")
            axis.text(0, 0.5, f"{title(arch)}: no error", color=SOFT)
        first += rows[arch]
    add_note(
        figure,
        "Numbers: probability of abnormal, mean over the views; shown: the first view. "
        "Study ids: disagreements.csv of each network.",
    )
    return figure


def draw(studies: Tables, pixels_of: Callable[[pd.DataFrame], Pixels]) -> dict[str, Figure]:
    """Draw the figure of this module from the first views of each network's disagreements."""
    pixels = {arch: pixels_of(table) for arch, table in studies.items()}
    return {"disagreements": review_sheet(studies, pixels)}

"""The sheet for review: studies whose label the networks contradict most surely."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from ulna.data import Cache
from ulna.data.samples import first_views
from ulna.evaluation.conclusions import number
from ulna.figures.style import (
    LABELS,
    RC_PARAMS,
    SOFT,
    Pixels,
    add_note,
    add_title,
    colour,
    new_figure,
    show_image,
    title,
)

COLUMNS = 6


@rc_context(RC_PARAMS)
def review_sheet(chosen: Mapping[str, pd.DataFrame], pixels: Mapping[str, Pixels]) -> Figure:
    """Show the first view of each study in a list of disagreements.

    Args:
        chosen: For each network the studies in order: study, body_part, split, label, probability.
        pixels: For each network their first views, (studies, size_px, size_px) uint8.

    Returns:
        A figure with one axes a study, in the colour of its network.
    """
    rows = {arch: max(1, -(-len(table) // COLUMNS)) for arch, table in chosen.items()}
    figure = new_figure(0.8 + 2.0 * sum(rows.values()))
    add_title(figure, "Labels that the networks contradict most confidently (val and test)")
    grid = figure.add_gridspec(sum(rows.values()), COLUMNS)
    first = 0
    for arch, table in chosen.items():
        for order, study in enumerate(table.itertuples()):
            axis = figure.add_subplot(grid[first + order // COLUMNS, order % COLUMNS])
            show_image(axis, pixels[arch][order])
            words = (
                f"{study.body_part}, {study.split}\nlabelled {LABELS[study.label]}\n"
                f"{title(arch)}: {number(study.probability, 2)}"
            )
            axis.set_title(words, fontsize=7.5, fontweight="normal", color=colour(arch))
            axis.spines[:].set(visible=True, color=colour(arch))
        if table.empty:
            axis = figure.add_subplot(grid[first, :])
            axis.axis("off")
            axis.text(0, 0.5, f"{title(arch)}: no error", color=SOFT)
        first += rows[arch]
    add_note(
        figure,
        "Numbers: probability of abnormal, mean over the views; shown: the first view. "
        "The list with ids: the table disagreements.csv of each network.",
    )
    return figure


def draw(
    networks: Sequence[str], rows: pd.DataFrame, cache: Cache, tables: Mapping[str, pd.DataFrame]
) -> dict[str, Figure]:
    """Draw the figure of this module, of the first studies of each network's disagreements."""
    chosen = {
        arch: first_views(rows, tables[f"{arch}/disagreements"].head(COLUMNS)) for arch in networks
    }
    pixels = {arch: cache.gather_samples(table) for arch, table in chosen.items()}
    return {"disagreements": review_sheet(chosen, pixels)}

"""Studies to look at again: those whose label the networks contradict most surely."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from ulna.figures.names import NETWORK_COLOURS, NETWORKS
from ulna.figures.style import HOUSE, LABELS, SOFT, add_note, add_title, new_figure, number

COLUMNS = 6


@rc_context(HOUSE)
def review_sheet(
    chosen: Mapping[str, pd.DataFrame], pixels: Mapping[str, npt.NDArray[np.uint8]]
) -> Figure:
    """Show the first view of each study in a list of disagreements.

    Args:
        chosen: For each network the studies in order: study, body_part, split, label, probability.
        pixels: For each network their first views, (studies, size_px, size_px) uint8.

    Returns:
        A figure with one axes a study, in the colour of its network.
    """
    rows = {arch: max(1, -(-len(table) // COLUMNS)) for arch, table in chosen.items()}
    figure = new_figure(0.8 + 2.0 * sum(rows.values()))
    add_title(figure, "Labels that the networks contradict most surely (val and test)")
    grid = figure.add_gridspec(sum(rows.values()), COLUMNS)
    first = 0
    for arch, table in chosen.items():
        for order, (study, picture) in enumerate(
            zip(table.itertuples(), pixels[arch], strict=True)
        ):
            axis = figure.add_subplot(grid[first + order // COLUMNS, order % COLUMNS])
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
            axis.set_title(
                f"{study.body_part}, {study.split}\nlabelled {LABELS[study.label]}\n"
                f"{NETWORKS[arch]}: {number(study.probability, 2)}",
                fontsize=7.5,
                fontweight="normal",
                color=NETWORK_COLOURS[arch],
            )
            axis.grid(visible=False)
            for spine in axis.spines.values():
                spine.set(visible=True, color=NETWORK_COLOURS[arch])
        if table.empty:
            axis = figure.add_subplot(grid[first, :])
            axis.axis("off")
            axis.text(0, 0.5, f"{NETWORKS[arch]}: no wrong call", color=SOFT)
        first += rows[arch]
    add_note(
        figure,
        "Numbers: probability of abnormal, mean over the views; shown: the first view. "
        "The list with ids: plots/tables/<network>/disagreements.csv.",
    )
    return figure

"""The course of training by epoch: the gap between train and val, the epoch kept, what ended it."""

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from ulna.errors import InputError

HistoryCode = Literal["still_improving", "past_best"]
End = Literal["early_stopping", "limit"]
COLUMNS = ("network", "epoch", "phase", "loss_gap", "auroc_gap", "best")


def gaps_by_epoch(network: str, history: pd.DataFrame) -> pd.DataFrame:
    """Take the gap between train and val in each epoch.

    Train is the mean over an epoch while the weights change, under augmentation and dropout, so the
    gap starts below 0; one that widens is overfitting.

    Args:
        network: Its name.
        history: One row an epoch: epoch, phase, loss, auroc, val_loss, val_auroc, best.

    Returns:
        One row an epoch, columns `COLUMNS`: loss_gap is val minus train, auroc_gap train minus
        val, of images.
    """
    return history.assign(
        network=network,
        loss_gap=history["val_loss"] - history["loss"],
        auroc_gap=history["auroc"] - history["val_auroc"],
    )[list(COLUMNS)]


def describe_course(
    network: str, history: pd.DataFrame, limits: Mapping[str, int], early_stopping_epochs: int
) -> dict[str, Any]:
    """Find which epoch was kept and what ended the training.

    Args:
        network: Its name.
        history: See `gaps_by_epoch`.
        limits: Phase -> the most epochs it may have, in order.
        early_stopping_epochs: A phase ends after so many epochs in a row without a lower loss on
            val than before in the phase.

    Returns:
        epochs, kept (its number, from 1), val_loss_kept, later (epochs after it), phases (name ->
        first, last and ended: `End`), early_stopping_epochs; loss_gap and auroc_gap of the kept
        and of the last epoch; conclusion: still_improving if the last epoch is the best, at the
        limit of its phase.

    Raises:
        InputError: The table is not of these parameters: no epoch or several are kept, or it has
            other phases or longer ones.
    """
    rerun = f"run `dvc repro train@{network}`"
    best = history.loc[history["best"] == 1]
    if len(best) != 1:
        raise InputError(
            f"the history of {network} marks {len(best)} epochs as kept, expected 1: {rerun}"
        )
    phases: dict[str, dict[str, Any]] = {}
    for phase, table in history.groupby("phase", sort=False):
        limit = limits.get(str(phase), 0)
        if len(table) > limit:
            raise InputError(
                f"the history of {network} has {len(table)} epochs of phase {phase}, and "
                f"params.yaml allows {limit}: {rerun}"
            )
        phases[str(phase)] = {
            "first": int(table["epoch"].min()),
            "last": int(table["epoch"].max()),
            "ended": "early_stopping" if len(table) < limit else "limit",
        }
    gaps = gaps_by_epoch(network, history)
    kept = int(best["epoch"].iloc[0])
    epochs = int(history["epoch"].max())
    of_kept, of_last = gaps[gaps["best"] == 1].iloc[0], gaps.iloc[-1]
    found = {
        "epochs": epochs,
        "kept": kept,
        "val_loss_kept": float(best["val_loss"].iloc[0]),
        "later": epochs - kept,
        "phases": phases,
        "early_stopping_epochs": early_stopping_epochs,
    }
    for name in ("loss_gap", "auroc_gap"):
        found |= {f"{name}_kept": float(of_kept[name]), f"{name}_last": float(of_last[name])}
    last: End = phases[str(history["phase"].iloc[-1])]["ended"]
    improving = kept == epochs and last == "limit"
    conclusion: HistoryCode = "still_improving" if improving else "past_best"
    return found | {"conclusion": conclusion}

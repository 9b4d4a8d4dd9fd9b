"""Train on some body parts, test on each: the networks and their training images.

`ulna.evaluation.cross_part` evaluates them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import pandas as pd

from ulna.core import InputError, first_ten

WITHOUT = "without "
AND = "+"


@dataclass(frozen=True)
class Network:
    """One network of the comparison."""

    name: str  # WRIST, FOREARM+HUMERUS or "without WRIST"; also that of its prediction table
    parts: tuple[str, ...]  # that it is trained on, sorted


def plan(train_on: Literal["all"] | Sequence[str], present: Sequence[str]) -> list[Network]:
    """List the networks to train; a part that is not present is an InputError.

    `train_on` names body parts, for one network trained on these together; or all, for one network
    on each part, and from three parts on, last, one without each part (of two, the network without
    the first is that on the second).

    Example:
        >>> [network.name for network in plan("all", ["HAND", "ELBOW", "WRIST"])]
        ['ELBOW', 'HAND', 'WRIST', 'without ELBOW', 'without HAND', 'without WRIST']
        >>> plan(["HUMERUS", "FOREARM"], ["FOREARM", "HUMERUS", "WRIST"])
        [Network(name='FOREARM+HUMERUS', parts=('FOREARM', 'HUMERUS'))]
    """
    if train_on == "all":
        parts = sorted(set(present))
        names = parts + [f"{WITHOUT}{part}" for part in parts if len(parts) > 2]
    else:
        names = [AND.join(sorted(set(train_on)))]
    return [network_named(name, present) for name in names]


def available(
    train_on: Literal["all"] | Sequence[str], body_parts: pd.Series
) -> tuple[Literal["all"] | Sequence[str], list[str]]:
    """Limit the named body parts to those of (images,) `body_parts`.

    Returns:
        The named parts that are present, or the most frequent part where none is; and the named
        parts that are missing.

    Example:
        >>> available(["WRIST"], pd.Series(["HAND", "HAND", "ELBOW"]))
        (['HAND'], ['WRIST'])
    """
    if train_on == "all":
        return train_on, []
    kept = sorted(set(train_on) & set(body_parts)) or [min(body_parts.mode())]
    return kept, sorted(set(train_on) - set(body_parts))


def network_named(name: str, present: Sequence[str]) -> Network:
    """Parse the name of a network; a part that is not present is an InputError.

    Example:
        >>> network_named("without HAND", ["ELBOW", "HAND", "WRIST"]).parts
        ('ELBOW', 'WRIST')
    """
    named = name.removeprefix(WITHOUT).split(AND)
    unknown = sorted(set(named) - set(present))
    if unknown:
        raise InputError(
            f"a network is to be trained on {name!r}, but the prepared data have only "
            f"{', '.join(sorted(set(present)))}: correct transfer.train_on in params.yaml, or run "
            "`dvc repro transfer`"
        )
    left_out = name.startswith(WITHOUT)
    return Network(name, tuple(sorted(p for p in set(present) if (p in named) != left_out)))


def select_training_images(
    samples: pd.DataFrame, network: Network
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Select the training and validation images of a network: those of its body parts, in order.

    Raises:
        InputError: One of the two has not both labels, or a patient is in two splits, over all body
            parts: the network would be tested on a patient that it was trained on.
    """
    patients = {split: set(table["patient"]) for split, table in samples.groupby("split")}
    for (first, some), (second, others) in combinations(patients.items(), 2):
        if shared := sorted(some & others):
            raise InputError(
                f"patients in both {first} and {second}: {first_ten(shared, ', ')}; run "
                "`dvc repro prepare`"
            )
    of_parts = samples[samples["body_part"].isin(network.parts)]
    training, validation = (
        of_parts[of_parts["split"] == split].reset_index(drop=True) for split in ("train", "val")
    )
    for split, table in (("train", training), ("val", validation)):
        if table["label"].nunique() < 2:
            raise InputError(
                f"the {split} split holds {len(table)} images of {', '.join(network.parts)} with "
                f"{table['label'].nunique()} of the two labels: choose other body parts "
                "(transfer.train_on) or another split.val_fraction"
            )
    return training, validation

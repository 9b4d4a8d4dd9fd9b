"""Patients -> train, val and test, and nested subsets of train for the learning curve.

The official `valid` is the test set; a validation set is cut from the official `train`. A patient
is in one split over all body parts: in MURA's train 1,467 patients have images of two or more.
"""

import hashlib
from collections.abc import Mapping, Sequence

import pandas as pd

from ulna.core import InputError
from ulna.data import SPLIT_COLUMNS, SPLITS

SIZES = "sizes.csv"
SIZE_COLUMNS = ("fraction", "patients", "studies", "images")


def assign_splits(images: pd.DataFrame, val_fraction: float, seed: int) -> pd.DataFrame:
    """Give every patient a split.

    Train patients are those with an abnormal study and those without. Each group is sorted by
    profile (the body parts and labels of a patient's studies), in random order within a profile,
    and every k-th patient from a random start goes to val: systematic sampling of a stratified
    list. So val has `val_fraction` of either group to the nearest patient, and at least one patient
    where a group has two.

    The random order is SHA-256 of seed and patient, so the result depends on the content of the
    arguments alone: not on the order of rows, nor on the version of a random number generator.

    Args:
        images: All body parts: official_split, body_part, patient, study, label.
        val_fraction: Share of the train patients that goes to val, in (0, 1).
        seed: Of the random order.

    Returns:
        One row per patient, sorted by patient: patient, split (train, val or test).

    Raises:
        InputError: There are too few train patients to cut val from.
    """
    # scikit-learn's StratifiedGroupKFold is closer to equal shares, but for MURA (11,184 train
    # patients, 13,457 studies) it takes 5.3 s after 1.3 s of import, and knows only fractions 1/n.
    # This takes 0.1 s. The share of val in the normal or abnormal studies of a body part was off by
    # 0.9 percentage points where it was worst (mean of 30 seeds, 1.6 at most); StratifiedGroupKFold
    # reaches 0.2, sampling patients without strata 3.0.
    studies = images.drop_duplicates("study")
    profile_of = profiles(studies[studies["official_split"] == "train"])
    val: set[str] = set()
    for name, label in (("normal", 0), ("abnormal", 1)):
        group = [
            p for p, profile in profile_of.items() if max(sign for _, sign in profile) == label
        ]
        group.sort(key=lambda patient: (profile_of[patient], digest(seed, patient), patient))
        val |= _every_kth(group, val_fraction, digest(seed, name))
    if not val:
        raise InputError(
            f"no val can be cut from the {len(profile_of)} patients of the official train: "
            "add patients, so that two have only normal studies or two have abnormal ones"
        )
    rows = [(patient, "val" if patient in val else "train") for patient in profile_of]
    test = studies.loc[studies["official_split"] == "valid", "patient"].unique()
    rows += [(patient, "test") for patient in test]
    return pd.DataFrame(sorted(rows), columns=SPLIT_COLUMNS)


def check_labels(images: pd.DataFrame) -> None:
    """Stop (InputError) unless train and val have images of both labels, and test has an image."""
    for split in SPLITS:
        labels = set(images.loc[images["split"] == split, "label"])
        if not labels or (split != "test" and len(labels) < 2):
            lacking = "image" if not labels else "normal image" if 1 in labels else "abnormal image"
            raise InputError(
                f"{split} has no {lacking}: take more body parts (data.body_parts) or patients, "
                "or another split.val_fraction or seed"
            )


def describe(images: pd.DataFrame) -> str:
    """Count each split: "train: 9,506 patients, 11,434 studies (38% abnormal), 31,290 images"."""
    lines = []
    for split in SPLITS:
        rows = images[images["split"] == split]
        studies = rows.drop_duplicates("study")
        lines.append(
            f"{split}: {rows['patient'].nunique():,} patients, {len(studies):,} studies "
            f"({studies['label'].mean():.0%} abnormal), {len(rows):,} images"
        )
    return "\n".join(lines)


def profiles(studies: pd.DataFrame) -> dict[str, tuple[tuple[str, int], ...]]:
    """Patient -> the body parts and labels of its rows, each pair once, sorted: its stratum."""
    strata: dict[str, set[tuple[str, int]]] = {}
    for patient, part, label in zip(
        studies["patient"], studies["body_part"], studies["label"], strict=True
    ):
        strata.setdefault(patient, set()).add((part, int(label)))
    return {patient: tuple(sorted(pairs)) for patient, pairs in strata.items()}


def nested_subsets(
    training: pd.DataFrame, fractions: Sequence[float], seed: int
) -> dict[float, pd.DataFrame]:
    """Choose patients for each fraction, those of a smaller one among those of every larger one.

    Nested, so that a step along the curve adds patients and exchanges none. All of a patient's
    images (patient, body_part, label) are in, or none.

    Returns:
        Fraction -> its rows of `training`, in order; the smallest first.

    Raises:
        InputError: A fraction lacks a label, or has as many patients as the next smaller one, or
            all of them; it is named.
    """
    order = order_patients(training, seed)
    subsets: dict[float, pd.DataFrame] = {}
    smaller = 0
    for fraction in sorted(fractions):
        count = int(fraction * len(order) + 0.5)
        rows = training[training["patient"].isin(order[:count])].reset_index(drop=True)
        labels = set(rows["label"])
        fault = None
        if count == len(order):
            fault = "all of them: leave it out, the network of all is there already"
        elif len(labels) < 2:
            kind = "no" if not labels else "no normal" if 1 in labels else "no abnormal"
            fault = f"{count}, with {kind} image: take a larger fraction"
        elif count == smaller:
            fault = f"{count}, as many as of the next smaller fraction: leave one out"
        if fault:
            raise InputError(
                f"learning_curve.fractions: {fraction} of {len(order)} train patients are {fault}"
            )
        subsets[fraction], smaller = rows, count
    return subsets


def order_patients(training: pd.DataFrame, seed: int) -> list[str]:
    """Order patients so that the first of them, for any n, represent all.

    Patients with the same body parts and labels are a stratum; each is spread evenly over the
    order. A beginning of the order holds its share of every stratum, to a patient. The random
    order within a stratum is SHA-256 of seed and patient, as in `assign_splits`.
    """
    strata: dict[str, list[str]] = {}
    for patient, profile in profiles(training).items():
        strata.setdefault(repr(list(profile)), []).append(patient)
    positions: dict[str, float] = {}
    for stratum, patients in strata.items():
        start = _uniform(seed, stratum)
        ordered = sorted(patients, key=lambda patient: (_uniform(seed, patient), patient))
        for number, patient in enumerate(ordered):
            positions[patient] = (number + start) / len(patients)
    return sorted(positions, key=lambda patient: (positions[patient], patient))


def count_sizes(subsets: Mapping[float, pd.DataFrame]) -> pd.DataFrame:
    """Count the subsets of `nested_subsets`: one row per fraction, columns `SIZE_COLUMNS`."""
    rows = [
        (fraction, table["patient"].nunique(), table["study"].nunique(), len(table))
        for fraction, table in subsets.items()
    ]
    return pd.DataFrame(rows, columns=list(SIZE_COLUMNS))


def _every_kth(patients: Sequence[str], fraction: float, start: bytes) -> set[str]:
    total = len(patients)
    taken = int(total * fraction + 0.5)
    # Both sides get a patient where there are two.
    taken = max(min(1, total - 1), min(taken, total - 1))
    # Steps and start in units of 1 / whole of a step: integers, so the last stays below total.
    offset, whole = int.from_bytes(start, "big"), 256 ** len(start)
    return {patients[(offset + step * whole) * total // (taken * whole)] for step in range(taken)}


def digest(seed: int, name: str) -> bytes:
    """Hash the seed and a name to 32 bytes, as if random."""
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


def _uniform(seed: int, name: str) -> float:
    """A number in [0, 1), as if random."""
    return int.from_bytes(digest(seed, name)[:6], "big") / 2**48

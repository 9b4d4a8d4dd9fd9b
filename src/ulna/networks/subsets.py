"""Which patients a network learns from when it is to learn from fewer, for the size curve.

Training has to be repeated when this module changes: how the networks are judged is written in
`ulna.judging.size_curve`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ulna.data.splits import digest, profiles
from ulna.errors import InputError
from ulna.files import read_table

SIZES = "sizes.csv"
SIZE_COLUMNS = ("fraction", "patients", "studies", "images")


def nested_subsets(
    training: pd.DataFrame, fractions: Sequence[float], seed: int
) -> dict[float, pd.DataFrame]:
    """Choose patients for each fraction, those of a smaller one among those of every larger one.

    Nested, so that a step along the curve adds patients and exchanges none. Patients are whole:
    all of a patient's images are in, or none.

    Args:
        training: All images that may be learnt from: patient, body_part, label.
        fractions: Of the patients, each in (0, 1), in any order.
        seed: Any integer; the same patients and seed give the same subsets.

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
    """Order patients so that the first of them, however many, stand for all.

    Patients with the same body parts and labels are a stratum; each is spread evenly over the
    order. A beginning of the order holds its share of every stratum, to a patient.

    The random order within a stratum is SHA-256 of seed and patient, as in `ulna.data.splits`: it
    depends on the content of the arguments alone.

    Args:
        training: patient, body_part, label.
        seed: Any integer.

    Returns:
        Every patient once.
    """
    strata: dict[str, list[str]] = {}
    for patient, profile in profiles(training).items():
        strata.setdefault(repr(list(profile)), []).append(patient)
    places: dict[str, float] = {}
    for stratum, patients in strata.items():
        start = _draw(seed, stratum)
        ordered = sorted(patients, key=lambda patient: (_draw(seed, patient), patient))
        for number, patient in enumerate(ordered):
            places[patient] = (number + start) / len(patients)
    return sorted(places, key=lambda patient: (places[patient], patient))


def count_sizes(subsets: Mapping[float, pd.DataFrame]) -> pd.DataFrame:
    """Count what each network learnt from.

    Args:
        subsets: See `nested_subsets`.

    Returns:
        One row a fraction, columns `SIZE_COLUMNS`: numbers of what is in train.
    """
    rows = [
        (fraction, table["patient"].nunique(), table["study"].nunique(), len(table))
        for fraction, table in subsets.items()
    ]
    return pd.DataFrame(rows, columns=list(SIZE_COLUMNS))


def read_sizes(path: Path) -> pd.DataFrame:
    """Read what each network learnt from.

    Args:
        path: A CSV file with the columns `SIZE_COLUMNS`.

    Returns:
        See `count_sizes`; no rows where no fraction was asked for.

    Raises:
        InputError: The file is missing or has other columns.
    """
    sizes = read_table(path)
    if list(sizes.columns) != list(SIZE_COLUMNS):
        raise InputError(
            f"{path} has the columns {', '.join(sizes.columns)}, expected "
            f"{', '.join(SIZE_COLUMNS)}: run `dvc repro learning_curve`"
        )
    return sizes


def _draw(seed: int, name: str) -> float:
    """A number in [0, 1) that looks random."""
    return int.from_bytes(digest(seed, name)[:6], "big") / 2**48

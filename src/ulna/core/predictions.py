"""The prediction table: the one contract between a network and its evaluation.

One row per image, columns `COLUMNS`. Everything after `predict` reads only this table, so it also
evaluates an ensemble, a radiologist or another framework that writes the same CSV file.
"""

import csv
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from ulna.core import InputError
from ulna.core.aggregation import Aggregation, aggregate
from ulna.core.io import write_csv

TEXT_COLUMNS = ("image", "patient", "study", "body_part", "split")
VIEW_COLUMNS = ("logit", "probability")
COLUMNS = (*TEXT_COLUMNS, "label", *VIEW_COLUMNS)
SPLITS = ("val", "test")
# Equal in the tables of all networks.
SHARED_COLUMNS = ("patient", "study", "body_part", "split", "label")

# A float32 sigmoid is off by up to 1e-7; a probability that was clipped, smoothed or taken for the
# other class is off by far more.
TOLERANCE = 1e-6


def read_predictions(path: Path, splits: tuple[str, ...] = SPLITS) -> pd.DataFrame:
    """Read and check a prediction table.

    The columns of the CSV file may be in any order; `splits` as of `check_predictions`.

    Returns:
        One row per image, in the order of the file, columns `COLUMNS`: text, except label (int64,
        1 = abnormal), logit (float64, finite) and probability (float64, 0 to 1).

    Raises:
        InputError: The file is missing or breaks a rule; file, line, rule and fix are named.
    """
    lines = _read_lines(path)
    if not lines:
        raise InputError(f"{path} is empty: write it again with the predict stage")
    header, rows = lines[0], lines[1:]
    _check_columns(header, str(path))
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InputError(
                f"{path} line {line}: expected {len(header)} fields, received {len(row)}: "
                "write the table again with the predict stage"
            )
    table = pd.DataFrame(rows, columns=header, dtype=str)[list(COLUMNS)]
    kinds: dict[str, type[float]] = {"label": int, "logit": float, "probability": float}
    for column, kind in kinds.items():
        table[column] = _numbers(table[column].tolist(), kind, column, str(path))
    check_predictions(table, str(path), splits)
    return table


def write_predictions(
    path: Path, table: pd.DataFrame, splits: tuple[str, ...] = SPLITS, exact: bool = True
) -> None:
    """Check a prediction table and write it so that every float reads back to the same bits.

    One that is computed from others is not exact: it is rounded as metrics are, so that it has the
    same bytes on every processor.

    Raises:
        InputError: The table breaks a rule of `check_predictions`; nothing is written.
    """
    check_predictions(table, str(path), splits)
    types = {"label": "int64", "logit": "float64", "probability": "float64"}
    write_csv(path, table[list(COLUMNS)].astype(types), exact)


def check_predictions(table: pd.DataFrame, source: str, splits: tuple[str, ...] = SPLITS) -> None:
    """Check a prediction table: columns, values, and rows that contradict each other.

    Of the last of the splits, which it may hold, there must be an image.

    Raises:
        InputError: A rule is broken; the first row that breaks it is named, row 0 as line 2.
    """
    _check_columns(list(table.columns), source)
    present = table["split"].unique().tolist()
    if splits[-1] not in present:
        raise InputError(
            f"{source} holds no row of split {splits[-1]}, which is evaluated, only of {present}: "
            f"predict the {splits[-1]} images too"
        )
    for broken, message in _rules(table, splits):
        if broken.any():
            position = int(np.argmax(broken))
            values = {str(column): value for column, value in table.iloc[position].items()}
            raise InputError(f"{source} line {position + 2}: {message.format(**values)}")


def by_study(table: pd.DataFrame, aggregation: Aggregation = "mean_probability") -> pd.DataFrame:
    """Aggregate the probabilities of each study's views, see `ulna.core.aggregation.aggregate`.

    Every study is computed by itself: the other studies of the table cannot change a bit of it.

    Returns:
        One row per study, sorted by study: study, patient, body_part, split, label, views (int64,
        counts images), probability.

    Example:
        >>> table = pd.DataFrame({"image": ["a", "b"], "patient": "p", "study": "s",
        ...                       "body_part": "HAND", "split": "test", "label": 1,
        ...                       "logit": [0.0, 0.0], "probability": [0.5, 0.5]})
        >>> by_study(table, "noisy_or")["probability"].tolist()
        [0.75]
    """
    groups = table.groupby("study", sort=True)
    columns = {name: (name, "first") for name in ("patient", "body_part", "split", "label")}
    studies = groups.agg(**columns, views=("image", "size")).reset_index()
    # Two lists, a study after the other: as a function given to groupby this took 4 times as long.
    order = np.argsort(groups.ngroup(), kind="stable")
    logits, probabilities = (table[name].to_numpy()[order].tolist() for name in VIEW_COLUMNS)
    ends = [0, *np.cumsum(studies["views"]).tolist()]
    pooled = [aggregate(logits[i:j], probabilities[i:j], aggregation) for i, j in pairwise(ends)]
    return studies.assign(probability=pooled)


def align(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Put the prediction tables of several networks into one order of images, that of the first.

    Raises:
        InputError: Two tables differ in an image or in `SHARED_COLUMNS`; the first difference is
            named.
    """
    first, *others = tables
    ordered = {name: _in_order_of(tables[first], tables[name], (first, name)) for name in others}
    return {first: tables[first]} | ordered


def _in_order_of(first: pd.DataFrame, other: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    fix = "run `dvc repro`, so that all networks are evaluated on the same images"
    for one, two, (has, lacks) in ((first, other, names), (other, first, names[::-1])):
        absent = one.loc[~one["image"].isin(two["image"]), "image"]
        if len(absent):
            raise InputError(
                f"the predictions of {lacks} lack image {absent.iloc[0]!r}, which those of {has} "
                f"have ({len(absent)} in all): {fix}"
            )
    ordered = other.set_index("image").loc[first["image"]].reset_index()
    for column in SHARED_COLUMNS:
        unequal = np.flatnonzero(first[column].to_numpy() != ordered[column].to_numpy())
        if len(unequal):
            row = unequal[0]
            raise InputError(
                f"image {first['image'].iloc[row]!r} has {column} {first[column].iloc[row]} in the "
                f"predictions of {names[0]} and {ordered[column].iloc[row]} in those of "
                f"{names[1]}: {fix}"
            )
    return ordered


def _read_lines(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file, strict=True))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run `dvc repro`") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not CSV in UTF-8 ({error}): write it again with the predict stage"
        ) from None


def _check_columns(columns: list[str], source: str) -> None:
    missing = [column for column in COLUMNS if column not in columns]
    extra = [column for column in columns if column not in COLUMNS]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    for names, fault, fix in (
        (missing, "lacks", "add"),
        (extra, "has the unknown", "remove"),
        (twice, "repeats the", "keep one of each of"),
    ):
        if names:
            raise InputError(
                f"{source} line 1: the header {fault} columns {', '.join(names)}: {fix} them, "
                f"a prediction table has {', '.join(COLUMNS)}"
            )


def _numbers(texts: list[str], kind: type[float], column: str, source: str) -> list[float]:
    # float() gives the bits that were written; pandas' reader does so only from 3.1 on.
    expected = "0 or 1" if kind is int else "a number"
    numbers = []
    for line, text in enumerate(texts, start=2):
        try:
            numbers.append(kind(text))
        except ValueError:
            raise InputError(
                f"{source} line {line}: {column} is {text!r}, expected {expected}: correct it"
            ) from None
    return numbers


def _rules(table: pd.DataFrame, splits: tuple[str, ...]) -> Iterator[tuple[pd.Series, str]]:
    """Yield which rows break a rule, and the message for it; a rule may rely on those before."""
    for column in TEXT_COLUMNS:
        yield table[column].isna() | (table[column] == ""), f"{column} is empty: fill it in"
    wrong_split = f"split is {{split!r}}, expected {' or '.join(splits)}: predict no other split"
    yield ~table["split"].isin(splits), wrong_split
    wrong_label = "label is {label}, expected 0 (normal) or 1 (abnormal): correct it"
    yield ~table["label"].isin((0, 1)), wrong_label
    yield (
        ~np.isfinite(table["logit"]),
        "logit is {logit}, expected a finite number: training may have diverged, "
        "try a lower learning rate",
    )
    yield (
        ~table["probability"].between(0, 1),
        "probability is {probability}, expected 0 to 1: write 1 / (1 + exp(-logit))",
    )
    yield (
        (table["probability"] - expit(table["logit"])).abs() > TOLERANCE,
        "probability is {probability}, not the sigmoid of logit {logit}: "
        "write 1 / (1 + exp(-logit)), the probability of abnormal",
    )
    yield (
        table["image"].duplicated(),
        "image {image!r} is on an earlier line too: keep one row per image",
    )
    for owner, column, fix in (
        ("study", "patient", "put the patient into the name of the study"),
        ("study", "body_part", "put the body part into the name of the study"),
        ("study", "label", "a study has one label, correct the others"),
        ("study", "split", "a study is in one split, keep one"),
        ("patient", "split", "a patient is in one split over all body parts, split by patient"),
    ):
        first = table.groupby(owner)[column].transform("first")
        yield (
            table[column] != first,
            f"{owner} {{{owner}!r}} has {column} {{{column}}} here and another on an earlier line: "
            f"{fix}",
        )

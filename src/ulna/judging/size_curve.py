"""Does a network gain by more patients? Test scores over the number of patients learnt from.

The points differ in what was learnt and in the luck of one training each; the intervals are over
test patients and hold the first of these alone.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from ulna.errors import InputError
from ulna.judging.bootstrap import Resamples, resample, with_ends, with_intervals
from ulna.judging.comparison import differences
from ulna.judging.ensemble import align
from ulna.judging.evaluation import decided
from ulna.judging.overfitting import of_parts
from ulna.params import Evaluate

MEASURES = ("auroc", "kappa")
COLUMNS = (
    "fraction",
    "patients",
    "studies",
    "images",
    "test_studies",
    "test_abnormal",
    "test_patients",
    *with_ends(MEASURES),
    "threshold",
)
LearningCurveCode = Literal["improves", "worsens", "inconclusive", "too_few", "off"]


def judge_sizes(
    tables: Mapping[float, pd.DataFrame],
    sizes: pd.DataFrame,
    body_parts: Literal["all"] | tuple[str, ...],
    evaluate: Evaluate,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Judge networks that learnt from more and more patients on the same test studies.

    Args:
        tables: Fraction of the patients -> prediction table of val and test, the largest last; each
            network's threshold is chosen on its own probabilities of val.
        sizes: What each learnt from, in the same order, see `ulna.data.splits.count_sizes`.
        body_parts: What the networks learnt from; nothing else is judged.
        evaluate: The section of the parameters.
        seed: Of the resamples of patients, as in `evaluate`.

    Returns:
        One row a size, columns `COLUMNS`: what was learnt from, and per study of test the measures
        with intervals. And the last step, paired by test patient: from_patients, to_patients, and
        what `ulna.judging.comparison.differences` says of the last two. Both are empty where there
        are fewer than two sizes.

    Raises:
        InputError: Two tables do not hold the same images, or sizes and tables differ.
    """
    if list(sizes["fraction"]) != list(tables):
        raise InputError(
            f"data/learning_curve has tables of {list(tables)} and sizes of "
            f"{list(sizes['fraction'])}: run `dvc repro learning_curve`"
        )
    if len(tables) < 2:
        return pd.DataFrame(columns=list(COLUMNS)), {}
    names = {f"{fraction:.2%} of the patients": fraction for fraction in tables}
    aligned = align({name: tables[fraction] for name, fraction in names.items()})
    tests = []
    for images in aligned.values():
        studies, thresholds = decided(images, "study", evaluate)
        test = of_parts(studies[studies["split"] == "test"], body_parts)
        tests.append((test.reset_index(drop=True), thresholds.overall))
    resamples = resample(tests[0][0]["patient"], evaluate.bootstrap_draws, seed)
    rows = [
        {**learnt, **_judge(test, resamples, evaluate.min_patients), "threshold": threshold}
        for learnt, (test, threshold) in zip(sizes.to_dict("records"), tests, strict=True)
    ]
    (fewer, _), (more, _) = tests[-2:]
    step = differences(more, fewer, resamples, evaluate.min_patients)
    patients = [int(number) for number in sizes["patients"].iloc[-2:]]
    ends = dict(zip(("from_patients", "to_patients"), patients, strict=True))
    return pd.DataFrame(rows, columns=list(COLUMNS)), ends | step


def _judge(test: pd.DataFrame, resamples: Resamples, min_patients: int) -> dict[str, float]:
    found = with_intervals(test, resamples, min_patients)
    sizes = {"test_studies": "n", "test_abnormal": "abnormal", "test_patients": "patients"}
    return {ours: found[theirs] for ours, theirs in sizes.items()} | {
        name: found[name] for name in with_ends(MEASURES)
    }


def conclude_learning_curve(step: Mapping[str, Any]) -> LearningCurveCode:
    """Conclude whether more patients still help: whether the CI of the last step excludes 0.

    Args:
        step: See `judge_sizes`.

    Returns:
        off where there is no step.
    """
    if not step:
        return "off"
    value, low, high = (step["auroc"][key] for key in ("difference", "low", "high"))
    if np.isnan(value) or np.isnan(low):
        return "too_few"
    if low > 0:
        return "improves"
    return "worsens" if high < 0 else "inconclusive"

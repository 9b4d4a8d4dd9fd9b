"""What can be told of the label without a look at bone: the check for shortcuts.

Small models learn from the train split what a careless network could learn too: which body part it
is, which device took the picture, how many views there are, what stands in the corners. They are
judged as a network is. Whatever they reach, a network reaches for nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ulna.checks.appearance import BORDER, PICTURE
from ulna.console import progress
from ulna.data.samples import select_samples
from ulna.errors import InputError
from ulna.judging.bootstrap import resample, with_intervals
from ulna.judging.evaluation import decided
from ulna.params import Evaluate
from ulna.predictions import COLUMNS, by_study, check_predictions

BaselinesCode = Literal["alarm", "no_alarm", "too_few"]
CHANCE = 0.5  # the AUROC of what tells nothing
FOLDS = 5
TEXT = ("body_part", "mode")

AUROC = ("auroc", "auroc_low", "auroc_high")
SCORES = (*AUROC, "kappa", "kappa_low", "kappa_high")
SIZES = ("n", "abnormal", "patients")
ACROSS = tuple(f"train_{name}" for name in AUROC)
SCORE_COLUMNS = ("baseline", *SCORES, *SIZES, *ACROSS, "informative", "flag", "note")


@dataclass(frozen=True)
class Baseline:
    """What a small model may look at.

    Attributes:
        columns: Of the table of `ulna.checks.appearance.measure`; none for a constant.
        trees: Boosted trees instead of logistic regression. They find a device, which is a
            combination of exact sizes and modes. Grey levels rise steadily with a marker: there a
            line is enough, and reads less from the bit of bone that reaches the border.
        shortcut: Whether a high AUROC is an alarm. Brightness is none by itself: metal and casts
            are bright, and they are abnormal.
    """

    columns: tuple[str, ...]
    trees: bool = False
    shortcut: bool = True


BASELINES = {
    "prevalence": Baseline(()),
    "body_part": Baseline(("body_part",)),
    "picture": Baseline(PICTURE, trees=True),
    "views": Baseline(("views",)),
    "metadata": Baseline(("body_part", *PICTURE, "views"), trees=True),
    "corners_and_border": Baseline(BORDER),
    "intensity": Baseline(("mean", "sd"), shortcut=False),
}


def predict_baselines(measured: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Fit every baseline on train and score val and test with it.

    Args:
        measured: See `ulna.checks.appearance.measure`.

    Returns:
        Name of `BASELINES` -> prediction table, see `ulna.predictions`.

    Raises:
        InputError: Train holds one label only.
    """
    train = select_samples(measured, "train", "all")
    scored = measured[measured["split"] != "train"].reset_index(drop=True)
    tables = {name: _fit_and_score(each, train, scored) for name, each in BASELINES.items()}
    for name, table in tables.items():
        check_predictions(table, name)
    return tables


def cross_validate(measured: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Score every train image with a baseline that was fitted on other train patients.

    Args:
        measured: See `ulna.checks.appearance.measure`; only split train is used.

    Returns:
        Name of `BASELINES` -> one row a train image, columns as in a prediction table. Each fold
        has a model with a level of its own, so an AUROC over all folds errs towards too low.

    Raises:
        InputError: Fewer than `FOLDS` train patients are normal, or abnormal.
    """
    train = select_samples(measured, "train", "all")
    fewest = int(train.groupby("label")["patient"].nunique().min())
    if fewest < FOLDS:
        raise InputError(
            f"split train has {fewest} patients of one label, and the baselines need {FOLDS}: "
            "use more data, or a smaller split.val_fraction"
        )
    folds = list(StratifiedGroupKFold(FOLDS).split(train, train["label"], train["patient"]))
    return {
        name: pd.concat(
            [_fit_and_score(each, train.iloc[rest], train.iloc[fold]) for rest, fold in folds],
            ignore_index=True,
        )
        for name, each in progress(BASELINES.items(), len(BASELINES), "baselines", "models")
    }


def _fit_and_score(baseline: Baseline, train: pd.DataFrame, scored: pd.DataFrame) -> pd.DataFrame:
    model, columns = _model(baseline), list(baseline.columns)
    # Each study counts once, however many views it has: studies are what is judged.
    weights = 1 / train["views"].to_numpy(np.float64)
    model.fit(train[columns], train["label"], model__sample_weight=weights)
    # Certainty would be an infinite logit.
    chances = np.clip(model.predict_proba(scored[columns])[:, 1], 1e-12, 1 - 1e-12)
    logits = _coarse(np.log(chances) - np.log1p(-chances))
    return scored.assign(logit=logits, probability=_coarse(expit(logits)))[list(COLUMNS)]


def _coarse(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """To float32 and back: the mean of equal numbers is then that number, however many they are.

    In float64 the mean of three can differ from the mean of two in the last bit; studies that look
    alike would be ranked by their number of views, and a constant had an AUROC of 0.479.
    """
    return numbers.astype(np.float32).astype(np.float64)


def _model(baseline: Baseline) -> Any:
    text = [column for column in baseline.columns if column in TEXT]
    numbers = [column for column in baseline.columns if column not in TEXT]
    # A body part that train lacks is no feature: its columns are all 0.
    names = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    features = ColumnTransformer([("text", names, text), ("numbers", StandardScaler(), numbers)])
    model: Any = LogisticRegression(max_iter=1000)
    if baseline.trees:
        # Few and flat, in one thread. The state only breaks ties between equal splits.
        model = GradientBoostingClassifier(
            n_estimators=50, learning_rate=0.1, max_depth=3, min_samples_leaf=10, random_state=0
        )
    if not baseline.columns:
        features, model = "passthrough", DummyClassifier(strategy="prior")
    return Pipeline([("features", features), ("model", model)])


def judge(
    tables: Mapping[str, pd.DataFrame],
    crossed: Mapping[str, pd.DataFrame],
    evaluate: Evaluate,
    seed: int,
) -> pd.DataFrame:
    """Judge the studies of test as those of a network are judged, and say what is an alarm.

    Two sets of patients must agree: a baseline is informative when the 95% interval of its AUROC
    lies above 0.5 on test, and again on train by cross-validation. Of baselines that tell nothing,
    each does so in about 1 of 1,600 data sets (2.5% of 2.5%), where test alone would raise an alarm
    from one of five baselines in 12%.

    Args:
        tables: Name of `BASELINES` -> prediction table, see `predict_baselines`.
        crossed: The same names -> train, see `cross_validate`.
        evaluate: How views become a study, the rule of the threshold, the resamples.
        seed: Of the resamples of patients.

    Returns:
        One row a baseline, columns `SCORE_COLUMNS`; intervals of 95%, n, abnormal and patients of
        test. flag: informative, and that is an alarm; note is too_few where there is no number.

    Raises:
        InputError: The rule of the threshold needs a class that val lacks.
    """
    first, of_train = next(iter(tables.values())), next(iter(crossed.values()))
    drawn = {
        split: resample(patients, evaluate.bootstrap_draws, seed)
        for split, patients in (
            ("test", first.loc[first["split"] == "test", "patient"]),
            ("train", of_train["patient"]),
        )
    }
    rows = []
    for name, table in tables.items():
        studies, _ = decided(table, "study", evaluate)
        test = studies[studies["split"] == "test"]
        scores = with_intervals(test, drawn["test"], evaluate.min_patients)
        # AUROC needs no threshold; one is asked for.
        train = by_study(crossed[name], evaluate.aggregation).assign(threshold=0.5)
        again = with_intervals(train, drawn["train"], evaluate.min_patients)
        # Comparisons with NaN are False.
        informative = min(scores["auroc_low"], again["auroc_low"]) > CHANCE
        rows.append(
            {"baseline": name}
            | {column: scores[column] for column in (*SCORES, *SIZES)}
            | {f"train_{column}": again[column] for column in AUROC}
            | {"informative": informative, "flag": informative and BASELINES[name].shortcut}
            | {"note": "too_few" if np.isnan(scores["auroc"]) else ""}
        )
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def summarize(scores: pd.DataFrame) -> dict[str, Any]:
    """Conclude whether labels can be predicted without bone, for `metrics/baselines.json`.

    Args:
        scores: See `judge`.

    Returns:
        conclusion; max_auroc_high, the highest upper limit of AUROC among the baselines that can
        raise an alarm; then the name of each baseline with its row.
    """
    conclusion: BaselinesCode = "alarm" if scores["flag"].any() else "no_alarm"
    if scores["auroc"].isna().any():
        conclusion = "too_few"
    rows: dict[str, Any] = scores.set_index("baseline").to_dict("index")
    shortcuts = [BASELINES[name].shortcut for name in scores["baseline"]]
    return {
        "conclusion": conclusion,
        "max_auroc_high": float(scores.loc[shortcuts, "auroc_high"].max()),
    } | rows

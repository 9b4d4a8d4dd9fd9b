"""Shortcut checks: what predicts the label without bone, and what a network reads off the frame."""

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

from ulna.core import InputError
from ulna.core.params import Evaluate
from ulna.core.predictions import COLUMNS, align, by_study, check_predictions
from ulna.core.stage import progress
from ulna.data.cache import Cache
from ulna.data.images import REGIONS, Fit, content_boxes, mask_region
from ulna.data.samples import select_samples
from ulna.evaluation.bootstrap import SIZES, bootstrap_weights, ci_columns, metrics_with_ci
from ulna.evaluation.comparison import differences
from ulna.evaluation.thresholds import apply_thresholds

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

CORNER_FRACTION = 1 / 8  # of each side of the picture: room for a marker or a letter
FRAME_FRACTION = 1 / 16  # of each side: where collimators and cut-off labels lie, and little bone
BLOCK = 64  # images measured at once
BORDER_REGIONS = ("top_left", "top_right", "bottom_left", "bottom_right", "frame")
STATISTICS = ("mean", "max", "sd")
BORDER = tuple(f"{region}_{name}" for region in BORDER_REGIONS for name in STATISTICS)
IMAGE_FEATURES = ("mode", "bit_depth", "width_px", "height_px", "aspect")


def measure_confounders(rows: pd.DataFrame, cache: Cache, fit: Fit) -> pd.DataFrame:
    """Measure what the baselines look at; labels are only carried along.

    Args:
        rows: One row a cached image, see `ulna.data.samples.join_samples`.
        cache: The cached images.
        fit: How they became squares, see `ulna.data.images.letterbox`: padding is not measured.

    Returns:
        The rows with mode (text), bit_depth, width_px, height_px, aspect (width / height), views
        (images of the study), mean and sd of the grey levels, and `BORDER`; grey levels 0 to 255.
    """
    files = cache.images[["image", "mode", "bit_depth", "width_px", "height_px"]]
    table = rows.merge(files, on="image", validate="one_to_one")
    table["box"] = [tuple(box) for box in content_boxes(table, cache.size_px, fit).tolist()]
    grey = []
    # Pictures of one shape at once, of which there are at most 2 x size_px: an image alone takes
    # seven times as long.
    for (part, (left, top, right, bottom)), alike in table.groupby(["body_part", "box"]):
        for start in range(0, len(alike), BLOCK):
            block = alike.iloc[start : start + BLOCK]
            pictures = cache.arrays[str(part)][block["row"]][:, top:bottom, left:right]
            grey.append(pd.DataFrame(_grey_levels(pictures), index=block.index))
    table = table.drop(columns="box").join(pd.concat(grey))
    return table.assign(
        aspect=table["width_px"] / table["height_px"],
        views=table.groupby("study")["image"].transform("size"),
    )


def _grey_levels(pictures: Pixels) -> dict[str, Floats]:
    """Of (n, height, width) pictures: name -> (n,) grey levels."""
    count, height, width = pictures.shape
    down, across = (max(1, round(side * CORNER_FRACTION)) for side in (height, width))
    rim, side = (max(1, round(length * FRAME_FRACTION)) for length in (height, width))
    frame = np.ones((height, width), dtype=bool)
    frame[rim : height - rim, side : width - side] = False
    corners = [
        (rows, columns)
        for rows in (slice(0, down), slice(height - down, height))
        for columns in (slice(0, across), slice(width - across, width))
    ]
    for corner in corners:
        frame[corner] = False
    regions = [pictures[:, *corner].reshape(count, -1) for corner in corners]
    regions.append(pictures[:, frame])
    mean, sd = _mean_and_sd(pictures.reshape(count, -1))
    measured = {"mean": mean, "sd": sd}
    for name, region in zip(BORDER_REGIONS, regions, strict=True):
        mean, sd = _mean_and_sd(region)
        values = (mean, region.max(axis=1).astype(np.float64), sd)
        measured |= {f"{name}_{s}": value for s, value in zip(STATISTICS, values, strict=True)}
    return measured


def _mean_and_sd(pixels: Pixels) -> tuple[Floats, Floats]:
    """Of each row. Sums of whole numbers are exact: in whatever order, the same bits."""
    levels = pixels.astype(np.float64)
    count, sums = pixels.shape[1], levels.sum(axis=1)
    spread = count * np.einsum("ij,ij->i", levels, levels) - sums * sums
    return sums / count, np.sqrt(np.maximum(spread, 0)) / count


BaselinesCode = Literal["alarm", "no_alarm", "too_few"]
CHANCE = 0.5  # the AUROC of what tells nothing
FOLDS = 5
TEXT = ("body_part", "mode")

AUROC = ("auroc", "auroc_low", "auroc_high")
BASELINE_SCORES = (*AUROC, "kappa", "kappa_low", "kappa_high")
ACROSS = tuple(f"train_{name}" for name in AUROC)
SCORE_COLUMNS = ("baseline", *BASELINE_SCORES, *SIZES, *ACROSS, "informative", "flag", "note")


@dataclass(frozen=True)
class Baseline:
    """What a small model may look at.

    Attributes:
        columns: Of the table of `ulna.checks.shortcuts.measure_confounders`; none for a constant.
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
    "picture": Baseline(IMAGE_FEATURES, trees=True),
    "views": Baseline(("views",)),
    "metadata": Baseline(("body_part", *IMAGE_FEATURES, "views"), trees=True),
    "corners_and_border": Baseline(BORDER),
    "intensity": Baseline(("mean", "sd"), shortcut=False),
}


def predict_baselines(measured: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Fit every baseline on train and score val and test with it.

    Args:
        measured: See `ulna.checks.shortcuts.measure_confounders`.

    Returns:
        Name of `BASELINES` -> prediction table, see `ulna.core.predictions`.

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
        measured: See `ulna.checks.shortcuts.measure_confounders`; only split train is used.

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


def evaluate_baselines(
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
        evaluate: How views become a study, the rule of the threshold, the replicates.
        seed: Of the replicates of patients.

    Returns:
        One row a baseline, columns `SCORE_COLUMNS`; intervals of 95%, n, abnormal and patients of
        test. flag: informative, and that is an alarm; note is too_few where there is no number.

    Raises:
        InputError: The rule of the threshold needs a class that val lacks.
    """
    first, of_train = next(iter(tables.values())), next(iter(crossed.values()))
    drawn = {
        split: bootstrap_weights(patients, evaluate.bootstrap_replicates, seed)
        for split, patients in (
            ("test", first.loc[first["split"] == "test", "patient"]),
            ("train", of_train["patient"]),
        )
    }
    rows = []
    for name, table in tables.items():
        studies, _ = apply_thresholds(table, "study", evaluate)
        test = studies[studies["split"] == "test"]
        scores = metrics_with_ci(test, drawn["test"], evaluate.min_patients)
        # AUROC needs no threshold; one is asked for.
        train = by_study(crossed[name], evaluate.aggregation).assign(threshold=0.5)
        again = metrics_with_ci(train, drawn["train"], evaluate.min_patients)
        # Comparisons with NaN are False.
        informative = min(scores["auroc_low"], again["auroc_low"]) > CHANCE
        rows.append(
            {"baseline": name}
            | {column: scores[column] for column in (*BASELINE_SCORES, *SIZES)}
            | {f"train_{column}": again[column] for column in AUROC}
            | {"informative": informative, "flag": informative and BASELINES[name].shortcut}
            | {"note": "too_few" if np.isnan(scores["auroc"]) else ""}
        )
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def summarize_baselines(scores: pd.DataFrame) -> dict[str, Any]:
    """Conclude whether labels can be predicted without bone, for `metrics/baselines.json`.

    Args:
        scores: See `evaluate_baselines`.

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


# the AUROC of what tells nothing
SHOWN = {
    "whole": "whole image",
    "frame_hidden": "centre alone (border hidden)",
    "centre_hidden": "border alone (centre hidden)",
}
OCCLUSION_METRICS = ("auroc", "kappa")
OCCLUSION_SCORES = ci_columns(OCCLUSION_METRICS)
DROPS = ci_columns(f"{name}_drop" for name in OCCLUSION_METRICS)
OCCLUSION_COLUMNS = ("network", "shown", *SIZES, *OCCLUSION_SCORES, *DROPS)

OcclusionCode = Literal["alarm", "no_alarm", "inconclusive"]
# Only the first is an alarm.
Finding = Literal["frame", "both", "centre", "neither", "weak", "too_few"]


def evaluate_occlusion(
    tables: Mapping[str, pd.DataFrame], evaluate: Evaluate, seed: int
) -> dict[str, Any]:
    """Judge the studies of test by the whole picture and by each half of it.

    The threshold is that chosen on val from whole pictures. Differences are paired: both sides
    come from the same draw of patients.

    Args:
        tables: The names of `SHOWN` -> a prediction table of one network; whole has val and test,
            the others test alone.
        evaluate: How views become a study, the rule of the threshold, the replicates.
        seed: Of the replicates of patients.

    Returns:
        For each name in SHOWN n, abnormal, patients, `OCCLUSION_SCORES` and `DROPS` (whole minus this);
        centre_minus_frame, _low and _high: AUROC of the centre alone minus that of the frame
        alone; finding, see `classify_occlusion`; flag, whether that is an alarm. Every number with the ends of
        its 95% interval over patients, all three NaN where undefined.

    Raises:
        InputError: The tables differ in an image of test, or the rule of the threshold needs a
            class that val lacks.
    """
    whole, hidden = tables["whole"], {name: tables[name] for name in SHOWN if name != "whole"}
    align({"whole": whole[whole["split"] == "test"]} | hidden)
    decisions, thresholds = apply_thresholds(whole, "study", evaluate)
    shown = {"whole": decisions[decisions["split"] == "test"].reset_index(drop=True)}
    for name, table in hidden.items():
        studies = by_study(table, evaluate.aggregation)
        shown[name] = studies.assign(threshold=thresholds.of(studies["body_part"]))

    replicates = bootstrap_weights(shown["whole"]["patient"], evaluate.bootstrap_replicates, seed)

    def difference(first: str, second: str) -> dict[str, Any]:
        return differences(shown[first], shown[second], replicates, evaluate.min_patients)

    found: dict[str, Any] = {}
    for name, studies in shown.items():
        scores = metrics_with_ci(studies, replicates, evaluate.min_patients)
        drops = difference("whole", name)
        found[name] = {column: scores[column] for column in (*SIZES, *OCCLUSION_SCORES)}
        for metric in OCCLUSION_METRICS:
            found[name] |= _named(f"{metric}_drop", drops[metric])
    found |= _named("centre_minus_frame", difference("frame_hidden", "centre_hidden")["auroc"])
    finding = classify_occlusion(found)
    return found | {"finding": finding, "flag": finding == "frame"}


def _named(name: str, difference: Mapping[str, float]) -> dict[str, float]:
    low, high = difference["low"], difference["high"]
    value = np.nan if np.isnan(low) else difference["difference"]
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def classify_occlusion(found: Mapping[str, Any]) -> Finding:
    """Tell which half a network needs, by intervals of 95%.

    Args:
        found: What `evaluate_occlusion` returns, without finding and flag.

    Returns:
        frame, the alarm: the frame alone tells the label, and the centre alone is not better;
        both: the frame tells it, but the centre tells it better; centre: the centre alone tells
        it, and the frame does not; neither: no half alone tells it; weak: not even the whole
        picture tells it, so there is nothing to lose; too_few: no numbers.
    """
    if np.isnan([found["centre_minus_frame"], *(found[name]["auroc"] for name in SHOWN)]).any():
        return "too_few"
    tells = {name: found[name]["auroc_low"] > CHANCE for name in SHOWN}
    if not tells["whole"]:
        return "weak"
    if tells["centre_hidden"]:
        return "both" if found["centre_minus_frame_low"] > 0 else "frame"
    return "centre" if tells["frame_hidden"] else "neither"


def occlusion_example(
    images: pd.DataFrame, cache: Cache, fit: Fit
) -> dict[str, npt.NDArray[np.uint8]]:
    """Show what the networks were shown, by the first abnormal picture; the first if there is none.

    Args:
        images: One row an image: image, label.
        cache: The cached images.
        fit: How they were fitted into the cached square.

    Returns:
        The names of `SHOWN` -> (size_px, size_px) uint8.
    """
    first = images.sort_values(["label", "image"], ascending=[False, True]).head(1)
    [row] = first[["image"]].merge(cache.images, on="image").itertuples()
    pixels = cache.arrays[row.body_part][[row.row]]
    boxes = content_boxes(cache.images[cache.images["image"] == row.image], cache.size_px, fit)
    hidden = {f"{region}_hidden": mask_region(pixels, boxes, region)[0] for region in REGIONS}
    return {"whole": pixels[0]} | hidden


def tabulate_occlusion(judged: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """List the scores of all networks.

    Args:
        judged: Name of the network -> see `evaluate_occlusion`.

    Returns:
        One row a network and name in `SHOWN`, columns `OCCLUSION_COLUMNS`.
    """
    rows = [
        {"network": network, "shown": shown} | found[shown]
        for network, found in judged.items()
        for shown in SHOWN
    ]
    return pd.DataFrame(rows, columns=list(OCCLUSION_COLUMNS))


def summarize_occlusion(judged: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Conclude whether a network looks at the border, for `metrics/occlusion.json`.

    Args:
        judged: Name of the network -> see `evaluate_occlusion`.

    Returns:
        conclusion; flag, whether that is an alarm; then `judged`.
    """
    findings = {found["finding"] for found in judged.values()}
    conclusion: OcclusionCode = "no_alarm" if findings & {"both", "centre"} else "inconclusive"
    if "frame" in findings:
        conclusion = "alarm"
    return {"conclusion": conclusion, "flag": conclusion == "alarm"} | dict(judged)

"""Shortcuts: what predicts the label without bone, and which half of an image a network needs.

In order: non-anatomical features of the images, small models fitted on them (the baselines), and
networks evaluated with the border or the centre of every image masked (occlusion).
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

from ulna.core import InputError
from ulna.core.predictions import COLUMNS, align, by_study, check_predictions
from ulna.core.progress import progress
from ulna.data import Fit
from ulna.data.images import REGIONS, content_boxes, mask_region
from ulna.evaluation.bootstrap import (
    SIZES,
    bootstrap_weights,
    ci_columns,
    differences,
    metrics_with_ci,
)
from ulna.evaluation.thresholds import Settings, apply_thresholds

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
BaselinesCode = Literal["alarm", "no_alarm", "too_few"]
OcclusionCode = Literal["alarm", "no_alarm", "inconclusive"]
# Of one network; frame alone is an alarm, see `classify_occlusion`.
Finding = Literal["frame", "both", "centre", "neither", "weak", "too_few"]

CHANCE = 0.5  # AUROC

CORNER_FRACTION = 1 / 8  # of each side of the image: room for a marker or a letter
FRAME_FRACTION = 1 / 16  # of each side: where collimators and cut-off labels lie, and little bone
BLOCK = 64  # images measured at once
BORDER_REGIONS = ("top_left", "top_right", "bottom_left", "bottom_right", "frame")
BORDER = tuple(f"{region}_{name}" for region in BORDER_REGIONS for name in ("mean", "max", "sd"))
IMAGE_FEATURES = ("mode", "bit_depth", "width_px", "height_px", "aspect")
TEXT = ("body_part", "mode")

FOLDS = 5
AUROC = ("auroc", "auroc_low", "auroc_high")
SCORE_COLUMNS = (
    "baseline", *AUROC, "kappa", "kappa_low", "kappa_high", *SIZES,
    *(f"train_{name}" for name in AUROC), "informative", "flag", "note",
)  # fmt: skip

SHOWN = ("whole", "frame_hidden", "centre_hidden")
OCCLUSION_METRICS = ("auroc", "kappa")
OCCLUSION_SCORES = (*SIZES, *ci_columns(OCCLUSION_METRICS))
DROPS = ci_columns(f"{name}_drop" for name in OCCLUSION_METRICS)
OCCLUSION_COLUMNS = ("network", "shown", *OCCLUSION_SCORES, *DROPS)


@dataclass(frozen=True)
class Baseline:
    """A small model on some of the features.

    Attributes:
        columns: Of the table of `measure_confounders`; none for a constant.
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


def measure_confounders(
    images: pd.DataFrame, arrays: Mapping[str, Pixels], fit: Fit
) -> pd.DataFrame:
    """Measure the non-anatomical features of each image; labels are only carried along.

    images has one row per cached image, see `ulna.data.samples.join_measurements`; arrays is body
    part -> (images, size_px, size_px) uint8; fit is that of the cache: padding is not measured.

    Returns:
        The rows with aspect (width / height), views (images of the study), mean and sd of the grey
        levels, and `BORDER`; grey levels 0 to 255.
    """
    # The mean of the file at full size makes room for that of the cached image.
    table = images.drop(columns="mean").reset_index(drop=True)
    size_px = next(iter(arrays.values())).shape[1]
    table["box"] = [tuple(box) for box in content_boxes(table, size_px, fit).tolist()]
    grey = []
    # Images of one shape at once, of which there are at most 2 x size_px: an image alone takes
    # seven times as long.
    for (part, (left, top, right, bottom)), group in table.groupby(["body_part", "box"]):
        for start in range(0, len(group), BLOCK):
            block = group.iloc[start : start + BLOCK]
            pixels = arrays[str(part)][block["row"]][:, top:bottom, left:right]
            grey.append(pd.DataFrame(_grey_levels(pixels), index=block.index))
    aspect = table["width_px"] / table["height_px"]
    views = table.groupby("study")["image"].transform("size")
    return table.drop(columns="box").join(pd.concat(grey)).assign(aspect=aspect, views=views)


def _grey_levels(pixels: Pixels) -> dict[str, Floats]:
    """Measure images (n, height, width): name -> (n,) grey levels."""
    count, height, width = pixels.shape
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
    regions = [*(pixels[:, *corner].reshape(count, -1) for corner in corners), pixels[:, frame]]
    levels = dict(zip(("mean", "sd"), _mean_and_sd(pixels.reshape(count, -1)), strict=True))
    for name, region in zip(BORDER_REGIONS, regions, strict=True):
        levels[f"{name}_mean"], levels[f"{name}_sd"] = _mean_and_sd(region)
        levels[f"{name}_max"] = region.max(axis=1).astype(np.float64)
    return levels


def _mean_and_sd(pixels: Pixels) -> tuple[Floats, Floats]:
    # Of each row. Sums of whole numbers are exact: in whatever order, the same bits.
    levels = pixels.astype(np.float64)
    count, sums = pixels.shape[1], levels.sum(axis=1)
    spread = count * np.einsum("ij,ij->i", levels, levels) - sums * sums
    return sums / count, np.sqrt(np.maximum(spread, 0)) / count


def predict_baselines(measured: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Fit every baseline on train and predict val and test: name -> prediction table.

    Raises:
        InputError: Fewer than `FOLDS` train patients are normal, or abnormal.
    """
    train = _training_images(measured)
    held_out = measured[measured["split"] != "train"].reset_index(drop=True)
    tables = {name: _fit_and_predict(each, train, held_out) for name, each in BASELINES.items()}
    for name, table in tables.items():
        check_predictions(table, name)
    return tables


def cross_validate(measured: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Predict every train image with a baseline that was fitted on other train patients.

    Returns and raises as `predict_baselines`. Each fold has a model with a level of its own, so an
    AUROC over all folds errs towards too low.
    """
    train = _training_images(measured)
    folds = list(StratifiedGroupKFold(FOLDS).split(train, train["label"], train["patient"]))
    return {
        name: pd.concat(
            [_fit_and_predict(each, train.iloc[rest], train.iloc[fold]) for rest, fold in folds],
            ignore_index=True,
        )
        for name, each in progress(BASELINES.items(), len(BASELINES), "baselines", "models")
    }


def _training_images(measured: pd.DataFrame) -> pd.DataFrame:
    train = measured[measured["split"] == "train"].reset_index(drop=True)
    patients = train.groupby("label")["patient"].nunique().reindex([0, 1], fill_value=0)
    if patients.min() < FOLDS:
        raise InputError(
            f"split train has {patients.min()} patients of one label, and the baselines need "
            f"{FOLDS}: use more data, or a smaller split.val_fraction"
        )
    return train


def _fit_and_predict(baseline: Baseline, train: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    columns = list(baseline.columns)
    text = [column for column in columns if column in TEXT]
    numbers = [column for column in columns if column not in TEXT]
    # A body part that train lacks is no feature: its columns are all 0.
    names = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    features = ColumnTransformer([("text", names, text), ("numbers", StandardScaler(), numbers)])
    classifier: Any = LogisticRegression(max_iter=1000)
    if baseline.trees:
        # Few and flat, in one thread. The state only breaks ties between equal splits.
        classifier = GradientBoostingClassifier(
            n_estimators=50, learning_rate=0.1, max_depth=3, min_samples_leaf=10, random_state=0
        )
    if not columns:
        features, classifier = "passthrough", DummyClassifier(strategy="prior")
    model = Pipeline([("features", features), ("model", classifier)])
    # Each study counts once, however many views it has: studies are evaluated.
    weights = 1 / train["views"].to_numpy(np.float64)
    model.fit(train[columns], train["label"], model__sample_weight=weights)
    # A probability of 0 or 1 would be an infinite logit.
    probabilities = np.clip(model.predict_proba(images[columns])[:, 1], 1e-12, 1 - 1e-12)
    logits = _to_float32(np.log(probabilities) - np.log1p(-probabilities))
    return images.assign(logit=logits, probability=_to_float32(expit(logits)))[list(COLUMNS)]


def _to_float32(numbers: Floats) -> Floats:
    # And back: the mean of equal numbers is then that number, however many they are. In float64 the
    # mean of three can differ from the mean of two in the last bit; studies with equal features
    # would be ranked by their number of views, and a constant had an AUROC of 0.479.
    return numbers.astype(np.float32).astype(np.float64)


def evaluate_baselines(
    tables: Mapping[str, pd.DataFrame],
    crossed: Mapping[str, pd.DataFrame],
    evaluate: Settings,
    seed: int,
) -> pd.DataFrame:
    """Evaluate the baselines on the studies of test as networks are, and flag the alarms.

    Two sets of patients must agree: a baseline is informative when the 95% CI of its AUROC lies
    above 0.5 on test, and again on train by cross-validation. A baseline no better than chance
    meets both in about 1 of 1,600 data sets (2.5% of 2.5%), where test alone would raise an alarm
    from one of five baselines in 12%.

    The tables are those of `predict_baselines`, crossed those of `cross_validate`.

    Returns:
        One row per baseline, columns `SCORE_COLUMNS`; 95% CIs, n, abnormal and patients of test.
        flag: informative, and that is an alarm; note is too_few where there is no number.

    Raises:
        InputError: The rule of the threshold needs a class that val lacks.
    """
    first, of_train = next(iter(tables.values())), next(iter(crossed.values()))
    of_test = first[first["split"] == "test"]
    on_test, on_train = (
        bootstrap_weights(table["patient"], evaluate.bootstrap_replicates, seed)
        for table in (of_test, of_train)
    )
    rows = []
    for name, table in tables.items():
        studies, _ = apply_thresholds(table, "study", evaluate)
        test = studies[studies["split"] == "test"]
        scores = metrics_with_ci(test, on_test, evaluate.min_patients)
        # AUROC needs no threshold, but the function asks for one.
        train = by_study(crossed[name], evaluate.aggregation).assign(threshold=0.5)
        again = metrics_with_ci(train, on_train, evaluate.min_patients)
        # Comparisons with NaN are False.
        informative = min(scores["auroc_low"], again["auroc_low"]) > CHANCE
        row = scores | {f"train_{column}": again[column] for column in AUROC}
        row |= {"informative": informative, "flag": informative and BASELINES[name].shortcut}
        note = "too_few" if np.isnan(scores["auroc"]) else ""
        rows.append(row | {"baseline": name, "note": note})
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def summarize_baselines(scores: pd.DataFrame) -> dict[str, Any]:
    """Conclude whether labels can be predicted without bone, for `metrics/baselines.json`.

    Returns:
        conclusion; max_auroc_high, the highest upper limit of AUROC among the baselines that can
        raise an alarm; then each baseline's row of `evaluate_baselines`.
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


def evaluate_occlusion(
    tables: Mapping[str, pd.DataFrame], evaluate: Settings, seed: int
) -> dict[str, Any]:
    """Evaluate a network on the studies of test by whole images and by each half of them.

    The threshold is that chosen on val from whole images. Differences are paired: both sides come
    from the same replicate of patients.

    The prediction tables are under the names of `SHOWN`; whole has val and test, the others test
    alone.

    Returns:
        For each name in SHOWN `OCCLUSION_SCORES` and `DROPS` (whole minus this);
        centre_minus_frame, AUROC of the centre alone minus that of the frame alone; finding, see
        `classify_occlusion`; flag, whether that is an alarm. Every number has its 95% CI over
        patients beside it (_low, _high), all three NaN where undefined.

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

    results: dict[str, Any] = {}
    for name, studies in shown.items():
        scores = metrics_with_ci(studies, replicates, evaluate.min_patients)
        drops = difference("whole", name)
        results[name] = {column: scores[column] for column in OCCLUSION_SCORES}
        for metric in OCCLUSION_METRICS:
            results[name] |= _with_limits(f"{metric}_drop", drops[metric])
    centre_minus_frame = difference("frame_hidden", "centre_hidden")["auroc"]
    results |= _with_limits("centre_minus_frame", centre_minus_frame)
    finding = classify_occlusion(results)
    return results | {"finding": finding, "flag": finding == "frame"}


def _with_limits(name: str, difference: Mapping[str, float]) -> dict[str, float]:
    low, high = difference["low"], difference["high"]
    value = np.nan if np.isnan(low) else difference["difference"]
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def classify_occlusion(results: Mapping[str, Any]) -> Finding:
    """Tell which half of the images a network needs, by the 95% CIs of `evaluate_occlusion`.

    Returns:
        frame, the alarm: the frame alone predicts the label, and the centre alone is not better;
        both: the frame predicts it, but the centre is better; centre: the centre alone predicts it,
        and the frame does not; neither: no half alone predicts it; weak: not even the whole image
        does, so there is nothing to lose; too_few: no numbers.
    """
    if np.isnan([results["centre_minus_frame"], *(results[name]["auroc"] for name in SHOWN)]).any():
        return "too_few"
    predicts = {name: results[name]["auroc_low"] > CHANCE for name in SHOWN}
    if not predicts["whole"]:
        return "weak"
    if predicts["centre_hidden"]:
        return "both" if results["centre_minus_frame_low"] > 0 else "frame"
    return "centre" if predicts["frame_hidden"] else "neither"


def occlusion_example(
    images: pd.DataFrame, arrays: Mapping[str, Pixels], fit: Fit
) -> dict[str, Pixels]:
    """Mask the first abnormal image as the networks were shown it; the first if there is none.

    images has image, label, body_part, row, width_px, height_px; see `measure_confounders`.
    """
    first = images.sort_values(["label", "image"], ascending=[False, True]).head(1)
    pixels = arrays[first["body_part"].item()][[first["row"].item()]]
    boxes = content_boxes(first, pixels.shape[1], fit)
    hidden = {f"{region}_hidden": mask_region(pixels, boxes, region)[0] for region in REGIONS}
    return {"whole": pixels[0]} | hidden


def tabulate_occlusion(networks: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """List the results of `evaluate_occlusion`: one row per network and name in `SHOWN`."""
    rows = [
        {"network": network, "shown": shown} | results[shown]
        for network, results in networks.items()
        for shown in SHOWN
    ]
    return pd.DataFrame(rows, columns=list(OCCLUSION_COLUMNS))


def summarize_occlusion(networks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Conclude whether a network needs the border: conclusion, flag (an alarm), the networks."""
    findings = {results["finding"] for results in networks.values()}
    conclusion: OcclusionCode = "no_alarm" if findings & {"both", "centre"} else "inconclusive"
    conclusion = "alarm" if "frame" in findings else conclusion
    return {"conclusion": conclusion, "flag": conclusion == "alarm"} | dict(networks)

"""Baselines on made-up features and small phantoms; occlusion of toy networks of known needs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ulna.checks import shortcuts
from ulna.checks.shortcuts import (
    BASELINES,
    BORDER,
    IMAGE_FEATURES,
    OCCLUSION_COLUMNS,
    SHOWN,
    classify_occlusion,
    cross_validate,
    evaluate_baselines,
    evaluate_occlusion,
    measure_confounders,
    occlusion_example,
    predict_baselines,
    summarize_baselines,
    summarize_occlusion,
    tabulate_occlusion,
)
from ulna.core import InputError
from ulna.core.predictions import COLUMNS, by_study
from ulna.core.predictions import COLUMNS as TABLE
from ulna.data import Cache
from ulna.data.cache import build_cache, load_cache
from ulna.data.images import REGIONS, content_boxes, letterbox, mask_region
from ulna.data.mura import read_index
from ulna.data.samples import join_measurements, join_samples
from ulna.data.source import open_root
from ulna.data.splits import assign_splits
from ulna.evaluation.thresholds import apply_thresholds
from ulna.phantom.tree import write_phantom

REAL = Path(__file__).resolve().parents[3] / "shared/data/fracatlas/MURA-v1.1"
SIZES = {"train": 160, "val": 40, "test": 90}  # studies
PIXELS = ("mean", "sd", *BORDER)


def made_up(seed: int = 0, sizes=SIZES) -> pd.DataFrame:
    """Measurements that have nothing to do with the label: 1 to 3 views a study, a patient each."""
    draw = np.random.default_rng(seed)
    studies = []
    for split, count in sizes.items():
        for number in range(count):
            part = str(draw.choice(["HAND", "WRIST"]))
            label, views = int(draw.integers(2)), int(draw.integers(1, 4))
            patient = f"{split}{number:04d}"
            studies += [(split, part, patient, f"{patient}/{part}", label, views)] * views
    columns = ["split", "body_part", "patient", "study", "label", "views"]
    table = pd.DataFrame(studies, columns=columns)
    count = len(table)
    table["image"] = [f"{study}/{k}" for k, study in enumerate(table["study"])]
    table["mode"], table["bit_depth"] = draw.choice(["L", "RGB"], count), 8
    table["width_px"], table["height_px"] = draw.integers(200, 512, (2, count))
    table["aspect"] = table["width_px"] / table["height_px"]
    return table.assign(**{name: draw.uniform(0, 255, count) for name in PIXELS})


def evaluated_baselines(measured: pd.DataFrame, params) -> pd.DataFrame:
    tables, crossed = predict_baselines(measured), cross_validate(measured)
    evaluate = params.evaluate.model_copy(update={"bootstrap_replicates": 400})
    return evaluate_baselines(tables, crossed, evaluate, seed=1).set_index("baseline")


@pytest.fixture(scope="module")
def uninformative(params):
    return evaluated_baselines(made_up(), params)


@pytest.fixture(scope="module")
def caches(tmp_path_factory, params):
    """The same small phantom without and with a corner marker on abnormal images."""
    caches = {}
    for marker in (False, True):
        folder = tmp_path_factory.mktemp("phantom")
        root = folder / "MURA-v1.1.zip"
        # Enough for six pairs of test patients: of fewer, even an AUROC of 1 is no evidence.
        write_phantom(root, 1, 100, marker_shortcut=marker, workers=1)
        images = read_index(open_root(root))
        image = params.image.model_copy(update={"size_px": 48})
        build_cache(images, root, folder / "cache", **image.model_dump(), workers=1)
        cache = load_cache(folder / "cache")
        caches[marker] = join_samples(images, assign_splits(images, 0.2, 2017), cache), cache
    return caches


@pytest.fixture(scope="module")
def phantoms(caches):
    return {marker: measured_of(*parts) for marker, parts in caches.items()}


@pytest.mark.promise("A7")
def test_a_synthetic_corner_marker_raises_the_alarm_and_is_named(phantoms, params):
    scores = evaluated_baselines(phantoms[True], params)
    assert scores["flag"].to_dict() == {name: name == "corners_and_border" for name in BASELINES}
    assert scores.at["corners_and_border", "auroc"] == 1
    assert summarize_baselines(scores.reset_index())["conclusion"] == "alarm"


@pytest.mark.promise("A7")
def test_the_same_phantom_without_the_marker_raises_none(phantoms, params):
    scores = evaluated_baselines(phantoms[False], params)
    assert not scores["flag"].any()
    assert summarize_baselines(scores.reset_index())["conclusion"] == "no_alarm"


@pytest.mark.promise("A7")
def test_a_shortcut_that_only_shows_in_the_metadata_raises_the_alarm(params):
    """A device, told by a size and a mode together, used mostly for the abnormal."""
    measured = made_up()
    rng = np.random.default_rng(5)
    device = (rng.random(len(measured)) < 0.8) == (measured["label"] == 1)
    measured["mode"] = np.where(rng.random(len(measured)) < 0.5, "L", "RGB")
    measured["width_px"] = np.where(device == (measured["mode"] == "L"), 512, 300)
    scores = evaluated_baselines(measured, params)
    assert scores["flag"].to_dict() == {name: name in ("picture", "metadata") for name in BASELINES}


def marked(measured: pd.DataFrame) -> pd.DataFrame:
    """The same with a marker in a corner of four of five abnormal images, and of no other."""
    seen = (measured["label"] == 1) & (np.arange(len(measured)) % 5 > 0)
    return measured.assign(top_left_max=np.where(seen, 255.0, 100.0))


def shuffled(measured: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The same with the labels of each split dealt out anew among its patients."""
    patients = measured.drop_duplicates("patient").set_index("patient")
    dealt = patients.groupby("split")["label"].transform(
        lambda labels: labels.sample(frac=1, random_state=seed).to_numpy()
    )
    return measured.assign(label=measured["patient"].map(dealt))


@pytest.mark.promise("A6")
def test_shuffled_labels_are_chance(params):
    """A 95% interval holds 0.5 in about 95 of 100 data sets, and the alarm is silent in all."""
    holds, informative = [], []
    for seed in range(6):
        scores = evaluated_baselines(shuffled(marked(made_up(seed)), seed), params)
        fitted = scores.drop("prevalence")
        holds += list((fitted["auroc_low"] <= 0.5) & (fitted["auroc_high"] >= 0.5))
        informative += list(scores["informative"])
    assert np.mean(holds) >= 0.88
    assert not any(informative)


@pytest.mark.promise("A7")
def test_of_baselines_no_better_than_chance_hardly_any_raises_the_alarm(params):
    """Random scores of 40 data sets; one set of patients alone would alarm in 12% of them."""
    evaluate = params.evaluate.model_copy(update={"bootstrap_replicates": 100, "threshold": "half"})
    names = [name for name, baseline in BASELINES.items() if baseline.shortcut][1:]
    alarms, on_test = 0, 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        table = made_up(seed, {"train": 120, "val": 20, "test": 80})
        logits = {name: draw.normal(size=len(table)) for name in names}
        scored = {
            name: table[list(COLUMNS[:-2])].assign(logit=each, probability=expit(each))
            for name, each in logits.items()
        }
        held_out = {name: each[each["split"] != "train"] for name, each in scored.items()}
        train = {name: each[each["split"] == "train"] for name, each in scored.items()}
        scores = evaluate_baselines(held_out, train, evaluate, seed)
        alarms += scores["flag"].any()
        on_test += (scores["auroc_low"] > 0.5).any()
    assert alarms <= 1
    assert on_test >= 3  # what the second set of patients spares


def test_the_baselines_are_informative_before_labels_are_shuffled(params):
    scores = evaluated_baselines(marked(made_up()), params)
    assert scores["flag"].to_dict() == {name: name == "corners_and_border" for name in BASELINES}


def test_a_constant_is_exactly_chance_for_any_number_of_views(uninformative):
    row = uninformative.loc["prevalence"]
    assert (row["auroc"], row["auroc_low"], row["auroc_high"]) == (0.5, 0.5, 0.5)
    assert row["kappa"] == 0


def test_studies_of_a_body_part_have_one_probability_for_any_number_of_views():
    table = predict_baselines(made_up())["body_part"]
    assert by_study(table).groupby("body_part")["probability"].nunique().eq(1).all()


def test_labels_of_val_and_test_change_no_prediction():
    measured = made_up()
    held_out = measured["split"] != "train"
    changed = measured.assign(label=np.where(held_out, 1 - measured["label"], measured["label"]))
    before, after = predict_baselines(measured), predict_baselines(changed)
    for name in BASELINES:
        pd.testing.assert_series_equal(before[name]["logit"], after[name]["logit"])


def test_other_test_rows_change_no_prediction():
    """A body part or a mode that only test has is no feature."""
    measured = made_up()
    rare = measured.index[measured["study"].isin(measured["study"].unique()[-3:])]
    changed = measured.copy()
    changed.loc[rare, ["body_part", "mode", "width_px"]] = ["ELBOW", "1", 9000]
    before, after = predict_baselines(measured), predict_baselines(changed)
    for name in BASELINES:
        kept = ~before[name]["image"].isin(measured.loc[rare, "image"])
        pd.testing.assert_series_equal(before[name]["logit"][kept], after[name]["logit"][kept])


def test_cross_validation_never_scores_a_patient_with_a_model_that_saw_them(monkeypatch):
    seen = []
    monkeypatch.setattr(
        shortcuts,
        "_fit_and_predict",
        lambda _, train, scored: seen.append((train, scored)) or scored,
    )
    measured = made_up()
    crossed = cross_validate(measured)
    for train, scored in seen:
        assert not set(train["patient"]) & set(scored["patient"])
        assert set(train["split"]) == set(scored["split"]) == {"train"}
    expected = sorted(measured.loc[measured["split"] == "train", "image"])
    for table in crossed.values():
        assert sorted(table["image"]) == expected


def test_the_order_of_rows_changes_no_score(params):
    measured = made_up()
    shuffled = measured.sample(frac=1, random_state=1).sort_values("split", kind="stable")
    tables = predict_baselines(measured), predict_baselines(shuffled.reset_index(drop=True))
    for name in BASELINES:
        one, other = (table[name].set_index("image")["probability"] for table in tables)
        np.testing.assert_allclose(one, other[one.index], atol=1e-5)


def test_the_same_data_give_the_same_bits(uninformative, params):
    again = evaluated_baselines(made_up(), params)
    pd.testing.assert_frame_equal(uninformative, again, check_exact=True)


def test_one_set_of_patients_alone_raises_no_alarm(params):
    """The marker is on test only, or on train only: chance in the other."""
    for planted in ("test", "train"):
        measured = made_up()
        marked = (measured["split"] == planted) & (measured["label"] == 1)
        measured["top_left_max"] = np.where(marked, 255.0, 100.0)
        assert not evaluated_baselines(measured, params)["flag"].any()


def test_brightness_informs_without_an_alarm(params):
    measured = made_up()
    measured["mean"] = measured["label"] * 100.0 + np.arange(len(measured)) % 90
    scores = evaluated_baselines(measured, params)
    assert scores.at["intensity", "informative"] and not scores["flag"].any()
    summary = summarize_baselines(scores.reset_index())
    assert summary["conclusion"] == "no_alarm"
    assert summary["max_auroc_high"] == scores.drop("intensity")["auroc_high"].max()


def test_too_few_patients_say_so(params):
    few = made_up(sizes={"train": 60, "val": 40, "test": params.evaluate.min_patients - 1})
    scores = evaluated_baselines(few, params)
    assert scores["auroc"].isna().all() and (scores["note"] == "too_few").all()
    assert not scores["flag"].any()
    assert summarize_baselines(scores.reset_index())["conclusion"] == "too_few"


def test_too_few_training_patients_are_refused():
    measured = made_up(sizes={"train": 40, "val": 20, "test": 20})
    abnormal = measured[(measured["split"] == "train") & (measured["label"] == 1)]
    few = abnormal["patient"].drop_duplicates()[4:]
    with pytest.raises(InputError, match="split.val_fraction"):
        cross_validate(measured[~measured["patient"].isin(few)])


def test_real_radiographs_give_away_some_labels_without_bone(params, tmp_path):
    """Sizes, modes and borders of FracAtlas differ with the label: no clean set."""
    if not REAL.is_dir():
        pytest.skip("FracAtlas in MURA's layout is not beside the repository")
    images = read_index(open_root(REAL))
    build_cache(images, REAL, tmp_path, **params.image.model_dump() | {"size_px": 48}, workers=1)
    cache = load_cache(tmp_path)
    rows = join_samples(images, assign_splits(images, params.split.val_fraction, 2017), cache)
    scores = evaluated_baselines(
        measure_confounders(join_measurements(rows, cache), cache.arrays, "pad"), params
    )
    assert scores.at["metadata", "flag"] and not scores.at["views", "flag"]


def measured_of(rows: pd.DataFrame, cache: Cache) -> pd.DataFrame:
    return measure_confounders(join_measurements(rows, cache), cache.arrays, "pad")


def one_image(pixels: np.ndarray, width_px: int, height_px: int) -> pd.Series:
    file = {"image": "a", "body_part": "HAND", "row": 0}
    images = pd.DataFrame(
        [
            file
            | {
                "mode": "L",
                "bit_depth": 8,
                "mean": 0.0,
                "width_px": width_px,
                "height_px": height_px,
            }
        ]
    )
    rows = pd.DataFrame([file | {"patient": "p", "study": "s", "split": "train", "label": 0}])
    cache = Cache(images, pd.DataFrame(), {"HAND": pixels[np.newaxis]})
    return measured_of(rows, cache).iloc[0]


def test_padding_is_not_measured_and_regions_are_where_their_names_say():
    """An image of 64 x 32 in a square of 64: rows 16 to 47; corners 4 x 8, frame 2 and 4."""
    square = np.zeros((64, 64), np.uint8)
    square[16:48] = 100
    square[16:20, 0:8] = 200
    square[44:48, 56:64] = 40
    row = one_image(square, 640, 320)
    assert (row["top_left_mean"], row["top_left_max"], row["top_left_sd"]) == (200, 200, 0)
    assert row["bottom_right_mean"] == 40
    assert row["top_right_mean"] == row["bottom_left_mean"] == row["frame_mean"] == 100
    assert row["mean"] == pytest.approx(100 + (32 * 100 - 32 * 60) / (32 * 64))
    assert row["aspect"] == 2 and row["views"] == 1


def test_the_middle_of_a_image_does_not_reach_corners_and_border():
    rng = np.random.default_rng(2)
    one = rng.integers(0, 256, (64, 64), np.uint8)
    other = one.copy()
    other[8:56, 8:56] = rng.integers(0, 256, (48, 48), np.uint8)
    names = list(BORDER)
    pd.testing.assert_series_equal(one_image(one, 64, 64)[names], one_image(other, 64, 64)[names])
    assert one_image(one, 64, 64)["mean"] != one_image(other, 64, 64)["mean"]


@pytest.mark.parametrize(("width_px", "height_px"), [(500, 1), (1, 500), (3, 200)])
def test_a_sliver_has_numbers_too(width_px, height_px):
    square = np.full((32, 32), 7, np.uint8)
    assert np.isfinite(one_image(square, width_px, height_px)[list(BORDER)].astype(float)).all()


def many(count: int = 40, side: int = 48) -> tuple[pd.DataFrame, Cache, list[np.ndarray]]:
    """Pictures of a few shapes and two parts, whose rows of the cache are not in order."""
    draw = np.random.default_rng(4)
    shapes = [(400, 250), (250, 400), (48, 48), (512, 90)]
    pictures = [
        draw.integers(0, 256, shapes[k], np.uint8) for k in draw.integers(0, len(shapes), count)
    ]
    parts = np.where(np.arange(count) % 3, "HAND", "WRIST")
    squares = {part: np.zeros((count, side, side), np.uint8) for part in ("HAND", "WRIST")}
    places = draw.permutation(count)
    for part, place, picture in zip(parts, places, pictures, strict=True):
        squares[part][place] = letterbox(picture, side, "pad")
    images = pd.DataFrame(
        {"image": [f"{k:02}" for k in range(count)], "body_part": parts, "row": places}
    )
    files = images.assign(
        mode="L", bit_depth=8, mean=0.0,
        width_px=[picture.shape[1] for picture in pictures],
        height_px=[picture.shape[0] for picture in pictures],
    )  # fmt: skip
    rows = images.assign(
        patient=images["image"], study=[str(k // 3) for k in range(count)], split="train", label=0
    )
    inside = []
    for row in files.itertuples():
        square = squares[row.body_part][row.row]
        filled = np.flatnonzero(square.any(axis=1)), np.flatnonzero(square.any(axis=0))
        inside.append(square[np.ix_(*filled)])
    return rows, Cache(files, files[:0], squares), inside


@pytest.mark.parametrize("block", [1, 3, 64])
def test_every_image_has_the_numbers_of_its_own_for_any_block(monkeypatch, block):
    monkeypatch.setattr(shortcuts, "BLOCK", block)
    rows, cache, inside = many()
    measured = measured_of(rows, cache)
    assert measured["image"].tolist() == rows["image"].tolist()
    for row, picture in zip(measured.itertuples(), inside, strict=True):
        assert row.mean == pytest.approx(picture.mean())
        assert row.sd == pytest.approx(picture.std())
        height, width = picture.shape
        corner = picture[: round(height / 8), width - round(width / 8) :]
        assert (row.top_right_max, row.top_right_sd) == pytest.approx((corner.max(), corner.std()))


def test_the_order_of_the_rows_changes_no_bit():
    rows, cache, _ = many()
    names = ["mean", "sd", *BORDER]
    first = measured_of(rows, cache).set_index("image")[names]
    again = measured_of(rows.sample(frac=1, random_state=1), cache).set_index("image")[names]
    pd.testing.assert_frame_equal(again.loc[first.index], first, check_exact=True)


def test_views_are_those_of_the_study_and_metadata_are_those_of_the_file():
    rows, cache, _ = many(7)
    measured = measured_of(rows, cache)
    assert measured["views"].tolist() == [3] * 6 + [1]
    pd.testing.assert_frame_equal(
        measured[list(IMAGE_FEATURES[:4])], cache.images[list(IMAGE_FEATURES[:4])]
    )
    assert (measured["aspect"] * measured["height_px"]).tolist() == pytest.approx(
        measured["width_px"].tolist()
    )


def test_the_frame_is_a_sixteenth_of_each_side_without_the_corners():
    """An image of 64 x 32: 4 columns at left and right, 2 rows above and below."""
    square = np.zeros((64, 64), np.uint8)
    square[16:48] = 10
    square[20:44, 0:4] = square[20:44, 60:64] = 90
    square[16:18, 8:56] = square[46:48, 8:56] = 90
    square[20:44, 2:4] = square[20:44, 60:62] = 30
    row = one_image(square, 640, 320)
    assert row["frame_mean"] == pytest.approx((288 * 90 + 96 * 30) / 384)


SIDE = 32
CORNER = slice(0, 4), slice(0, 4)
MIDDLE = slice(14, 18), slice(14, 18)


def pictures(corner: float, middle: float, seed: int = 0, count: int = 240):
    """Dim noise; a bright corner or middle agrees with the label in such a share of the images."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) // 2 % 2
    pixels = draw.integers(0, 100, (count, SIDE, SIDE), np.uint8)
    for place, share in ((CORNER, corner), (MIDDLE, middle)):
        bright = (labels == 1) == (draw.random(count) < share)
        pixels[bright, place[0], place[1]] += 100
    rows = pd.DataFrame(
        {
            "image": [f"{k:03}.png" for k in range(count)],
            "patient": [f"p{k // 2:03}" for k in range(count)],
            "study": [f"s{k // 2:03}" for k in range(count)],
            "body_part": "HAND",
            "split": np.where(np.arange(count) < count // 3, "val", "test"),
            "label": labels,
        }
    )
    return pixels, rows


def network(corner: float, middle: float):
    """A network on these two regions, weighted."""

    def logits(pixels):
        grey = pixels.astype(float)
        seen = (grey[:, *place].mean((1, 2)) - 100 for place in (CORNER, MIDDLE))
        return sum(weight * part / 50 for weight, part in zip((corner, middle), seen, strict=True))

    return logits


def scored(rows: pd.DataFrame, logits: np.ndarray) -> pd.DataFrame:
    table = rows.assign(logit=logits, probability=expit(logits))
    return table[list(TABLE)].reset_index(drop=True)


def tables(pixels, rows, logits, boxes=None) -> dict[str, pd.DataFrame]:
    test = (rows["split"] == "test").to_numpy()
    if boxes is None:
        boxes = np.tile([0, 0, SIDE, SIDE], (len(rows), 1))
    held_out = (rows["split"] != "train").to_numpy()
    found = {"whole": scored(rows[held_out], logits(pixels[held_out]))}
    for region in REGIONS:
        hidden = logits(mask_region(pixels[test], boxes[test], region))
        found[f"{region}_hidden"] = scored(rows[test], hidden)
    return found


@pytest.fixture(scope="module")
def evaluate(params):
    return params.evaluate.model_copy(update={"bootstrap_replicates": 400})


def evaluated_occlusion(evaluate, eyes, seen, seed: int = 0):
    return evaluate_occlusion(tables(*pictures(*seen, seed), network(*eyes)), evaluate, seed=1)


@pytest.mark.promise("A7")
def test_a_network_that_reads_the_frame_raises_the_alarm(evaluate):
    found = evaluated_occlusion(evaluate, eyes=(1, 0), seen=(0.95, 0.95))
    assert found["finding"] == "frame" and found["flag"]
    assert found["centre_hidden"]["auroc"] == found["whole"]["auroc"]
    assert found["frame_hidden"]["auroc"] == 0.5  # all equal: the corner is black
    assert summarize_occlusion({"cnn": found})["conclusion"] == "alarm"


@pytest.mark.promise("A7")
def test_a_network_that_reads_the_centre_raises_none(evaluate):
    found = evaluated_occlusion(evaluate, eyes=(0, 1), seen=(0.95, 0.95))
    assert found["finding"] == "centre" and not found["flag"]
    assert found["frame_hidden"]["auroc_drop"] == 0
    assert found["centre_hidden"]["auroc_drop_low"] > 0
    assert summarize_occlusion({"cnn": found})["conclusion"] == "no_alarm"


def test_an_informative_frame_is_no_alarm_while_the_centre_is_better(evaluate):
    found = evaluated_occlusion(evaluate, eyes=(1, 1), seen=(0.7, 1.0))
    assert found["centre_hidden"]["auroc_low"] > 0.5
    assert found["finding"] == "both" and not found["flag"]


def test_a_network_that_reads_both_equally_raises_the_alarm(evaluate):
    assert evaluated_occlusion(evaluate, eyes=(1, 1), seen=(0.9, 0.9))["flag"]


@pytest.mark.promise("A6")
@pytest.mark.promise("A7")
def test_networks_without_signal_raise_no_alarm(evaluate):
    """That the whole and the frame alone are above chance happens by chance in about 1 of 40."""
    found = [
        evaluated_occlusion(evaluate, eyes=(1, 1), seen=(0.5, 0.5), seed=seed) for seed in range(8)
    ]
    assert sum(one["flag"] for one in found) <= 1
    weak = [one for one in found if one["finding"] == "weak"]
    assert len(weak) >= 6
    assert summarize_occlusion({"cnn": weak[0]})["conclusion"] == "inconclusive"


@pytest.mark.parametrize(
    ("whole", "centre", "frame", "better", "finding"),
    [
        (0.8, 0.8, 0.4, 0.1, "centre"),
        (0.8, 0.8, 0.6, 0.1, "both"),
        (0.8, 0.8, 0.6, -0.1, "frame"),
        (0.8, 0.4, 0.6, -0.1, "frame"),
        (0.8, 0.4, 0.4, -0.1, "neither"),
        (0.4, 0.8, 0.8, -0.1, "weak"),
        (np.nan, 0.8, 0.8, 0.1, "too_few"),
        (0.8, 0.8, 0.8, np.nan, "too_few"),
    ],
)
def test_the_finding_follows_from_the_lower_limits(whole, centre, frame, better, finding):
    lows = dict(zip(SHOWN, (whole, centre, frame), strict=True))
    found = {name: {"auroc": low + 0.1, "auroc_low": low} for name, low in lows.items()}
    found |= {"centre_minus_frame": better + 0.1, "centre_minus_frame_low": better}
    assert classify_occlusion(found) == finding


def area(labels, values) -> float:
    """AUROC by ranks (Mann and Whitney)."""
    ones = int((labels == 1).sum())
    ranks = rankdata(values)[labels == 1].sum()
    return (ranks - ones * (ones + 1) / 2) / (ones * (len(labels) - ones))


def test_scores_and_drops_are_those_of_studies(evaluate):
    seen = tables(*pictures(0.9, 0.9), network(1, 2))
    found = evaluate_occlusion(seen, evaluate, seed=1)
    areas = {}
    for name, table in seen.items():
        studies = by_study(table[table["split"] == "test"])
        areas[name] = area(studies["label"].to_numpy(), studies["probability"].to_numpy())
    for name, value in areas.items():
        assert found[name]["auroc"] == pytest.approx(value)
        assert found[name]["auroc_drop"] == pytest.approx(areas["whole"] - value)
        assert found[name]["n"] == 80
    difference = areas["frame_hidden"] - areas["centre_hidden"]
    assert found["centre_minus_frame"] == pytest.approx(difference)


def test_the_threshold_is_that_of_whole_images_of_val(evaluate):
    seen = tables(*pictures(0.9, 0.9), network(1, 2))
    _, thresholds = apply_thresholds(seen["whole"], "study", evaluate)
    found = evaluate_occlusion(seen, evaluate, seed=1)
    for name, table in seen.items():
        studies = by_study(table[table["split"] == "test"])
        called = studies["probability"] > thresholds.overall
        right = (called == (studies["label"] == 1)).mean()
        share, truth = called.mean(), (studies["label"] == 1).mean()
        chance = share * truth + (1 - share) * (1 - truth)
        assert found[name]["kappa"] == pytest.approx((right - chance) / (1 - chance))


@pytest.mark.promise("A3")
def test_test_labels_change_no_threshold(evaluate, monkeypatch):
    seen, calls = tables(*pictures(0.9, 0.9), network(1, 2)), []
    inner = shortcuts.differences
    monkeypatch.setattr(
        shortcuts,
        "differences",
        lambda one, two, *rest: (
            calls[-1].append(two["threshold"].tolist()) or inner(one, two, *rest)
        ),
    )
    turned = {
        name: table.assign(
            label=np.where(table["split"] == "test", 1 - table["label"], table["label"])
        )
        for name, table in seen.items()
    }
    for each in (seen, turned):
        calls.append([])
        evaluate_occlusion(each, evaluate, seed=1)
    assert calls[0] == calls[1] and len(calls[0]) == 4


def test_the_drop_is_paired_and_the_whole_loses_nothing(evaluate):
    found = evaluated_occlusion(evaluate, eyes=(1, 1), seen=(0.8, 0.8))
    assert {found["whole"][f"auroc_drop{end}"] for end in ("", "_low", "_high")} == {0.0}
    half = found["frame_hidden"]
    width = half["auroc_drop_high"] - half["auroc_drop_low"]
    alone = [one["auroc_high"] - one["auroc_low"] for one in (found["whole"], half)]
    assert width < np.hypot(*alone)


def test_other_images_are_refused(evaluate):
    seen = tables(*pictures(0.9, 0.9), network(1, 1))
    seen["frame_hidden"] = seen["frame_hidden"].iloc[1:]
    with pytest.raises(InputError, match="frame_hidden .*'080.png'"):
        evaluate_occlusion(seen, evaluate, seed=1)


def test_too_few_patients_get_no_number_and_no_alarm(evaluate):
    few = evaluate.model_copy(update={"min_patients": 500})
    found = evaluated_occlusion(few, eyes=(1, 0), seen=(1.0, 0.5))
    assert found["finding"] == "too_few" and not found["flag"]
    assert np.isnan([found["whole"]["auroc"], found["frame_hidden"]["auroc_drop"]]).all()
    assert summarize_occlusion({"cnn": found})["conclusion"] == "inconclusive"


def test_the_table_has_a_row_for_each_network_and_half(evaluate):
    found = evaluated_occlusion(evaluate, eyes=(1, 1), seen=(0.8, 0.9))
    table = tabulate_occlusion({"cnn": found, "densenet169": found})
    assert list(table.columns) == list(OCCLUSION_COLUMNS)
    assert list(zip(table["network"], table["shown"], strict=True)) == [
        (network, shown) for network in ("cnn", "densenet169") for shown in SHOWN
    ]
    assert table["auroc"].iloc[1] == found["frame_hidden"]["auroc"]


def test_one_alarm_is_enough(evaluate):
    frame = evaluated_occlusion(evaluate, eyes=(1, 0), seen=(0.9, 0.9))
    centre = evaluated_occlusion(evaluate, eyes=(0, 1), seen=(0.9, 0.9))
    summary = summarize_occlusion({"cnn": centre, "densenet169": frame})
    assert summary["flag"] and summary["conclusion"] == "alarm"


def test_the_example_is_an_abnormal_image_as_the_networks_see_it():
    pixels, rows = pictures(1.0, 1.0)
    size = {"row": range(len(rows)), "width_px": 640, "height_px": 320}
    shown = occlusion_example(rows.assign(**size), {"HAND": pixels}, "pad")
    np.testing.assert_array_equal(shown["whole"], pixels[2])  # the first that is abnormal
    assert (shown["frame_hidden"][16, 16], shown["centre_hidden"][16, 16]) == (pixels[2, 16, 16], 0)
    np.testing.assert_array_equal(
        shown["whole"][8:24], shown["frame_hidden"][8:24] | shown["centre_hidden"][8:24]
    )
    np.testing.assert_array_equal(shown["frame_hidden"][:8], pixels[2, :8])  # padding is left


def tables_of_one_layer(rows, cache):
    """A network of one layer on the brightest pixel of each patch of 4 x 4, fitted on train."""
    pixels = cache.gather_samples(rows)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))

    def features(pixels):
        return pixels.reshape(len(pixels), 12, 4, 12, 4).max((2, 4)).reshape(len(pixels), -1)

    train = (rows["split"] == "train").to_numpy()
    model.fit(features(pixels[train]), rows.loc[train, "label"])
    sizes = rows[["image"]].merge(cache.images, on="image")
    boxes = content_boxes(sizes, cache.size_px, "pad")
    return tables(pixels, rows, lambda seen: model.decision_function(features(seen)), boxes)


@pytest.mark.promise("A7")
def test_a_network_trained_on_a_synthetic_marker_raises_the_alarm(caches, evaluate):
    found = evaluate_occlusion(tables_of_one_layer(*caches[True]), evaluate, seed=1)
    assert found["flag"]
    assert found["frame_hidden"]["kappa_drop_low"] > 0


@pytest.mark.promise("A7")
def test_the_same_network_without_the_marker_raises_none(caches, evaluate):
    assert not evaluate_occlusion(tables_of_one_layer(*caches[False]), evaluate, seed=1)["flag"]

"""Which half of a picture a network needs: told of toy networks whose eyes are known."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ulna.checks import occlusion
from ulna.checks.occlusion import (
    COLUMNS,
    SHOWN,
    find,
    judge_hidden,
    show_example,
    summarize,
    tabulate,
)
from ulna.data.cache import Cache, build_cache, gather, load_cache
from ulna.data.images import REGIONS, content_boxes, mask_region
from ulna.data.mura import read_index
from ulna.data.samples import join_samples
from ulna.data.source import open_root
from ulna.data.splits import assign_splits
from ulna.errors import InputError
from ulna.judging.evaluation import decided
from ulna.params import Phantom
from ulna.phantom.tree import write_phantom
from ulna.predictions import COLUMNS as TABLE
from ulna.predictions import by_study

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
    """A network that looks at these two places, each as much as its weight says."""

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
    judged = rows["split"] != "train"
    found = {"whole": scored(rows[judged], logits(pixels[judged]))}
    for region in REGIONS:
        hidden = logits(mask_region(pixels[test], boxes[test], region))
        found[f"{region}_hidden"] = scored(rows[test], hidden)
    return found


@pytest.fixture(scope="module")
def evaluate(params):
    return params.evaluate.model_copy(update={"bootstrap_draws": 400})


def judged(evaluate, eyes, seen, seed: int = 0):
    return judge_hidden(tables(*pictures(*seen, seed), network(*eyes)), evaluate, seed=1)


@pytest.mark.promise("A7")
def test_a_network_that_reads_the_frame_raises_the_alarm(evaluate):
    found = judged(evaluate, eyes=(1, 0), seen=(0.95, 0.95))
    assert found["finding"] == "frame" and found["flag"]
    assert found["centre_hidden"]["auroc"] == found["whole"]["auroc"]
    assert found["frame_hidden"]["auroc"] == 0.5  # all equal: the corner is black
    assert summarize({"cnn": found})["conclusion"] == "alarm"


@pytest.mark.promise("A7")
def test_a_network_that_reads_the_centre_raises_none(evaluate):
    found = judged(evaluate, eyes=(0, 1), seen=(0.95, 0.95))
    assert found["finding"] == "centre" and not found["flag"]
    assert found["frame_hidden"]["auroc_drop"] == 0
    assert found["centre_hidden"]["auroc_drop_low"] > 0
    assert summarize({"cnn": found})["conclusion"] == "no_alarm"


def test_a_frame_that_tells_something_is_no_alarm_while_the_centre_tells_more(evaluate):
    found = judged(evaluate, eyes=(1, 1), seen=(0.7, 1.0))
    assert found["centre_hidden"]["auroc_low"] > 0.5
    assert found["finding"] == "both" and not found["flag"]


def test_a_network_that_reads_both_alike_raises_the_alarm(evaluate):
    assert judged(evaluate, eyes=(1, 1), seen=(0.9, 0.9))["flag"]


@pytest.mark.promise("A6")
@pytest.mark.promise("A7")
def test_networks_without_signal_raise_no_alarm(evaluate):
    """That the whole and the frame alone are above chance happens by chance in about 1 of 40."""
    found = [judged(evaluate, eyes=(1, 1), seen=(0.5, 0.5), seed=seed) for seed in range(8)]
    assert sum(one["flag"] for one in found) <= 1
    weak = [one for one in found if one["finding"] == "weak"]
    assert len(weak) >= 6
    assert summarize({"cnn": weak[0]})["conclusion"] == "inconclusive"


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
def test_what_is_found_follows_from_the_lower_ends(whole, centre, frame, better, finding):
    lows = dict(zip(SHOWN, (whole, centre, frame), strict=True))
    found = {name: {"auroc": low + 0.1, "auroc_low": low} for name, low in lows.items()}
    found |= {"centre_minus_frame": better + 0.1, "centre_minus_frame_low": better}
    assert find(found) == finding


def area(labels, values) -> float:
    """AUROC by ranks (Mann and Whitney)."""
    ones = int((labels == 1).sum())
    ranks = rankdata(values)[labels == 1].sum()
    return (ranks - ones * (ones + 1) / 2) / (ones * (len(labels) - ones))


def test_scores_and_drops_are_those_of_studies(evaluate):
    seen = tables(*pictures(0.9, 0.9), network(1, 2))
    found = judge_hidden(seen, evaluate, seed=1)
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


def test_the_threshold_is_that_of_whole_pictures_of_val(evaluate):
    seen = tables(*pictures(0.9, 0.9), network(1, 2))
    _, thresholds = decided(seen["whole"], "study", evaluate)
    found = judge_hidden(seen, evaluate, seed=1)
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
    inner = occlusion.differences
    monkeypatch.setattr(
        occlusion,
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
        judge_hidden(each, evaluate, seed=1)
    assert calls[0] == calls[1] and len(calls[0]) == 4


def test_the_drop_is_paired_and_the_whole_loses_nothing(evaluate):
    found = judged(evaluate, eyes=(1, 1), seen=(0.8, 0.8))
    assert {found["whole"][f"auroc_drop{end}"] for end in ("", "_low", "_high")} == {0.0}
    half = found["frame_hidden"]
    width = half["auroc_drop_high"] - half["auroc_drop_low"]
    alone = [one["auroc_high"] - one["auroc_low"] for one in (found["whole"], half)]
    assert width < np.hypot(*alone)


def test_other_images_are_refused(evaluate):
    seen = tables(*pictures(0.9, 0.9), network(1, 1))
    seen["frame_hidden"] = seen["frame_hidden"].iloc[1:]
    with pytest.raises(InputError, match="frame_hidden .*'080.png'"):
        judge_hidden(seen, evaluate, seed=1)


def test_too_few_patients_get_no_number_and_no_alarm(evaluate):
    few = evaluate.model_copy(update={"min_patients": 500})
    found = judged(few, eyes=(1, 0), seen=(1.0, 0.5))
    assert found["finding"] == "too_few" and not found["flag"]
    assert np.isnan([found["whole"]["auroc"], found["frame_hidden"]["auroc_drop"]]).all()
    assert summarize({"cnn": found})["conclusion"] == "inconclusive"


def test_the_table_has_a_row_for_each_network_and_half(evaluate):
    found = judged(evaluate, eyes=(1, 1), seen=(0.8, 0.9))
    table = tabulate({"cnn": found, "densenet169": found})
    assert list(table.columns) == list(COLUMNS)
    assert list(zip(table["network"], table["shown"], strict=True)) == [
        (network, shown) for network in ("cnn", "densenet169") for shown in SHOWN
    ]
    assert table["auroc"].iloc[1] == found["frame_hidden"]["auroc"]


def test_one_alarm_is_enough(evaluate):
    frame = judged(evaluate, eyes=(1, 0), seen=(0.9, 0.9))
    centre = judged(evaluate, eyes=(0, 1), seen=(0.9, 0.9))
    summary = summarize({"cnn": centre, "densenet169": frame})
    assert summary["flag"] and summary["conclusion"] == "alarm"


def test_the_example_is_an_abnormal_picture_as_the_networks_see_it():
    pixels, rows = pictures(1.0, 1.0)
    size = {"row": range(len(rows)), "width_px": 640, "height_px": 320}
    cache = Cache(rows.assign(**size), pd.DataFrame(), {"HAND": pixels})
    shown = show_example(rows, cache, "pad")
    np.testing.assert_array_equal(shown["whole"], pixels[2])  # the first that is abnormal
    assert (shown["frame_hidden"][16, 16], shown["centre_hidden"][16, 16]) == (pixels[2, 16, 16], 0)
    np.testing.assert_array_equal(
        shown["whole"][8:24], shown["frame_hidden"][8:24] | shown["centre_hidden"][8:24]
    )
    np.testing.assert_array_equal(shown["frame_hidden"][:8], pixels[2, :8])  # padding is left


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory, params):
    """The same small phantom without and with a corner marker on abnormal images."""
    found = {}
    for planted in (False, True):
        folder = tmp_path_factory.mktemp("phantom")
        root = folder / "MURA-v1.1.zip"
        phantom = Phantom(seed=1, patients=60, marker_shortcut=planted)
        write_phantom(root, phantom, workers=1)
        images = read_index(open_root(root))
        image = params.image.model_copy(update={"size_px": 48})
        build_cache(images, root, folder / "cache", image, workers=1)
        cache = load_cache(folder / "cache")
        found[planted] = cache, join_samples(images, assign_splits(images, 0.2, 2017), cache)
    return found


def learnt(cache, rows):
    """A network of one layer on the brightest pixel of each patch of 4 x 4, fitted on train."""
    pixels = gather(cache, rows["body_part"].to_numpy(object), rows["row"].to_numpy())
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))

    def features(pixels):
        return pixels.reshape(len(pixels), 12, 4, 12, 4).max((2, 4)).reshape(len(pixels), -1)

    train = (rows["split"] == "train").to_numpy()
    model.fit(features(pixels[train]), rows.loc[train, "label"])
    sizes = rows[["image"]].merge(cache.images, on="image")
    boxes = content_boxes(sizes, cache.size_px, "pad")
    return tables(pixels, rows, lambda seen: model.decision_function(features(seen)), boxes)


@pytest.mark.promise("A7")
def test_a_network_that_learnt_a_planted_marker_raises_the_alarm(phantoms, evaluate):
    found = judge_hidden(learnt(*phantoms[True]), evaluate, seed=1)
    assert found["flag"]
    assert found["frame_hidden"]["kappa_drop_low"] > 0


@pytest.mark.promise("A7")
def test_the_same_network_without_the_marker_raises_none(phantoms, evaluate):
    assert not judge_hidden(learnt(*phantoms[False]), evaluate, seed=1)["flag"]

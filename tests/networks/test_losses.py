import math

import numpy as np
import pandas as pd
import pytest

from ulna.core import InputError
from ulna.networks.losses import balanced_weights, build_loss, image_weights, paper_weights

GAMMA, ALPHA = 2.0, 0.25
# MURA v1.1, official train, images normal / abnormal (counted from its CSV files).
MURA = {"ELBOW": (2925, 2006), "SHOULDER": (4211, 4168), "HAND": (4059, 1484)}


def mura() -> pd.DataFrame:
    parts = [
        pd.DataFrame({"body_part": part, "label": [0] * normal + [1] * abnormal})
        for part, (normal, abnormal) in MURA.items()
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("part", MURA)
@pytest.mark.fault("class weights")
def test_paper_weights_are_the_fraction_with_the_other_label(part):
    normal, abnormal = MURA[part]
    weights = paper_weights(mura())
    assert weights[part, 1] == pytest.approx(normal / (normal + abnormal))
    assert weights[part, 0] == pytest.approx(abnormal / (normal + abnormal))
    assert weights[part, 1] > weights[part, 0]


def test_paper_weights_give_mixed_labels_of_a_part_the_same_sum():
    train = mura()
    train["weight"] = image_weights(train, train, "weighted_bce", "none").astype(float)
    sums = train.groupby(["body_part", "label"])["weight"].sum().unstack()
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-5)


def test_balanced_weights_give_mixed_labels_the_same_sum_and_a_mean_of_1():
    train = mura()
    weights = image_weights(train, train, "bce", "balanced").astype(float)
    assert weights[train["label"] == 0].sum() == pytest.approx(weights[train["label"] == 1].sum())
    assert weights.mean() == pytest.approx(1)
    assert balanced_weights(train)[1] > balanced_weights(train)[0]


def test_validation_images_get_weights_counted_on_train():
    train = mura()
    val = pd.DataFrame({"body_part": ["HAND"] * 3, "label": [1, 1, 1]})
    weights = image_weights(val, train, "weighted_bce", "none")
    np.testing.assert_allclose(weights, 4059 / (4059 + 1484), rtol=1e-6)


@pytest.mark.parametrize("missing", ["train", "label"])
def test_a_body_part_without_mixed_labels_in_train_is_named(missing):
    train = mura()
    hands = train["body_part"] == "HAND"
    train = train[~hands if missing == "train" else ~hands | (train["label"] == 0)]
    # The weights are those of more than one stage.
    with pytest.raises(InputError, match=r"HAND.*train\.body_parts.*transfer\.train_on"):
        image_weights(mura(), train, "weighted_bce", "none")


@pytest.mark.parametrize("loss", ["bce", "focal"])
def test_without_class_weights_every_image_counts_the_same(loss):
    np.testing.assert_array_equal(image_weights(mura(), mura(), loss, "none"), 1)


LOGITS = np.array([[-2.0], [0.0], [3.0], [0.5]], np.float32)
LABELS = np.array([[0.0], [1.0], [1.0], [0.0]], np.float32)


def by_hand(term) -> float:
    terms = []
    for logit, label in zip(LOGITS.ravel(), LABELS.ravel(), strict=True):
        abnormal = 1 / (1 + math.exp(-logit))
        terms.append(term(abnormal if label else 1 - abnormal, label))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("loss", ["bce", "weighted_bce"])
def test_cross_entropy_is_that_of_logits(loss):
    expected = by_hand(lambda p, label: -math.log(p))
    assert float(build_loss(loss, GAMMA, ALPHA)(LABELS, LOGITS)) == pytest.approx(
        expected, rel=1e-5
    )


def test_focal_loss_keeps_to_the_formula_of_its_paper():
    """Lin et al. 2017, equation 5: -alpha_t (1 - p_t)^gamma log p_t."""
    expected = by_hand(lambda p, label: -(0.25 if label else 0.75) * (1 - p) ** 2 * math.log(p))
    assert float(build_loss("focal", GAMMA, ALPHA)(LABELS, LOGITS)) == pytest.approx(
        expected, rel=1e-5
    )


def test_weights_multiply_the_loss_of_their_image():
    loss = build_loss("weighted_bce", GAMMA, ALPHA)
    weights = np.array([0.0, 0.0, 0.0, 2.0], np.float32)
    alone = float(loss(LABELS[3:], LOGITS[3:]))
    assert float(loss(LABELS, LOGITS, sample_weight=weights)) == pytest.approx(2 * alone / 4)

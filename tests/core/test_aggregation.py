"""Views to a study, without pandas and scipy; `by_study` is tested in test_predictions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from ulna.core.aggregation import AGGREGATIONS, aggregate, sigmoid


@given(st.floats(-750, 750))
def test_the_sigmoid_is_scipys(logit):
    assert sigmoid(logit) == pytest.approx(float(expit(logit)), rel=1e-14, abs=1e-300)


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=6), st.randoms())
def test_the_order_of_the_views_changes_no_bit(logits, random):
    shuffled = random.sample(logits, len(logits))
    for aggregation in AGGREGATIONS:
        one, other = (
            aggregate(views, [sigmoid(view) for view in views], aggregation)
            for views in (logits, shuffled)
        )
        assert one == other


def test_each_by_hand():
    logits = [-1.0, 2.0]
    views = [sigmoid(logit) for logit in logits]
    assert aggregate(logits, views, "mean_probability") == sum(views) / 2
    assert aggregate(logits, views, "max") == views[1]
    assert aggregate(logits, views, "mean_logit") == pytest.approx(1 / (1 + math.exp(-0.5)))
    exact = 1 - (1 - Fraction(views[0])) * (1 - Fraction(views[1]))
    assert aggregate(logits, views, "noisy_or") == pytest.approx(float(exact), rel=1e-15)
    assert aggregate([np.inf, 0.0], [1.0, 0.5], "noisy_or") == 1

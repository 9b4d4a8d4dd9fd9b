import keras
import numpy as np
import pytest
from spots import SIDE, table

from ulna.networks.inference import predict_images
from ulna.networks.models import build_network
from ulna.predictions import check_predictions


@pytest.fixture(scope="module")
def model(params) -> keras.Model:
    return build_network(SIDE, params.cnn.model_copy(update={"filters": (4, 8)}))


@pytest.mark.fault("few batches")
def test_every_image_is_scored_once_in_the_order_of_the_rows(model):
    cache, rows = table(70, 1)
    scored = predict_images(model, cache, rows)
    check_predictions(scored, "predictions")
    assert list(scored["image"]) == list(rows["image"])
    alone = model.predict_on_batch(cache.arrays["WRIST"][69:70, :, :, None])
    assert scored["logit"].iloc[69] == pytest.approx(float(alone[0, 0]), abs=1e-5)


def test_a_score_does_not_depend_on_the_order_of_the_rows(model):
    cache, rows = table(40, 1)
    turned = predict_images(model, cache, rows.iloc[::-1].reset_index(drop=True))
    straight = predict_images(model, cache, rows)
    np.testing.assert_allclose(turned["logit"][::-1], straight["logit"], atol=1e-5)


def test_probabilities_are_of_the_logits(model):
    cache, rows = table(5, 1)
    scored = predict_images(model, cache, rows)
    np.testing.assert_allclose(scored["probability"], 1 / (1 + np.exp(-scored["logit"])))

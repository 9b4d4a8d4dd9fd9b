import keras
import numpy as np
import pytest
from spots import SIDE, table

from ulna.core.predictions import check_predictions
from ulna.data import Cache
from ulna.data.images import hide_region
from ulna.data.samples import join_measurements
from ulna.networks.graph import make_predict_fn
from ulna.networks.models import build_network
from ulna.networks.predict import predict_images, score_images


@pytest.fixture(scope="module")
def model(params) -> keras.Model:
    return build_network("cnn", SIDE, params.cnn.model_copy(update={"filters": (4, 8)}))


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


def sized(width_px: int, height_px: int):
    cache, rows = table(40, 1)
    files = cache.images.assign(width_px=width_px, height_px=height_px)
    return Cache(files, cache.rejected, cache.arrays), rows


def score_hidden(model, cache, rows, region, fit):
    hide = hide_region(join_measurements(rows, cache), cache.size_px, fit, region)
    return score_images(make_predict_fn(model), cache, rows, "test", hide)


@pytest.mark.parametrize("region", ["frame", "centre"])
def test_a_hidden_region_is_scored_as_an_image_that_is_black_there(model, region):
    """The centre of 32 x 32 is 23 x 22 = 506 pixels of 1,024; the black is drawn by hand."""
    cache, rows = sized(100, 100)
    centre = np.zeros((SIDE, SIDE), bool)
    centre[4:27, 5:27] = True
    seen = np.where(centre == (region == "frame"), cache.arrays["WRIST"], np.uint8(0))
    by_hand = predict_images(model, Cache(cache.images, cache.rejected, {"WRIST": seen}), rows)
    hidden = score_hidden(model, cache, rows, region, "pad")
    np.testing.assert_allclose(hidden["logit"], by_hand["logit"], atol=1e-5)
    whole = predict_images(model, cache, rows)
    assert (hidden["logit"] != whole["logit"]).all()


def test_each_row_is_hidden_in_its_own_content_box(model):
    """Wide images leave padding above and below: rows in another order, other boxes."""
    cache, rows = sized(100, 50)
    files = cache.images.assign(height_px=np.where(np.arange(40) < 20, 50, 100))
    cache = Cache(files, cache.rejected, cache.arrays)
    turned = rows.iloc[::-1].reset_index(drop=True)
    one, other = (score_hidden(model, cache, each, "centre", "pad") for each in (rows, turned))
    np.testing.assert_allclose(one["logit"], other["logit"][::-1], atol=1e-5)
    stretched = score_hidden(model, cache, rows, "centre", "stretch")
    same = np.isclose(one["logit"], stretched["logit"], atol=1e-6)
    assert not same[:20].any() and same[20:].all()

import numpy as np
import pandas as pd
import pytest
from bundles import tiny_logit, tiny_map, tiny_onnx

from ulna.core import InputError
from ulna.data import Cache
from ulna.evaluation.parity import (
    REDUCED_PRECISION,
    SINGLE_PRECISION,
    check_logits,
    check_maps,
    choose_evenly,
    choose_limits,
    run_model,
)

SIDE = 32


def images(logits) -> pd.DataFrame:
    names = [f"{k}.png" for k in range(len(logits))]
    return pd.DataFrame({"image": names, "logit": logits})


def test_a_model_is_run_on_all_images_in_their_order():
    """Two body parts, more than two batches, in an order that is not the cache's."""
    draw = np.random.default_rng(1)
    arrays = {part: draw.integers(0, 256, (12, SIDE, SIDE), np.uint8) for part in ("HAND", "WRIST")}
    rows = pd.DataFrame({"body_part": ["HAND", "WRIST"] * 10, "row": [*range(11, 1, -1)] * 2})
    cache = Cache(rows, rows[:0], arrays)
    found = run_model(tiny_onnx(SIDE, maps=True), cache, rows, "test")
    squares = [arrays[part][row] for part, row in rows.itertuples(index=False)]
    np.testing.assert_allclose(found["logit"][:, 0], list(map(tiny_logit, squares)), atol=1e-5)
    np.testing.assert_allclose(found["map"], list(map(tiny_map, squares)), atol=1e-5)


def test_images_are_chosen_at_even_distances():
    chosen = choose_evenly(images(range(101)), 5)
    assert chosen["logit"].tolist() == [0, 25, 50, 75, 100]
    assert choose_evenly(images(range(3)), 5)["logit"].tolist() == [0, 1, 2]


def test_the_largest_difference_of_logits_is_measured():
    found = np.array([[1.0], [-1.00005], [0.5]])
    gap = check_logits(found, images([1.0, -1.0, 0.50001]), SINGLE_PRECISION, "cnn")
    assert gap == pytest.approx(5e-5)


def test_the_limit_grows_with_the_largest_logit():
    """4e-4 is let through at a logit of 8, and not at one of 2."""
    assert check_logits(np.array([[8.0004]]), images([8.0]), SINGLE_PRECISION, "cnn")
    with pytest.raises(InputError):
        check_logits(np.array([[2.0004]]), images([2.0]), SINGLE_PRECISION, "cnn")


@pytest.mark.parametrize("off", [0.1, np.nan])
def test_a_file_that_computes_something_else_is_refused_by_image(off):
    found = np.array([[0.0], [off], [0.0]])
    match = "the logit of cnn/model.onnx is off by .* of 1 of 3 images, the first is 1.png"
    with pytest.raises(InputError, match=match):
        check_logits(found, images([0.0, 0.0, 0.0]), SINGLE_PRECISION, "cnn/model.onnx")


def test_maps_are_compared_by_the_range_of_all():
    expected = np.zeros((2, 3, 3), np.float32)
    expected[0, 0, 0], expected[1, 2, 2] = -1, 3
    found = expected.copy()
    found[1, 1, 1] += 0.02
    assert check_maps(found, expected, images([0, 0]), SINGLE_PRECISION, "") == pytest.approx(0.005)
    found[1, 1, 1] += 0.04
    with pytest.raises(InputError, match=r"the map of cnn is off by 0.015 .* the first is 1.png"):
        check_maps(found, expected, images([0, 0]), SINGLE_PRECISION, "cnn")


def test_maps_of_zeros_must_stay_zeros():
    flat = np.zeros((1, 2, 2), np.float32)
    assert check_maps(flat, flat, images([0]), SINGLE_PRECISION, "cnn") == 0
    with pytest.raises(InputError):
        check_maps(flat + 0.1, flat, images([0]), SINGLE_PRECISION, "cnn")


def test_maps_of_another_layer_are_refused():
    with pytest.raises(InputError, match=r"maps of cnn have the shape \(3, 3\), .* \(6, 6\)"):
        check_maps(np.ones((1, 3, 3)), np.ones((1, 6, 6)), images([0]), SINGLE_PRECISION, "cnn")


HERE = {"environment": {"device": "CPU", "fingerprint": "f"}, "predicted_on": "f"}


@pytest.mark.parametrize(
    ("mixed_precision", "changes", "limits"),
    [
        ("none", {}, SINGLE_PRECISION),
        ("bfloat16", {}, REDUCED_PRECISION),
        ("none", {"environment": {"device": "NVIDIA H100", "fingerprint": "f"}}, REDUCED_PRECISION),
        ("none", {"predicted_on": "another"}, REDUCED_PRECISION),
        ("none", {"environment": None, "predicted_on": None}, REDUCED_PRECISION),
    ],
)
def test_only_a_table_known_to_be_of_single_precision_has_the_strict_limits(
    mixed_precision, changes, limits
):
    assert choose_limits(mixed_precision, HERE | changes) == limits

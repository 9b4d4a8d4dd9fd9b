import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ulna.core import InputError
from ulna.data.images import content_box, letterbox
from ulna.inference import reference as module
from ulna.inference.measures import MEASURES, measure_square
from ulna.inference.reference import (
    GROUP_IMAGES,
    MIN_IMAGES,
    distance,
    find_oddities,
    fit_reference,
    parse_reference,
)
from ulna.phantom.tree import draw_view, plan_studies, plan_views

SIZE_PX = 96


def squared(pictures):
    squares = np.array([letterbox(picture, SIZE_PX, "pad") for picture in pictures])
    boxes = [content_box(p.shape[1], p.shape[0], SIZE_PX, "pad") for p in pictures]
    return squares, np.array(boxes)


def scenes(count: int, seed: int) -> list[np.ndarray]:
    """Dark pictures with a bright bar and noise, quickly made."""
    random = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        width = int(random.integers(60, 110))
        picture = random.normal(random.uniform(20, 50), random.uniform(3, 8), (120, width))
        start, thick = random.integers(10, width // 2), random.integers(8, 25)
        picture[:, start : start + thick] += random.uniform(80, 150)
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return pictures


@pytest.fixture(scope="module")
def fitted():
    return fit_reference(*squared(scenes(500, seed=1)))


def codes(reference, pictures, polarity_known=False):
    squares, boxes = squared(pictures)
    measures = np.stack([measure_square(s, b) for s, b in zip(squares, boxes, strict=True)])
    return find_oddities(reference, measures, [polarity_known] * len(measures))


def share(code, found):
    return np.mean([code in each for each in found])


def test_a_reference_is_json_and_the_same_each_time(fitted):
    again = fit_reference(*squared(scenes(500, seed=1)))
    assert json.dumps(again, allow_nan=False) == json.dumps(fitted, allow_nan=False)
    assert fitted["images"] == 500 and fitted["measures"] == list(MEASURES)
    parsed = parse_reference(json.loads(json.dumps(fitted)))
    assert parsed.far_distance > 0 and parsed.inverted_ratio >= 1


def test_it_holds_no_image(fitted):
    """Each row of groups is a mean of several images; quantiles are of all of them."""
    squares, boxes = squared(scenes(500, seed=1))
    white = module._scores(
        np.array(fitted["quantiles"]),
        np.array([measure_square(s, b) for s, b in zip(squares, boxes, strict=True)]),
    ) @ np.array(fitted["whitening"])
    groups = np.array(fitted["groups"])
    nearest = module._squared(white, groups).argmin(axis=1)
    sizes = np.bincount(nearest, minlength=len(groups))
    assert sizes.sum() == 500 and sizes.min() >= GROUP_IMAGES - 1
    assert module._squared(white, groups).min() > 0.1


def test_any_iterable_of_squares_will_do(fitted):
    squares, boxes = squared(scenes(500, seed=1))
    assert fit_reference((square for square in squares), boxes.tolist()) == fitted


def test_too_few_images_give_no_reference():
    squares, boxes = squared(scenes(MIN_IMAGES - 1, seed=1))
    assert fit_reference(squares, boxes) is None


def test_the_distance_is_mahalanobis(fitted):
    """By the textbook, of the normal scores by interpolation of NumPy's."""
    reference = parse_reference(fitted)
    squares, boxes = squared(scenes(1, seed=5))
    measures = measure_square(squares[0], boxes[0])
    scores = [
        np.interp(value, levels + np.arange(len(levels)) * 1e-9, module.SCORES)
        for value, levels in zip(measures, reference.quantiles, strict=True)
    ]
    # whitening is the factor of the inverse covariance.
    precision = reference.whitening @ reference.whitening.T
    means = reference.groups @ np.linalg.inv(reference.whitening)
    expected = min(np.sqrt((scores - mean) @ precision @ (scores - mean)) for mean in means)
    twice = distance(reference, np.stack([measures, measures]))
    assert twice == pytest.approx([expected, expected])


def test_new_images_of_the_same_kind_are_near_and_their_inverses_far(fitted):
    reference = parse_reference(fitted)
    new = scenes(150, seed=2)
    found = codes(reference, new)
    assert share("unlike_training_images", found) <= 0.06
    assert share("maybe_inverted", found) == 0
    inverted = codes(reference, [255 - picture for picture in new])
    assert share("maybe_inverted", inverted) >= 0.9
    known = codes(reference, [255 - picture for picture in new], polarity_known=True)
    assert share("maybe_inverted", known) == 0 and share("unlike_training_images", known) >= 0.9


def other_pictures():
    """What people drop on a page by mistake."""
    random = np.random.default_rng(3)
    page = Image.new("L", (600, 800), 255)
    for line in range(40, 760, 16):
        ImageDraw.Draw(page).text((40, line), "The quick brown fox jumps over " * 2, fill=10)
    waves = np.add.outer(np.sin(np.arange(300) / 9), np.cos(np.arange(400) / 23))
    return {
        "text": np.asarray(page),
        "noise": random.integers(0, 256, (300, 400)).astype(np.uint8),
        "waves": ((waves + 2) * 63).astype(np.uint8),
        "black": np.zeros((300, 200), np.uint8),
        "white": np.full((300, 200), 255, np.uint8),
        "ramp": np.tile(np.arange(256, dtype=np.uint8), (200, 1)),
        "pixel": np.full((1, 1), 90, np.uint8),
    }


@pytest.mark.parametrize("kind", other_pictures())
def test_what_is_no_radiograph_is_unlike_the_training_images(fitted, kind):
    (found,) = codes(parse_reference(fitted), [other_pictures()[kind]])
    assert "unlike_training_images" in found


@pytest.mark.slow
def test_phantoms_are_known_again():
    views = [view for view in plan_views(plan_studies(3, patients=200), seed=3)]
    views = [view for view in views if view.quality == "ok"]
    random = np.random.default_rng(0)
    pictures = [
        draw_view(views[place], seed=3)[0] for place in random.permutation(len(views))[:450]
    ]
    reference = parse_reference(fit_reference(*squared(pictures[:300])))
    new = pictures[300:]
    found = codes(reference, new)
    assert share("unlike_training_images", found) <= 0.06
    assert share("maybe_inverted", found) <= 0.01
    assert share("maybe_inverted", codes(reference, [255 - p for p in new])) >= 0.9
    assert share("unlike_training_images", codes(reference, other_pictures().values())) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"measures": ["mean"]},
        {"groups": []},
        {"groups": [[0.0, 1.0]]},
        {"quantiles": [[0.0] * 19]},
        {"whitening": "none"},
        {"far_distance": None},
    ],
)
def test_a_reference_of_another_version_is_refused(fitted, change):
    with pytest.raises(InputError, match="describes its training images otherwise"):
        parse_reference(fitted | change)
    with pytest.raises(InputError, match="describes its training images otherwise"):
        parse_reference({key: value for key, value in fitted.items() if key not in change})

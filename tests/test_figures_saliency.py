import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts
from matplotlib.colors import to_rgba

from ulna.figures.saliency import BOX_COLOUR, STRONGEST, saliency_gallery
from ulna.judging import conclusions
from ulna.maps.gallery import OUTCOMES

CHECK = {
    "passed": False, "images": 32, "head_limit": 0.7, "all_limit": 0.5,
    "rank_correlation": {"head": 0.71, "block1": 0.49},
}  # fmt: skip


def gallery(*cells, box=(np.nan,) * 4):
    rows = [(part, label, outcome, 0.25, 4.0, 6.0, *box) for part, label, outcome in cells]
    columns = ["body_part", "label", "outcome", "probability", "map_x_px", "map_y_px"]
    return pd.DataFrame(rows, columns=[*columns, "x0", "y0", "x1", "y1"])


ALL = [
    (part, label, outcome)
    for part in ("ELBOW", "SHOULDER")
    for label, outcome in zip((1, 0, 1, 0), OUTCOMES, strict=True)
]


def drawn(table, maps=True, arch="cnn"):
    draw = np.random.default_rng(1)
    pixels = draw.integers(0, 256, (len(table), 8, 8), np.uint8)
    values = draw.normal(size=pixels.shape) if maps else None
    return saliency_gallery(arch, table, pixels, values, CHECK), pixels, values


@pytest.mark.parametrize("arch", ["cnn", "densenet169"])
@pytest.mark.parametrize("maps", [True, False])
def test_no_text_is_cut_or_lies_on_another(arch, maps):
    assert_legible(drawn(gallery(*ALL, box=(1, 1, 3, 3)), maps, arch)[0])
    many = gallery(*((f"PART{k}", 0, OUTCOMES[k % 4]) for k in range(7)))
    assert_legible(drawn(many, maps, arch)[0])


def test_every_picture_lies_under_its_map_with_its_highest_point_and_box():
    figure, pixels, maps = drawn(gallery(*ALL, box=(1, 2, 4, 6)))
    for axis, picture, one in zip(figure.axes, pixels, maps, strict=True):
        below, above = (np.asarray(image.get_array()) for image in axis.images)
        assert (below == picture).all()
        orange = above[..., 0] > 0.5
        assert (orange == (one > 0)).all()
        [point] = axis.lines
        assert (point.get_xdata()[0], point.get_ydata()[0]) == (3.5, 5.5)
        [box] = axis.patches
        assert box.get_bbox().extents.tolist() == [0.5, 1.5, 3.5, 5.5]


def test_opacity_means_the_same_in_all_pictures():
    table = gallery(*ALL)
    maps = np.ones((8, 8, 8)) * np.arange(1, 9)[:, None, None]
    figure = saliency_gallery("cnn", table, np.zeros((8, 8, 8), np.uint8), maps, CHECK)
    opacity = [np.asarray(axis.images[1].get_array())[0, 0, 3] for axis in figure.axes]
    np.testing.assert_allclose(opacity, STRONGEST * np.arange(1, 9) / 8)


def test_a_map_of_zeros_is_transparent():
    table = gallery(*ALL)
    figure = saliency_gallery(
        "cnn", table, np.zeros((8, 8, 8), np.uint8), np.zeros((8, 8, 8)), CHECK
    )
    assert all((np.asarray(axis.images[1].get_array())[..., 3] == 0).all() for axis in figure.axes)


@pytest.mark.promise("E32")
def test_maps_that_failed_are_not_drawn_and_the_figure_says_why():
    table = gallery(*ALL).assign(map_x_px=np.nan, map_y_px=np.nan)
    figure, pixels, _ = drawn(table, maps=False)
    for axis, picture in zip(figure.axes, pixels, strict=True):
        [image] = axis.images
        assert (np.asarray(image.get_array()) == picture).all()
        assert not axis.lines
    assert "maps are not shown" in texts(figure)
    assert conclusions.randomization(CHECK, "cnn") in texts(figure).replace("\n", " ")
    assert "speaks for abnormal" not in texts(figure)


def test_an_outcome_that_does_not_occur_is_called_none():
    figure, _, _ = drawn(gallery(*ALL[:3], *ALL[4:]))
    assert texts(figure).count("none") == 1
    assert len(figure.axes) == 8


def test_captions_say_label_and_probability():
    figure, _, _ = drawn(gallery(*ALL))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["abnormal, p 0.250", "normal, p 0.250"] * 4


def test_boxes_are_explained_where_there_are_any():
    with_boxes = drawn(gallery(*ALL, box=(1, 1, 3, 3)))[0]
    assert "what was planted" in texts(with_boxes)
    assert "what was planted" not in texts(drawn(gallery(*ALL))[0])
    for axis in with_boxes.axes:
        assert axis.patches[0].get_edgecolor() == to_rgba(BOX_COLOUR)

import numpy as np
import pandas as pd
from figure_reading import assert_legible, texts

from ulna.figures.errors import COLUMNS, review_sheet


def chosen(count):
    return pd.DataFrame(
        {
            "study": [f"study{k}" for k in range(count)],
            "body_part": "SHOULDER",
            "split": "test",
            "label": [k % 2 for k in range(count)],
            "probability": np.linspace(0.91, 0.99, count),
        }
    )


def test_each_study_is_shown_with_its_label_and_probability():
    tables = {"cnn": chosen(COLUMNS + 1), "densenet169": chosen(2)}
    pixels = {
        arch: np.arange(len(table), dtype=np.uint8)[:, None, None] + np.zeros((1, 8, 8), np.uint8)
        for arch, table in tables.items()
    }
    figure = review_sheet(tables, pixels)
    assert_legible(figure)
    images = [image for stack in pixels.values() for image in stack]
    for axis, image in zip(figure.axes, images, strict=True):
        assert (axis.images[0].get_array() == image).all()
    first, second = (axis.get_title(loc="left") for axis in figure.axes[:2])
    assert "SHOULDER, test" in first and "labelled normal" in first and "0.91" in first
    assert "labelled abnormal" in second


def test_a_network_without_an_error_has_a_word_in_place_of_images():
    nothing = np.empty((0, 8, 8), np.uint8)
    figure = review_sheet({"cnn": chosen(0)}, {"cnn": nothing})
    assert_legible(figure)
    assert not figure.axes[0].images
    assert "CNN" in texts(figure)

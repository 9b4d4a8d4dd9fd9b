import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ulna.data import BOX
from ulna.report.pictures import GROUPS, LONGEST_PX, choose_studies, encode, load_pictures

NAN = float("nan")


def studies(*rows):
    columns = ["study", "label", "probability"]
    return pd.DataFrame(rows, columns=columns).assign(body_part="HAND", views=2, threshold=0.5)


def views(*rows):
    return pd.DataFrame(rows, columns=["study", "image", "finding", *BOX])


NO_BOX = (NAN,) * 4


def test_errors_are_the_surest_first_and_of_what_is_found_each_finding_has_a_turn():
    table = studies(
        ("missed", 1, 0.4), ("missed more", 1, 0.1), ("alarm", 0, 0.6), ("alarm more", 0, 0.9),
        ("plate", 1, 0.99), ("plate again", 1, 0.98), ("lesion", 1, 0.7), ("quiet", 0, 0.2),
    )  # fmt: skip
    images = views(*((name, f"{name}.png", name.split()[0], *NO_BOX) for name in table["study"]))
    chosen = {name: list(rows["study"]) for name, rows in choose_studies(table, images).items()}
    assert chosen == {
        "missed": ["missed more", "missed"],
        "false_alarms": ["alarm more", "alarm"],
        "found": ["plate", "lesion", "plate again"],
        "normal": ["quiet"],
    }


def test_the_view_with_the_box_is_shown_else_the_first():
    table = studies(("a", 1, 0.1), ("b", 1, 0.2))
    images = views(
        ("a", "2.png", "lesion", 1, 2, 3, 4), ("a", "1.png", "lesion", *NO_BOX),
        ("b", "2.png", "lesion", *NO_BOX), ("b", "1.png", "lesion", *NO_BOX),
    )  # fmt: skip
    assert choose_studies(table, images)["missed"]["image"].tolist() == ["2.png", "1.png"]


def test_no_group_has_more_pictures_than_the_page_can_carry():
    table = studies(*((f"{k:02d}", k % 2, k / 40) for k in range(40)))
    images = views(*((name, name, "none", *NO_BOX) for name in table["study"]))
    sizes = {name: len(rows) for name, rows in choose_studies(table, images).items()}
    assert sizes == GROUPS


def test_data_that_name_no_finding_have_pictures_without_a_name_or_a_box():
    table = studies(("a", 1, 0.1))
    images = views(("a", "1.png", NAN, *NO_BOX))
    rows = choose_studies(table, images)["missed"]
    [picture] = load_pictures(rows, lambda _: np.zeros((4, 6), np.uint8))
    assert (picture.finding, picture.box) == ("", None)
    assert (picture.width_px, picture.height_px, picture.views) == (6, 4, 2)


def test_a_box_stays_in_pixels_of_the_original():
    rows = choose_studies(studies(("a", 1, 0.1)), views(("a", "1.png", "bone_loss", 1, 2, 3, 4)))
    large = np.zeros((2 * LONGEST_PX, 10), np.uint8)
    [picture] = load_pictures(rows["missed"], {"1.png": large}.__getitem__)
    assert picture.box == (1, 2, 3, 4) and picture.height_px == 2 * LONGEST_PX
    assert picture.finding == "bone loss"
    assert Image.open(io.BytesIO(picture.jpeg)).size == (5, LONGEST_PX)


@pytest.mark.promise("B12")
def test_the_same_pixels_give_the_same_bytes_close_to_them_and_no_metadata():
    rng = np.random.default_rng(1)
    pixels = np.kron(rng.integers(0, 256, (8, 6)), np.ones((16, 16))).astype(np.uint8)
    image = Image.open(io.BytesIO(encode(pixels)))
    assert encode(pixels) == encode(pixels.copy())
    assert image.mode == "L" and not image.getexif()
    assert np.abs(np.asarray(image, int) - pixels).mean() < 4

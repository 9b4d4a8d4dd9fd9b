import itertools

import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts
from matplotlib.colors import to_hex

from ulna.data.cross_part import Network, plan
from ulna.figures.style import INK, write_png
from ulna.figures.transfer import heat_maps
from ulna.judging.reference import OVERALL
from ulna.judging.transfer_matrix import COLUMNS

PARTS = ["ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST"]
WRIST = Network("WRIST", ("WRIST",))
FEW = {"auroc": np.nan, "auroc_low": np.nan, "auroc_high": np.nan,
       "kappa": np.nan, "kappa_low": np.nan, "kappa_high": np.nan, "note": "too few"}  # fmt: skip


def cells(networks, parts=PARTS, changed=None, large=False):
    """Numbers that differ from cell to cell."""
    rows = []
    for place, (network, part) in enumerate(itertools.product(networks, [*parts, OVERALL])):
        auroc, kappa = 0.5 + place / 250, -0.3 + place / 100
        row = {
            "trained_on": network.name, "tested_on": part,
            "patients": 1100 if large else 11, "studies": 1200 if large else 12,
            "abnormal": 1050 if large else 5,
            "auroc": auroc, "auroc_low": auroc - 0.1, "auroc_high": auroc + 0.02,
            "kappa": kappa, "kappa_low": kappa - 0.25, "kappa_high": kappa + 0.1,
            "threshold": 0.25, "note": "",
        }  # fmt: skip
        rows.append(row | (changed or {}).get((network.name, part), {}))
    return pd.DataFrame(rows)[list(COLUMNS)]


def frames(axis):
    return [patch for patch in axis.patches if to_hex(patch.get_edgecolor()).upper() == INK]


def hatched(axis):
    return [patch for patch in axis.patches if patch.get_hatch()]


def words(axis):
    return [text.get_text() for text in axis.texts]


def test_every_cell_says_its_number_and_interval():
    table = cells([WRIST])
    figure = heat_maps([WRIST], table)
    for axis, measure in zip(figure.axes, ("auroc", "kappa"), strict=True):
        for _, cell in table.iterrows():
            value, low, high = (
                f"{cell[measure + end]:z.2f}".replace("-", "−") for end in ("", "_low", "_high")
            )
            place = words(axis).index(value)
            assert words(axis)[place + 1] == f"({low} to {high})"


def test_a_cell_without_a_number_is_hatched_and_says_why():
    changed = {("WRIST", "HAND"): FEW, ("WRIST", "ELBOW"): FEW | {"note": "one class"}}
    figure = heat_maps([WRIST], cells([WRIST], changed=changed))
    for axis in figure.axes:
        assert {patch.get_x() for patch in hatched(axis)} == {PARTS.index("HAND"), 0}
        said = {text.get_position()[0]: text.get_text() for text in axis.texts}
        assert said[0.5] == "one class"
        assert said[PARTS.index("HAND") + 0.5] == "too few"
        assert "nan" not in " ".join(words(axis))


def test_the_parts_trained_on_are_framed():
    networks = [*plan(["HAND", "WRIST"], PARTS), *plan("all", PARTS)]
    for axis in heat_maps(networks, cells(networks)).axes:
        rows = {place: row for row, place in enumerate(np.round(axis.get_yticks(), 6))}
        framed = {
            (rows[round(patch.get_y() + patch.get_height() / 2, 6)], round(patch.get_x()))
            for patch in frames(axis)
        }
        assert framed == {
            (row, PARTS.index(part))
            for row, network in enumerate(networks)
            for part in network.parts
        }


def test_colours_tell_better_from_worse_than_chance():
    changed = {
        ("WRIST", part): {"auroc": auroc, "kappa": 2 * auroc - 1}
        for part, auroc in zip(PARTS, [0.0, 0.3, 0.5, 0.7, 1.0, 0.5, 0.5], strict=True)
    }
    for axis in heat_maps([WRIST], cells([WRIST], changed=changed)).axes:
        faces = [patch.get_facecolor() for patch in axis.patches if patch.get_fill()]
        worst, worse, chance, better, best = faces[:5]
        assert chance == pytest.approx((1, 1, 1, 1), abs=0.01)
        assert worst[0] > worst[2] and worse[0] > worse[2], "worse is orange"
        assert best[2] > best[0] and better[2] > better[0], "better is violet"
        assert sum(best) < sum(better) < sum(chance) > sum(worse) > sum(worst)
        # W3C's contrast of dark ink on the darkest cells, at least 4.5.
        assert all(sum(face[:3]) / 3 > 0.5 for face in faces)


def test_the_figure_says_what_it_counts():
    figure = heat_maps([WRIST], cells([WRIST]))
    said = texts(figure)
    assert "n = 12 studies, 5 abnormal" in said
    assert "study level" in said
    for axis in figure.axes:
        shown = [tick.get_text() for tick in axis.get_xticklabels()]
        assert shown == [f"{part}\nn = 12\n5 abnormal\n11 patients" for part in [*PARTS, OVERALL]]
    assert "WRIST\n(threshold 0.25)" in said
    assert "95% intervals" in said


@pytest.mark.parametrize(
    ("train_on", "parts", "large"),
    [
        (["WRIST"], PARTS, True),
        (["HAND"], ["HAND"], False),
        (["ELBOW", "HAND", "HUMERUS", "WRIST"], PARTS, True),
        ("all", PARTS[:3], True),
    ],
)
def test_everything_can_be_read(train_on, parts, large):
    networks = plan(train_on, parts)
    changed = {(networks[0].name, parts[0]): FEW}
    assert_legible(heat_maps(networks, cells(networks, parts, changed, large)))


@pytest.mark.promise("B12")
def test_the_same_numbers_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, heat_maps([WRIST], cells([WRIST])))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

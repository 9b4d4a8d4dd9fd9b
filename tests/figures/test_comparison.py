import itertools

import numpy as np
import pandas as pd
import pytest
from figure_reading import assert_legible, texts
from matplotlib.colors import to_hex, to_rgb

from ulna.data.cross_part import plan
from ulna.evaluation import LEVELS
from ulna.evaluation import METRIC_NAMES as NAMES
from ulna.evaluation.bootstrap import METRICS
from ulna.evaluation.comparison import OVERALL, all_pairs
from ulna.evaluation.cross_part import COLUMNS
from ulna.figures.comparison import BETTER, DEEPEST, SHOWN, WORSE, cross_part_maps, forest
from ulna.figures.style import INK, luminance, title

NAN = float("nan")
ARCHS = ("cnn", "densenet169")
PARTS = ["ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST"]


def differences(networks=ARCHS, **values) -> pd.DataFrame:
    """Made-up numbers, a different one for each line; `values` replace columns."""
    rows = [
        {"first": first, "second": second, "level": level, "metric": metric,
         "n": 1199 if level == "study" else 3197, "abnormal": 480, "patients": 783}
        for first, second in all_pairs(networks) for level in LEVELS for metric in METRICS
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table["difference"] = np.linspace(-0.5, 0.6, len(table))
    table["low"], table["high"] = table["difference"] - 0.1, table["difference"] + 0.2
    return table.assign(**values)


def test_each_difference_is_at_its_numbers_in_the_row_of_its_metric():
    table = differences()
    figure = forest(table)
    rows = [NAMES[name] for name in SHOWN]
    for axis, (first, second) in zip(figure.axes, all_pairs(ARCHS), strict=True):
        assert [label.get_text() for label in axis.get_yticklabels()] == rows
        pair = table[(table["first"] == first) & (table["second"] == second)]
        pair = pair[pair["metric"].isin(SHOWN)]
        zero, *drawn = axis.lines
        assert zero.get_xdata() == [0, 0]
        for line, dot, expected in zip(drawn[::2], drawn[1::2], pair.itertuples(), strict=True):
            assert list(line.get_xdata()) == [expected.low, expected.high]
            assert list(dot.get_xdata()) == [expected.difference]
            assert SHOWN[round(dot.get_ydata()[0])] == expected.metric
            assert dot.get_marker() == {"study": "o", "image": "s"}[expected.level]
        left, right = axis.get_xlim()
        assert left == -right and right > pair["high"].max()
        assert axis.get_title(loc="left") == f"{title(first)} − {title(second)}"
        sides = f"better: ← {title(second)} | {title(first)} →"
        assert sides in [text.get_text() for text in axis.texts]
    auroc = table[(table["metric"] == "auroc") & (table["level"] == "study")].iloc[0]
    words = f"{auroc.difference:.3f} ({auroc.low:.3f} to {auroc.high:.3f})".replace("-", "−")
    assert words in texts(figure)
    assert "n = 1,199 studies (3,197 images) of 783 patients" in texts(figure)


def test_undefined_differences_are_written():
    undefined = forest(differences(difference=NAN, low=NAN, high=NAN))
    assert texts(undefined).count("undefined") == 3 * len(SHOWN)
    assert_legible(undefined)
    no_interval = texts(forest(differences(difference=0.25, low=NAN, high=NAN)))
    assert no_interval.count("0.250 (no interval)") == 3 * len(SHOWN)


FEW = {f"{name}{end}": NAN for name in ("auroc", "kappa") for end in ("", "_low", "_high")}


def cells(trained_on, parts=PARTS, changed=None, large=False):
    """Numbers that differ from cell to cell."""
    rows = []
    for place, (name, part) in enumerate(itertools.product(trained_on, [*parts, OVERALL])):
        auroc, kappa = 0.5 + place / 250, -0.3 + place / 100
        row = {
            "trained_on": name, "tested_on": part,
            "patients": 1100 if large else 11, "studies": 1200 if large else 12,
            "abnormal": 1050 if large else 5,
            "auroc": auroc, "auroc_low": auroc - 0.1, "auroc_high": auroc + 0.02,
            "kappa": kappa, "kappa_low": kappa - 0.25, "kappa_high": kappa + 0.1,
            "threshold": 0.25, "note": "",
        }  # fmt: skip
        rows.append(row | (changed or {}).get((name, part), {}))
    return pd.DataFrame(rows)[list(COLUMNS)]


def test_every_cell_has_its_number_and_interval_or_a_note():
    changed = {
        ("WRIST", "HAND"): FEW | {"note": "too_few"},
        ("WRIST", "ELBOW"): FEW | {"note": "one_class"},
    }
    table = cells(["WRIST"], changed=changed)
    figure = cross_part_maps({"WRIST": ("WRIST",)}, table)
    for axis, measure in zip(figure.axes, ("auroc", "kappa"), strict=True):
        words = [text.get_text() for text in axis.texts]
        for _, cell in table.dropna().iterrows():
            value, low, high = (
                f"{cell[measure + end]:z.2f}".replace("-", "−") for end in ("", "_low", "_high")
            )
            assert words[words.index(value) + 1] == f"{low} to {high}"
        coloured = {round(patch.get_x()) for patch in axis.patches if patch.get_fill()}
        others = {PARTS.index("HAND"), PARTS.index("ELBOW")}
        assert coloured == set(range(len(PARTS) + 1)) - others
        assert words.count("too few") == words.count("one class") == 1
        assert "nan" not in " ".join(words)
        names = [tick.get_text() for tick in axis.get_xticklabels()]
        assert names == [f"{part}\nn = 12\n5 abnormal\n11 patients" for part in [*PARTS, OVERALL]]
    assert "n = 12 studies, 5 abnormal" in texts(figure)
    assert "WRIST\n(threshold 0.25)" in texts(figure)


def test_the_parts_trained_on_are_framed():
    networks = [*plan(["HAND", "WRIST"], PARTS), *plan("all", PARTS)]
    trained_on = {network.name: network.parts for network in networks}
    for axis in cross_part_maps(trained_on, cells(trained_on)).axes:
        rows = {place: row for row, place in enumerate(np.round(axis.get_yticks(), 6))}
        framed = {
            (rows[round(patch.get_y() + patch.get_height() / 2, 6)], round(patch.get_x()))
            for patch in axis.patches
            if to_hex(patch.get_edgecolor()).upper() == INK
        }
        assert framed == {
            (row, PARTS.index(part))
            for row, parts in enumerate(trained_on.values())
            for part in parts
        }


def test_colours_distinguish_better_from_worse_than_chance():
    changed = {
        ("WRIST", part): {"auroc": auroc, "kappa": 2 * auroc - 1}
        for part, auroc in zip(PARTS, [0.0, 0.3, 0.5, 0.7, 1.0, 0.5, 0.5], strict=True)
    }
    for axis in cross_part_maps({"WRIST": ("WRIST",)}, cells(["WRIST"], changed=changed)).axes:
        faces = [patch.get_facecolor() for patch in axis.patches if patch.get_fill()]
        worst, worse, chance, better, best = faces[:5]
        assert chance[3] == 0
        assert worst[0] > worst[2] and worse[0] > worse[2], "worse is orange"
        assert best[2] > best[0] and better[2] > better[0], "better is violet"
        assert worst[3] == best[3] == DEEPEST
        assert (worse[3], better[3]) == pytest.approx((0.4 * DEEPEST, 0.4 * DEEPEST))


@pytest.mark.parametrize("paper", ["#FFFFFF", "#14171C"])
@pytest.mark.parametrize("ink", [WORSE, BETTER])
def test_text_on_the_deepest_cell_has_contrast_in_light_and_dark_mode(ink, paper):
    """W3C's contrast, at least 4.5."""
    ground = [DEEPEST * own + (1 - DEEPEST) * below
              for own, below in zip(to_rgb(ink), to_rgb(paper), strict=True)]  # fmt: skip
    text = "#1D2430" if paper == "#FFFFFF" else "#E8EAEE"
    high, low = sorted((luminance(tuple(ground)), luminance(text)), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.parametrize(
    ("train_on", "parts"), [(["WRIST"], PARTS), (["HAND"], ["HAND"]), ("all", PARTS[:3])]
)
def test_cross_part_maps_are_legible(train_on, parts):
    trained_on = {network.name: network.parts for network in plan(train_on, parts)}
    changed = {(next(iter(trained_on)), parts[0]): FEW | {"note": "too_few"}}
    assert_legible(cross_part_maps(trained_on, cells(trained_on, parts, changed, large=True)))


def test_differences_are_legible():
    assert_legible(forest(differences(difference=-1.234, low=-1.999, high=-1.111)))
    assert_legible(forest(differences(("cnn", "densenet169", "mobilenetv2"))))

from dataclasses import replace

import numpy as np
import pytest
from cameras import CAMERA

from ulna.phantom.radiograph import expose
from ulna.phantom.scene import ROD, Disc, Metal, Scene, Tube

SHAFT = Tube("shaft", (0, -60), (0, 60), ROD, half_width_mm=6, cortex_mm=2)


def exposed(scene, camera=CAMERA):
    return expose(scene, camera, np.random.default_rng(0)).astype(float)


def test_metal_is_brighter_than_bone_than_flesh_than_air():
    flesh = Tube("flesh", (0, -200), (0, 200), ROD, half_width_mm=16)
    scene = Scene((SHAFT,), (flesh,), (), (), (-25, -37, 25, 37), 0.01, 0.07)
    scene = replace(scene, metals=(Metal((-3, 10), (3, 10), 2.0),))
    grey = exposed(scene)
    air, soft, bone, metal = grey[100, 10], grey[100, 60], grey[100, 100], grey[190, 100]
    assert air + 20 < soft
    assert soft + 40 < bone
    assert bone + 20 < metal


def test_an_empty_scene_is_dark():
    assert exposed(Scene((), (), (), (), (0, 0, 1, 1), 0.01, 0.07)).max() == 0


def test_collimation_darkens_the_border_and_a_letter_stands_out():
    scene = Scene(
        (), (Tube("flesh", (0, -900), (0, 900), ROD, 30),), (), (), (0, 0, 1, 1), 0.01, 0.07
    )
    plain = exposed(scene)
    collimated = exposed(scene, replace(CAMERA, collimated=(0.1, 0.1, 0.1, 0.1)))
    assert collimated[10:20].mean() < 0.3 * plain[10:20].mean()
    assert collimated[150, 100] == plain[150, 100]
    lettered = exposed(scene, replace(CAMERA, letter="L", letter_at=(0.9, 0.1)))
    changed = np.argwhere(lettered != plain)
    assert 10 < len(changed) < 400
    assert changed[:, 1].min() > 150


def with_metals(*metals):
    return exposed(Scene((), (), (), (), (-25, -37, 25, 37), 0.01, 0.07, metals=metals))


def test_a_ball_is_thickest_in_its_middle_and_a_hole_is_dark():
    ball = with_metals(Disc((0, 0), 10, 0.1))
    assert ball[150, 100] > ball[150, 70] + 10 > 20
    punched = with_metals(Metal((0, -20), (0, 20), 5), Disc((0, 0), 2, density=0))
    assert punched[150, 100] < 30 < 200 < punched[190, 100]


def test_a_thread_a_taper_and_a_bore_show():
    def width(grey, row):
        return (grey[row] > 100).sum()

    screw = with_metals(Metal((0, -20), (0, 20), 3, pitch_mm=2))
    assert len({width(screw, row) for row in range(110, 190)}) >= 3
    stem = with_metals(Metal((0, -30), (0, 30), 5, end_half_width_mm=1))
    assert width(stem, 50) > 2 * width(stem, 250)
    nail = with_metals(Metal((0, -30), (0, 30), 5, 0.2, bore=0.5))
    assert nail[150, 100] < nail[150, 114] - 20


def test_motion_smears_along_its_direction_only():
    bar = Metal((-10, 0), (10, 0), 1)
    scene = Scene((), (), (), (), (-25, -37, 25, 37), 0.01, 0.07, metals=(bar,))
    still, along, across = (
        exposed(scene, replace(CAMERA, motion_px=motion)) for motion in ((0, 0), (6, 0), (0, 6))
    )
    assert along[:, 100] == pytest.approx(still[:, 100], abs=2)
    assert (across[:, 100] > 30).sum() > (still[:, 100] > 30).sum() + 3


def test_sharpness_lifts_what_stands_out():
    scene = Scene((SHAFT,), (), (), (), (-25, -37, 25, 37), 0.01, 0.03)
    plain, sharp = exposed(scene), exposed(scene, replace(CAMERA, sharpness=0.5))
    edge = 100 + 18
    assert sharp[150, edge] > plain[150, edge] + 5
    assert sharp[150, 60] <= plain[150, 60]


def test_heel_and_grid_change_rows_alike():
    empty = Scene((), (), (), (), (-25, -37, 25, 37), 0.01, 0.07)
    heel = exposed(empty, replace(CAMERA, heel=0.2))
    assert (heel[:, :1] == heel).all()
    assert heel[-1, 0] > heel[0, 0] + 40
    # A period of 4 pixels: the spectrum's only line.
    lines = exposed(empty, replace(CAMERA, heel=0.2, grid_per_px=0.25))[:, 0] - heel[:, 0]
    power = np.abs(np.fft.rfft(lines - lines.mean()))
    assert power.argmax() == 75


def test_the_draws_do_not_depend_on_the_scene():
    full = Scene(
        (SHAFT,), (SHAFT,), (), (), (-25, -37, 25, 37), 0.01, 0.07,
        metals=(Metal((0, 0), (0, 9), 1),), casts=(replace(SHAFT, name="mesh"),),
    )  # fmt: skip
    after = []
    for scene in (full, Scene((), (), (), (), (-25, -37, 25, 37), 0.01, 0.07)):
        rng = np.random.default_rng(3)
        expose(scene, CAMERA, rng)
        after.append(rng.random())
    assert after[0] == after[1]

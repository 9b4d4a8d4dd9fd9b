import math
from dataclasses import replace

import numpy as np
import pytest
from cameras import CAMERA

from ulna.phantom.scene import ROD, ROUND, Crack, Outline, Tube
from ulna.phantom.tubes import MARROW, add_tube

SHAFT = Tube("shaft", (0, -60), (0, 60), ROD, half_width_mm=6, cortex_mm=2)


def thickness(tube, camera=CAMERA, kind="bone"):
    canvas = np.zeros((camera.height_px, camera.width_px), dtype=np.float32)
    add_tube(canvas, tube, camera, 1.0, kind)
    return canvas


def test_a_solid_ellipsoid_has_its_volume():
    # Half axes 20, 8 and 8 mm; pixels of 1/16 square millimetre.
    blob = Tube("blob", (-20, 0), (20, 0), ROUND, half_width_mm=8)
    volume = float(thickness(blob, kind="tissue").sum()) / 16
    assert volume == pytest.approx(4 / 3 * math.pi * 20 * 8 * 8, rel=0.01)


def test_a_shaft_is_as_thick_as_the_chord_through_cortex_and_marrow():
    # On the axis: 2 x 2 mm of cortex and 8 mm of marrow, whose inner eighth is spongy bone.
    row = thickness(SHAFT)[140:160].mean(axis=0)
    assert row[100] == pytest.approx(4 + 0.5 + 7.5 * MARROW, rel=0.1)
    # At the inner edge of the cortex: the whole chord is cortex.
    assert row[100 + 17] == pytest.approx(2 * math.sqrt(36 - 4.375**2), rel=0.04)
    assert row[:75].sum() == 0


def test_the_cortex_is_brighter_than_the_marrow():
    row = thickness(SHAFT)[150]
    assert row[116] > 1.3 * row[100]


def test_spongy_bone_lies_in_wide_ends_and_its_plates_run_along_the_bone():
    wide = Outline(((0, 2, 2), (0.3, 2, 2), (0.5, 1, 1), (1, 1, 1)), 0.01, 0.01)
    image = thickness(replace(SHAFT, outline=wide))
    end, shaft = image[50:90, 92:108], image[220:260, 92:108]
    assert end.std() / end.mean() > 1.5 * shaft.std() / shaft.mean()
    # Over 1 mm.
    down, across = np.abs(end[4:] - end[:-4]).mean(), np.abs(end[:, 4:] - end[:, :-4]).mean()
    assert across > 1.1 * down


def test_a_cast_is_a_shell():
    row = thickness(replace(SHAFT, cortex_mm=1.0), kind="cast")[150]
    # Two inner surfaces, at radii of 5 and 0.87 x 5 mm.
    assert row[100] == pytest.approx(12 - 5 * (1 + math.sqrt(0.76)), rel=0.02)
    assert row[100 + 19] > 2 * row[100]


def test_a_mirrored_camera_gives_the_mirror_image():
    tube = replace(SHAFT, end=(9, 55), bend_mm=4.0)
    mirrored = thickness(tube, replace(CAMERA, mirrored=True), "cast")
    assert mirrored == pytest.approx(thickness(tube, kind="cast")[:, ::-1], abs=1e-2)


def test_a_crack_only_removes_bone():
    cracked = replace(SHAFT, crack=Crack(0.5, 0.0, 0.6, 0.6, 1.1))
    difference = thickness(SHAFT) - thickness(cracked)
    assert (difference >= 0).all()
    assert difference.max() > 2
    assert np.ptp(np.argwhere(difference > 0.1)[:, 0]) < 40


def test_a_tube_outside_the_image_draws_nothing():
    assert thickness(replace(SHAFT, start=(500, 0), end=(500, 60))).sum() == 0

import math
from dataclasses import replace

import numpy as np
import pytest

from ulna.phantom.anatomy import build_scene
from ulna.phantom.radiograph import Camera, add_tube, expose, sample_camera
from ulna.phantom.scene import ROD, ROUND, Crack, Metal, Scene, Tube

CAMERA = Camera(
    width_px=200,
    height_px=300,
    pixels_per_mm=4.0,
    degrees=0.0,
    mirrored=False,
    centre_mm=(0.0, 0.0),
    exposure=1.0,
    gamma=1.0,
    fog=0.0,
    noise=0.0,
    blur_px=0.7,
    collimated=(),
    collimator_degrees=0.0,
    letter="",
    letter_at=(0.0, 0.0),
    letter_degrees=0.0,
)
SHAFT = Tube("shaft", (0, -60), (0, 60), ROD, half_width_mm=6, cortex_mm=2)


def thickness(tube, camera=CAMERA, solid=False):
    canvas = np.zeros((camera.height_px, camera.width_px), dtype=np.float32)
    add_tube(canvas, tube, camera, 1.0, solid)
    return canvas


def test_the_camera_keeps_the_centre_and_scales_distances():
    camera = replace(CAMERA, degrees=33.0, centre_mm=(5.0, 7.0))
    points = camera.pixels(np.array([[5.0, 7.0], [8.0, 11.0]]))
    assert points[0] == pytest.approx([100, 150])
    assert math.dist(*points) == pytest.approx(5 * 4)


def test_a_quarter_turn_is_clockwise():
    camera = replace(CAMERA, degrees=90.0)
    assert camera.pixels(np.array([[0.0, -10.0]]))[0] == pytest.approx([140, 150])


def test_a_solid_ellipsoid_has_its_volume():
    # Half axes 20, 8 and 8 mm; pixels of 1/16 square millimetre.
    blob = Tube("blob", (-20, 0), (20, 0), ROUND, half_width_mm=8)
    volume = float(thickness(blob, solid=True).sum()) / 16
    assert volume == pytest.approx(4 / 3 * math.pi * 20 * 8 * 8, rel=0.01)


def test_a_shaft_is_as_thick_as_the_chord_through_cortex_and_marrow():
    # On the axis: 2 x 2 mm of cortex and 8 mm of marrow at 0.3 of its attenuation.
    row = thickness(SHAFT)[150]
    assert row[100] == pytest.approx(4 + 0.3 * 8, rel=0.01)
    # At the inner edge of the cortex: the whole chord is cortex.
    assert row[100 + 16] == pytest.approx(2 * math.sqrt(36 - 4.125**2), rel=0.02)
    assert row[:75].sum() == 0


def test_the_cortex_is_brighter_than_the_marrow():
    row = thickness(SHAFT)[150]
    assert row[116] > 1.3 * row[100]


def test_a_mirrored_camera_gives_the_mirror_image():
    tube = replace(SHAFT, end=(9, 55), bend_mm=4.0)
    mirrored = thickness(tube, replace(CAMERA, mirrored=True))
    assert mirrored == pytest.approx(thickness(tube)[:, ::-1], abs=1e-2)


def test_a_crack_only_removes_bone():
    cracked = replace(SHAFT, crack=Crack(0.5, 0.0, 0.6, 0.6, 1.1))
    difference = thickness(SHAFT) - thickness(cracked)
    assert (difference >= 0).all()
    assert difference.max() > 2
    assert np.ptp(np.argwhere(difference > 0.1)[:, 0]) < 40


def test_a_tube_outside_the_image_draws_nothing():
    assert thickness(replace(SHAFT, start=(500, 0), end=(500, 60))).sum() == 0


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


def test_images_fit_in_512_pixels_and_vary():
    sizes = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scene = build_scene("FOREARM", rng, rng, seed % 3)
        camera = sample_camera(scene, "L", rng)
        assert 320 <= max(camera.width_px, camera.height_px) <= 512
        sizes.add((camera.width_px, camera.height_px))
    assert len(sizes) > 15

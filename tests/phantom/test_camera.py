import math
from dataclasses import replace

import numpy as np
import pytest
from cameras import CAMERA

from ulna.phantom.anatomy import build_scene
from ulna.phantom.camera import sample_camera


def test_the_camera_keeps_the_centre_and_scales_distances():
    camera = replace(CAMERA, degrees=33.0, centre_mm=(5.0, 7.0))
    points = camera.pixels(np.array([[5.0, 7.0], [8.0, 11.0]]))
    assert points[0] == pytest.approx([100, 150])
    assert math.dist(*points) == pytest.approx(5 * 4)


def test_a_quarter_turn_is_clockwise():
    camera = replace(CAMERA, degrees=90.0)
    assert camera.pixels(np.array([[0.0, -10.0]]))[0] == pytest.approx([140, 150])


def test_images_fit_in_512_pixels_and_vary():
    sizes = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scene = build_scene("FOREARM", rng, rng, seed % 3)
        camera = sample_camera(scene, "L", rng)
        assert 320 <= max(camera.width_px, camera.height_px) <= 512
        sizes.add((camera.width_px, camera.height_px))
    assert len(sizes) > 15


def test_points_are_multiples_of_a_step_that_rounding_errors_cannot_cross():
    camera = replace(CAMERA, degrees=33.0)
    points = np.random.default_rng(0).uniform(-40, 40, (99, 2))
    pixels = camera.pixels(points)
    assert (pixels * 65536 == np.rint(pixels * 65536)).all()
    assert (camera.pixels(points * (1 + 2**-52)) == pixels).all()


def test_few_images_are_blurred_by_motion_or_show_a_grid():
    rng = np.random.default_rng(0)
    scene = build_scene("HAND", rng, rng, 0)
    cameras = [sample_camera(scene, "L", rng) for _ in range(2000)]
    assert 0.01 < np.mean([camera.motion_px != (0, 0) for camera in cameras]) < 0.05
    assert 0.05 < np.mean([camera.grid_per_px > 0 for camera in cameras]) < 0.15

import math
from dataclasses import replace

import pytest

from ulna.phantom.scene import HUMERUS, ROD, Scene, Tube

TUBE = Tube("bone", (10, 50), (10, 10), ROD, half_width_mm=3)


def test_a_point_on_the_axis_lies_between_the_ends():
    assert TUBE.at(0) == (10, 50)
    assert TUBE.at(0.25) == (10, 40)
    assert TUBE.length_mm == 40


def test_the_right_of_a_tube_that_points_up_has_the_larger_x():
    assert TUBE.at(0.5, 1) == pytest.approx((13, 30))
    assert TUBE.at(0.5, -2) == pytest.approx((4, 30))


def test_a_bent_tube_leaves_the_straight_line_by_its_bend_in_the_middle_only():
    bent = replace(TUBE, bend_mm=2.0)
    assert bent.at(0.5) == pytest.approx((12, 30))
    assert bent.at(0) == TUBE.at(0)
    assert bent.at(1) == TUBE.at(1)


def test_the_sides_of_an_outline_differ():
    humerus = Tube("humerus", (0, 0), (0, 300), HUMERUS, half_width_mm=10)
    left, right = (math.dist(humerus.at(0.09), humerus.at(0.09, side)) for side in (-1, 1))
    assert left == pytest.approx(19)
    assert right == pytest.approx(23)


def test_a_scene_finds_its_bones_by_name():
    scene = Scene((TUBE,), (), (), (), (0, 0, 1, 1), 0.01, 0.1)
    assert scene.bone("bone") is TUBE

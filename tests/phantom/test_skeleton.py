import math
from dataclasses import replace

import numpy as np
import pytest

from ulna.phantom.skeleton import (
    CARPALS,
    RAYS,
    build_carpals,
    build_forearm,
    build_humerus,
    build_ray,
    go,
    sample_person,
)

PERSON = sample_person(np.random.default_rng(5))
# An average build: every factor is 1.
AVERAGE = replace(
    PERSON, width=1.0, cortex=1.0, density=1.0, flesh=1.0, gap=1.0, lengths=(1.0,) * 40
)


def length(bone):
    return math.dist(bone.start, bone.end)


@pytest.mark.parametrize(
    ("degrees", "there"), [(0, (3, -5)), (90, (13, 5)), (180, (3, 15)), (-90, (-7, 5))]
)
def test_0_degrees_is_up_and_90_to_the_right(degrees, there):
    assert go((3, 5), degrees, 10) == pytest.approx(there)


def test_people_differ():
    one, other = (sample_person(np.random.default_rng(seed)) for seed in (1, 2))
    assert one != other
    assert sample_person(np.random.default_rng(1)) == one


@pytest.mark.parametrize("index", range(5))
def test_the_bones_of_an_average_finger_have_the_lengths_of_the_table_and_touch_no_other(index):
    name, _, _, degrees, lengths, _ = RAYS[index]
    bones, flesh, joints = build_ray(AVERAGE, index, 1.0, 0.0, 0.0)
    assert [length(bone) for bone in bones] == pytest.approx(lengths)
    assert len(flesh) == len(bones) and len(joints) == len(bones) - 1
    for bone, after in zip(bones, bones[1:], strict=False):
        assert math.dist(bone.end, after.start) == pytest.approx(1.9)
    # Without curl a finger is straight.
    assert bones[-1].end == pytest.approx(
        go(bones[0].start, degrees, sum(lengths) + 1.9 * len(joints))
    )
    assert all(bone.name.startswith(name) for bone in bones)


def test_a_curled_finger_bends_half_at_its_first_joint():
    bones, _, _ = build_ray(AVERAGE, 2, 1.0, 20.0, 0.0)
    turns = [math.degrees(math.atan2(b.end[0] - b.start[0], b.start[1] - b.end[1])) for b in bones]
    assert np.diff(turns) == pytest.approx([10, 20, 20])


def test_eight_bones_of_the_wrist_lie_between_forearm_and_hand():
    bones = build_carpals(AVERAGE, 1.0)
    assert [bone.name for bone in bones] == [name for name, *_ in CARPALS]
    radius = build_forearm(AVERAGE, 1.0, 0.0)[1]
    for bone in bones:
        middle = (bone.start[1] + bone.end[1]) / 2
        assert RAYS[2][2] < middle < radius.end[1], bone.name


def test_the_ulna_reaches_farther_at_the_elbow_and_less_far_at_the_wrist():
    ulna, radius = build_forearm(AVERAGE, 1.0, 0.0)[:2]
    assert ulna.start[1] > radius.start[1]
    assert ulna.end[1] > radius.end[1]


def test_the_upper_arm_ends_at_the_elbow_at_any_angle():
    for degrees in (0, 40, -75):
        bone = build_humerus(AVERAGE, (4.0, 200.0), degrees)
        assert bone.end == (4.0, 200.0) and length(bone) == pytest.approx(300)

import numpy as np
import pytest

from ulna.phantom.anatomy import BUILDERS, build_scene

PARTS = ("ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST")
CASES = [(part, view) for part in PARTS for view in range(4)]


def scene_of(part, view, seed=5):
    build, pose = np.random.default_rng(seed), np.random.default_rng([seed, view])
    return build_scene(part, build, pose, view)


def test_the_seven_parts_of_mura_are_known():
    assert tuple(sorted(BUILDERS)) == PARTS


@pytest.mark.parametrize(("part", "view"), CASES)
def test_sites_and_joints_name_bones_that_are_there(part, view):
    scene = scene_of(part, view)
    names = [bone.name for bone in scene.bones if bone.name != "rib"]
    assert len(set(names)) == len(names)
    assert scene.sites and scene.joints
    assert {site.bone for site in scene.sites} <= set(names)
    assert {name for joint in scene.joints for name in (joint.first, joint.second)} <= set(names)


@pytest.mark.parametrize(("part", "view"), CASES)
def test_sites_lie_in_the_window_of_the_image(part, view):
    scene = scene_of(part, view)
    left, top, right, bottom = scene.window
    for site in scene.sites:
        x, y = scene.bone(site.bone).at((site.low + site.high) / 2)
        assert left - 12 < x < right + 12, site
        assert top - 12 < y < bottom + 12, site


def test_views_of_a_study_have_the_same_sites_in_the_same_order():
    for part in PARTS:
        names = [[site.bone for site in scene_of(part, view).sites] for view in range(4)]
        assert names.count(names[0]) == 4


def test_a_hand_has_27_bones_and_two_of_the_forearm():
    bones = {bone.name for bone in scene_of("HAND", 0).bones if "styloid" not in bone.name}
    assert len(bones) == 27 + 2


def test_the_hand_is_narrower_from_the_side():
    def width(view):
        starts = [
            scene_of("HAND", view).bone(f"{ray} metacarpal").start for ray in ("index", "little")
        ]
        return abs(starts[0][0] - starts[1][0])

    assert width(2) < 0.5 * width(0)

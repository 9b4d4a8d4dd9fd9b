import numpy as np
import pytest

from ulna.phantom.anatomy import BUILDERS, build_scene
from ulna.phantom.pathology import SHARES, insert_finding, sample_finding

CASES = [(part, kind) for part in BUILDERS for kind in SHARES]


def views(part, kind, seed=3):
    finding = sample_finding(kind, np.random.default_rng([seed, 1]))
    for view in range(3):
        build, pose = np.random.default_rng(seed), np.random.default_rng([seed, 2, view])
        healthy = build_scene(part, build, pose, view)
        yield healthy, insert_finding(healthy, finding, np.random.default_rng([seed, 3, view]))


def test_shares_add_up_to_one():
    assert sum(SHARES.values()) == pytest.approx(1)


@pytest.mark.parametrize(("part", "kind"), CASES)
def test_a_finding_adds_to_the_scene_and_takes_nothing_else_away(part, kind):
    for healthy, abnormal in views(part, kind):
        assert abnormal != healthy
        assert abnormal.window == healthy.window
        assert abnormal.tissue == healthy.tissue
        kept = {bone.name for bone in abnormal.bones}
        assert {bone.name for bone in healthy.bones} <= kept
        changed = [
            bone
            for bone in healthy.bones
            if bone.name != "rib" and abnormal.bone(bone.name) != bone
        ]
        assert len(changed) <= 1


@pytest.mark.parametrize(("part", "kind"), CASES)
def test_the_box_of_a_finding_is_near_a_site_or_a_joint(part, kind):
    for healthy, abnormal in views(part, kind):
        points = np.array(abnormal.finding_points)
        middle = (points.min(0) + points.max(0)) / 2
        anchors = [
            healthy.bone(site.bone).at(u)
            for site in healthy.sites
            for u in np.linspace(site.low, site.high, 9)
        ] + [healthy.bone(joint.first).at(joint.first_end) for joint in healthy.joints]
        distance = min(float(np.hypot(*(middle - anchor))) for anchor in np.array(anchors))
        assert distance < 25
        assert 3 < (points.max(0) - points.min(0)).max() < 160


def test_a_plate_has_screws_and_the_others_have_no_metal():
    for kind in SHARES:
        for healthy, abnormal in views("WRIST", kind):
            added = len(abnormal.metals) - len(healthy.metals)
            assert added >= 12 if kind == "plate" else added == 0


def test_a_displaced_fracture_breaks_one_bone_with_a_step():
    for _, abnormal in views("FOREARM", "displaced_fracture"):
        (broken,) = [bone for bone in abnormal.bones if bone.broken is not None]
        assert abs(broken.broken.step_mm) > 0.5 * broken.half_width_mm

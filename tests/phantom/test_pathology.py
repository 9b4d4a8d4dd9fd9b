import math

import numpy as np
import pytest

from ulna.phantom.anatomy import BUILDERS, build_scene
from ulna.phantom.pathology import HARDWARE, LESIONS, SHARES, insert_finding, sample_finding
from ulna.phantom.scene import Disc

DETAILS = {
    part: {"hardware": tuple(kinds), "lesion": tuple(LESIONS)} for part, kinds in HARDWARE.items()
}
CASES = [
    (part, kind, detail)
    for part in BUILDERS
    for kind in SHARES
    for detail in DETAILS[part].get(kind, ("",))
]
# Of 100 abnormal studies of MURA, section 2 of its paper.
PAPER = {"fracture": 53, "hardware": 48, "degeneration": 35, "lesion": 29}


def finding_of(part, kind, detail="", seed=3):
    """The first finding of this kind and detail, over random streams."""
    streams = (np.random.default_rng([seed, number]) for number in range(1000))
    findings = (sample_finding(kind, part, stream) for stream in streams)
    return next(finding for finding in findings if finding.detail == detail)


def views(part, kind, detail="", seed=3):
    finding = finding_of(part, kind, detail, seed)
    for view in range(3):
        build, pose = np.random.default_rng(seed), np.random.default_rng([seed, 2, view])
        healthy = build_scene(part, build, pose, view)
        yield healthy, insert_finding(healthy, finding, np.random.default_rng([seed, 3, view]))


def metal(healthy, abnormal):
    assert abnormal.metals[: len(healthy.metals)] == healthy.metals
    return abnormal.metals[len(healthy.metals) :]


def broken(scene):
    return [bone for bone in scene.bones if bone.broken is not None]


def test_the_shares_are_those_of_the_paper():
    shares = {"fracture": SHARES["displaced_fracture"] + SHARES["hairline_fracture"], **SHARES}
    for kind, studies in PAPER.items():
        assert shares[kind] == pytest.approx(studies / sum(PAPER.values()), abs=0.005)
    assert sum(SHARES.values()) == pytest.approx(1)


def test_the_details_of_each_part_add_up_to_one():
    assert set(HARDWARE) == set(BUILDERS)
    for shares in (LESIONS, *HARDWARE.values()):
        assert sum(shares.values()) == pytest.approx(1)


def test_details_come_as_often_as_their_shares_say():
    rng = np.random.default_rng(1)
    drawn = [sample_finding("hardware", "SHOULDER", rng).detail for _ in range(2000)]
    for detail, share in HARDWARE["SHOULDER"].items():
        # Four standard errors.
        assert drawn.count(detail) / 2000 == pytest.approx(share, abs=4 * math.sqrt(0.25 / 2000))


@pytest.mark.parametrize(("part", "kind", "detail"), CASES)
def test_a_finding_adds_to_the_scene_and_takes_nothing_else_away(part, kind, detail):
    for healthy, abnormal in views(part, kind, detail):
        assert abnormal != healthy
        assert abnormal.window == healthy.window
        assert abnormal.tissue == healthy.tissue
        assert abnormal.casts == healthy.casts
        kept = {bone.name for bone in abnormal.bones}
        assert {bone.name for bone in healthy.bones} <= kept
        changed = [
            bone
            for bone in healthy.bones
            if bone.name != "rib" and abnormal.bone(bone.name) != bone
        ]
        # Both bones of a forearm may break, and a hand's degeneration affects a row of fingers.
        assert len(changed) <= (4 if kind == "degeneration" else 2)


@pytest.mark.parametrize(("part", "kind", "detail"), CASES)
def test_the_box_of_a_finding_is_near_its_bone_or_joint(part, kind, detail):
    for healthy, abnormal in views(part, kind, detail):
        points = np.array(abnormal.finding_points)
        low, high = points.min(0) - 25, points.max(0) + 25
        anchors = [
            healthy.bone(site.bone).at(u)
            for site in healthy.sites
            for u in np.linspace(site.low, site.high, 9)
        ] + [healthy.bone(joint.first).at(joint.first_end) for joint in healthy.joints]
        assert any((low < anchor).all() and (anchor < high).all() for anchor in np.array(anchors))
        largest = 290 if detail == "nail" else 180
        assert 3 < (points.max(0) - points.min(0)).max() < largest


@pytest.mark.parametrize(("part", "kind", "detail"), CASES)
def test_only_hardware_is_of_metal_and_it_lies_in_the_box(part, kind, detail):
    for healthy, abnormal in views(part, kind, detail):
        pieces = metal(healthy, abnormal)
        assert bool(pieces) == (kind == "hardware")
        points = np.array(abnormal.finding_points)
        for piece in pieces:
            for end in [piece.centre] if isinstance(piece, Disc) else [piece.start, piece.end]:
                assert (points.min(0) <= end).all() and (end <= points.max(0)).all()


def test_a_plate_has_two_to_six_screws_with_heads():
    screws = set()
    for seed in range(30):
        for healthy, abnormal in views("WRIST", "hardware", "plate", seed):
            pieces = metal(healthy, abnormal)
            heads = [piece for piece in pieces if isinstance(piece, Disc)]
            threads = [p for p in pieces if not isinstance(p, Disc) and p.pitch_mm]
            assert len(threads) == len(heads)
            screws.add(len(heads))
    assert screws == {2, 3, 4, 5, 6}


def test_some_metal_hides_the_bone_and_some_hardly_shows():
    densities = [
        piece.density
        for seed in range(30)
        for healthy, abnormal in views("HAND", "hardware", "plate", seed)
        for piece in metal(healthy, abnormal)
    ]
    assert min(densities) < 0.1 and max(densities) > 0.9


def test_a_nail_follows_the_axis_of_its_bone():
    for healthy, abnormal in views("HUMERUS", "hardware", "nail"):
        bone = healthy.bone("humerus")
        nail = [piece for piece in metal(healthy, abnormal) if piece.bore]
        assert math.dist(nail[0].start, nail[-1].end) > 0.7 * bone.length_mm
        for piece in nail:
            assert piece.half_width_mm < bone.half_width_mm
            assert min(math.dist(piece.start, bone.at(k / 500)) for k in range(501)) < 1


def test_a_prosthesis_has_its_ball_in_the_end_of_the_bone():
    for healthy, abnormal in views("SHOULDER", "hardware", "prosthesis"):
        (ball,) = [piece for piece in metal(healthy, abnormal) if isinstance(piece, Disc)]
        humerus = healthy.bone("humerus")
        assert ball.ball
        assert math.dist(ball.centre, humerus.start) < 0.1 * humerus.length_mm


def test_a_displaced_fracture_parts_or_shortens_bones_by_half_their_width_or_more():
    bones = set()
    for seed in range(20):
        for _, abnormal in views("FOREARM", "displaced_fracture", seed=seed):
            for bone in broken(abnormal):
                width = math.dist(*(bone.at(bone.broken.position, side) for side in (-1, 1)))
                assert abs(bone.broken.step_mm) >= 0.5 * width
                assert bone.broken.apex_mm
            bones.add(len(broken(abnormal)))
    assert bones == {1, 2}


def test_a_joint_space_nearly_closes_in_degeneration():
    for part in ("ELBOW", "FINGER"):
        for healthy, abnormal in views(part, "degeneration"):
            narrowed = [
                j for j in healthy.joints if abnormal.bone(j.second) != healthy.bone(j.second)
            ]
            assert narrowed
            for j in narrowed:
                before, after = (
                    math.dist(
                        scene.bone(j.first).at(j.first_end), scene.bone(j.second).at(j.second_end)
                    )
                    for scene in (healthy, abnormal)
                )
                assert after < before


def test_a_subluxation_moves_the_end_of_one_bone_aside_and_leaves_the_other_end():
    for part in ("FINGER", "SHOULDER", "WRIST"):
        for healthy, abnormal in views(part, "lesion", "subluxation"):
            (moved,) = [bone for bone in healthy.bones if bone not in abnormal.bones]
            after = abnormal.bone(moved.name)
            kept = (moved.start == after.start) + (moved.end == after.end)
            assert kept == 1
            off = max(math.dist(moved.start, after.start), math.dist(moved.end, after.end))
            assert off > 0.9 * moved.half_width_mm

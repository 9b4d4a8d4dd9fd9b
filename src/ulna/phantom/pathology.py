"""Synthetic findings: fracture, plate with screws, lesion, joint degeneration.

A `Finding` is sampled once per study, without looking at a scene; inserted into the scene of each
view it lies at the same place of the same bone.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from ulna.phantom.scene import ROUND, Blob, Break, Crack, Joint, Metal, Point, Scene, Tube

# Shares among abnormal studies. At 128 pixels plates and lesions are plain; displaced fractures
# show, but are too few to train on; hairlines and mild degeneration hardly show. A small
# network trained from scratch on official train reached a study AUROC of 0.84 to 0.87 on official
# valid (73 studies, +/- 0.05); with 0.42 plates and milder lesions 0.74.
SHARES = {
    "plate": 0.54, "displaced_fracture": 0.13, "lesion": 0.25, "degeneration": 0.04,
    "hairline_fracture": 0.04,
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Kind of a finding, its site (0 to 1 through the list), and 12 numbers, its appearance."""

    kind: str
    site: float
    position: float
    looks: tuple[float, ...]


def sample_finding(kind: str, rng: Generator) -> Finding:
    """Sample the place and the appearance of a finding of a kind in `SHARES`."""
    return Finding(kind, rng.random(), rng.random(), tuple(rng.random(12).tolist()))


def insert_finding(scene: Scene, finding: Finding, rng: Generator) -> Scene:
    """Insert a synthetic finding into a healthy view; the box of `finding_points` contains it.

    The finding is the same in all views of a study; `rng` is its stream of this view: from which
    side a plate is seen.
    """
    if finding.kind == "degeneration":
        joint = scene.joints[int(finding.site * len(scene.joints))]
        return _degenerate(scene, joint, finding.looks)
    site = scene.sites[int(finding.site * len(scene.sites))]
    bone = scene.bone(site.bone)
    position = site.low + finding.position * (site.high - site.low)
    if finding.kind == "plate":
        return _plate(scene, bone, position, finding.looks, rng.uniform(0, 1))
    kinds = {"displaced_fracture": _fracture, "hairline_fracture": _hairline, "lesion": _lesion}
    return kinds[finding.kind](scene, bone, position, finding.looks)


def _swap(scene: Scene, bone: Tube) -> tuple[Tube, ...]:
    return tuple(bone if old.name == bone.name else old for old in scene.bones)


def _around(bone: Tube, position: float, along_mm: float, side: float) -> tuple[Point, ...]:
    reach = along_mm / bone.length_mm
    return tuple(
        bone.at(min(max(position + sign * reach, 0), 1), edge)
        for sign in (-1, 1)
        for edge in (-side, side)
    )


def _half_width(bone: Tube, position: float) -> float:
    return math.dist(bone.at(position, -1), bone.at(position, 1)) / 2


def _fracture(scene: Scene, bone: Tube, position: float, looks: tuple[float, ...]) -> Scene:
    half = _half_width(bone, position)
    direction = 1 if looks[0] < 0.5 else -1
    # Apart with a dark gap, or side by side with a dense overlap.
    apart = looks[2] < 0.5
    step = direction * half * ((1.0 if apart else 0.6) + looks[1])
    overlap = half * (-1.0 - 2.0 * looks[2] if apart else 0.8 + 2.4 * (looks[2] - 0.5))
    slope = half * (looks[3] - 0.5) * 1.6
    teeth = tuple(
        slope * x + half * 0.45 * (look - 0.5)
        for x, look in zip(np.linspace(-1, 1, 7).tolist(), looks[4:11], strict=True)
    )
    fractured = replace(bone, broken=Break(position, step, overlap, teeth))
    reach = half * 1.2 + abs(slope) + abs(overlap) / 2
    side = 1.15 + abs(step) / 2 / half
    return replace(
        scene, bones=_swap(scene, fractured), finding_points=_around(bone, position, reach, side)
    )


def _hairline(scene: Scene, bone: Tube, position: float, looks: tuple[float, ...]) -> Scene:
    half = _half_width(bone, position)
    slope = (looks[0] - 0.5) * 2.2
    width = max(0.35, 0.09 * half) * (0.8 + 0.5 * looks[1])
    reach = 1.1 if looks[2] < 0.6 else 0.2
    crack = Crack(position, slope, width, 0.45 + 0.3 * looks[3], reach)
    points = _around(bone, position, bone.half_width_mm * (abs(slope) + 0.6) + 2 * width, 1.1)
    return replace(scene, bones=_swap(scene, replace(bone, crack=crack)), finding_points=points)


def _plate(
    scene: Scene, bone: Tube, position: float, looks: tuple[float, ...], seen_from: float
) -> Scene:
    half = bone.half_width_mm
    screws = 4 + int(looks[0] * 3)
    pitch = half * (1.5 + 0.5 * looks[1])
    reach = min(pitch * screws / 2, 0.42 * bone.length_mm)
    low = max(position - reach / bone.length_mm, 0.04)
    high = min(position + reach / bone.length_mm, 0.96)
    tilt = math.radians(15 + 75 * seen_from)
    edge = (1 if looks[2] < 0.5 else -1) * math.sin(tilt)
    strip = half * (0.55 * math.cos(tilt) + 0.25)
    stations = np.linspace(low, high, screws * 2 + 1).tolist()
    spine = [bone.at(u, edge) for u in stations]
    metals = [Metal(a, b, strip) for a, b in zip(spine, spine[1:], strict=False)]
    for number in range(screws):
        u = stations[2 * number + 1] + (looks[3 + number] - 0.5) * 0.15 * pitch / bone.length_mm
        length = 0.9 + 0.35 * looks[(5 + number) % 12]
        metals.append(Metal(bone.at(u, edge), bone.at(u, -edge * length), 0.2 * half))
        metals.append(Metal(bone.at(u, edge * 1.12), bone.at(u, edge * 0.9), strip + 0.12 * half))
    points = np.array([point for piece in metals for point in (piece.start, piece.end)])
    pad = strip + 0.12 * half
    (left, top), (right, bottom) = (points.min(0) - pad).tolist(), (points.max(0) + pad).tolist()
    box = ((left, top), (right, bottom), (left, bottom), (right, top))
    return replace(scene, metals=(*scene.metals, *metals), finding_points=box)


def _lesion(scene: Scene, bone: Tube, position: float, looks: tuple[float, ...]) -> Scene:
    half = _half_width(bone, position)
    large = 1.0 + 0.7 * looks[0]
    radii = (half * large, half * large * (1.2 + 0.9 * looks[1]))
    centre = bone.at(position, 0.25 * (looks[2] - 0.5))
    angle = math.degrees(math.atan2(bone.end[0] - bone.start[0], bone.start[1] - bone.end[1]))
    deep = bone.half_width_mm * bone.density
    spread = 0.9 * half / bone.length_mm
    if looks[3] < 0.6:
        rim = Blob(centre, (radii[0] * 1.2, radii[1] * 1.2), angle, 1.0, 0.5 * deep)
        spots: tuple[Blob, ...] = (rim, Blob(centre, radii, angle, 0.1 * looks[4], 0.0))
    else:
        spots = tuple(
            Blob(
                bone.at(position + (looks[5 + k] - 0.5) * spread, looks[8 + k] - 0.5),
                (radii[0] * (0.5 + 0.15 * k), radii[1] * (0.5 + 0.1 * k)), angle, 1.0, 1.6 * deep,
            )
            for k in range(3)
        )  # fmt: skip
    points = _around(bone, position, radii[1] * 1.25, max(1.0, large) * 1.15)
    return replace(scene, blobs=(*scene.blobs, *spots), finding_points=points)


def _degenerate(scene: Scene, joint: Joint, looks: tuple[float, ...]) -> Scene:
    first, second = scene.bone(joint.first), scene.bone(joint.second)
    near, far = first.at(joint.first_end), second.at(joint.second_end)
    blobs: list[Blob] = []
    points: list[Point] = []
    spurs: list[Tube] = []
    severity = 0.5 + 0.5 * looks[0]
    ends = (first, joint.first_end, looks[1]), (second, joint.second_end, looks[2])
    for bone, end, look in ends:
        inner = 0.06 if end == 0 else 0.94
        half = _half_width(bone, inner)
        angle = math.degrees(math.atan2(bone.end[0] - bone.start[0], bone.start[1] - bone.end[1]))
        dense = severity * (bone.half_width_mm * bone.density) * 1.2
        blobs.append(Blob(bone.at(end), (half * 0.95, half * 0.38), angle, 1.0, dense))
        if look < 0.5:
            cyst = bone.at(inner, look - 0.25)
            blobs.append(Blob(cyst, (half * 0.25, half * 0.25), angle, 0.5, 0.0))
        for side in (-1, 1):
            root = bone.at(inner, side * 0.75)
            tip = bone.at(end + (0.5 - end) * 0.02, side * (1.2 + 0.5 * severity))
            width = half * 0.4 * severity
            spurs.append(Tube(f"spur {bone.name} {side}", root, tip, ROUND, width, density=0.9))
            points += [root, tip]
    # The second bone is pushed towards the first until little of the joint space is left.
    share = 0.55 + 0.4 * severity
    dx, dy = (near[0] - far[0]) * share, (near[1] - far[1]) * share
    limit = 2.2 / max(math.hypot(dx, dy), 2.2)
    start = (second.start[0] + dx * limit, second.start[1] + dy * limit)
    moved = replace(second, start=start) if joint.second_end == 0 else second
    return replace(
        scene, bones=(*_swap(scene, moved), *spurs), blobs=(*scene.blobs, *blobs),
        finding_points=(*points, near, far),
    )  # fmt: skip

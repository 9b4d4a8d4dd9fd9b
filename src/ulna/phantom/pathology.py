"""Synthetic findings: fractures, hardware, degeneration of a joint, lesions.

A `Finding` is sampled once per study, without looking at a scene; inserted into the scene of each
view it lies at the same place of the same bone.
"""

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from numpy.random import Generator

from ulna.phantom.scene import ROUND, Blob, Break, Crack, Disc, Joint, Metal, Point, Scene, Tube

# Of 100 abnormal studies of MURA that its authors looked through, 53 had a fracture, 48 hardware,
# 35 degenerative joint disease, 29 another abnormality, such as a lesion or a subluxation (arXiv
# 1712.06957, section 2); some had several. A study has one here: these numbers, as shares of 165.
SHARES = {
    "displaced_fracture": 0.22, "hairline_fracture": 0.10, "hardware": 0.29, "degeneration": 0.21,
    "lesion": 0.18,
}  # fmt: skip
# What is usual where: the paper does not say.
HARDWARE = {
    "ELBOW": {"plate": 0.5, "wires": 0.3, "prosthesis": 0.2},
    "FINGER": {"plate": 0.3, "wires": 0.5, "prosthesis": 0.2},
    "FOREARM": {"plate": 0.65, "wires": 0.1, "nail": 0.25},
    "HAND": {"plate": 0.45, "wires": 0.55},
    "HUMERUS": {"plate": 0.5, "nail": 0.35, "prosthesis": 0.15},
    "SHOULDER": {"plate": 0.4, "nail": 0.25, "prosthesis": 0.35},
    "WRIST": {"plate": 0.65, "wires": 0.3, "prosthesis": 0.05},
}
LESIONS = {"lytic": 0.4, "sclerotic": 0.3, "subluxation": 0.3}
# Bones that often break together.
NEIGHBOURS = {"radius": "ulna", "ulna": "radius"}


@dataclass(frozen=True)
class Finding:
    """Kind, detail, site (0 to 1 through the list) of a finding, and 16 numbers for its looks."""

    kind: str
    detail: str
    site: float
    position: float
    looks: tuple[float, ...]


def sample_finding(kind: str, body_part: str, rng: Generator) -> Finding:
    """Sample the detail, the place and the appearance of a finding of a kind in `SHARES`.

    The detail is one of `HARDWARE` or `LESIONS`, or empty.
    """
    site, position, choice = rng.random(), rng.random(), rng.random()
    shares = {"hardware": HARDWARE[body_part], "lesion": LESIONS}.get(kind, {"": 1.0})
    # A sum of shares may end below 1 by rounding: the last detail takes the rest.
    later = bisect(list(accumulate(shares.values()))[:-1], choice)
    return Finding(kind, list(shares)[later], site, position, tuple(rng.random(16).tolist()))


def insert_finding(scene: Scene, finding: Finding, rng: Generator) -> Scene:
    """Insert a synthetic finding into a healthy view; the box of `finding_points` contains it.

    The finding is the same in all views of a study; `rng` is its stream of this view: from which
    side a plate is seen.
    """
    joint = scene.joints[int(finding.site * len(scene.joints))]
    if finding.kind == "degeneration":
        return _degenerate(scene, joint, finding.looks)
    if finding.detail == "subluxation":
        return _subluxate(scene, joint, finding.looks)
    if finding.detail == "prosthesis":
        return _prosthesis(scene, scene.joints[0], finding.looks)  # the main joint of the part
    site = scene.sites[int(finding.site * len(scene.sites))]
    bone = scene.bone(site.bone)
    position = site.low + finding.position * (site.high - site.low)
    if finding.detail == "plate":
        return _plate(scene, bone, position, finding.looks, rng.random())
    if finding.detail == "nail":
        return _nail(scene, bone, finding.looks)
    kinds = {
        "displaced_fracture": _fracture, "hairline_fracture": _hairline, "wires": _wires,
        "lytic": _lytic, "sclerotic": _sclerotic,
    }  # fmt: skip
    return kinds[finding.detail or finding.kind](scene, bone, position, finding.looks)


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


def _spread(low: float, high: float, count: int) -> list[float]:
    """As many positions, evenly, the first `low` and the last `high`."""
    return [low + (high - low) * k / (count - 1) for k in range(count)]


def _degrees(bone: Tube) -> float:
    return math.degrees(math.atan2(bone.end[0] - bone.start[0], bone.start[1] - bone.end[1]))


def _fracture(scene: Scene, bone: Tube, position: float, looks: Sequence[float]) -> Scene:
    """Displaced sideways, at an angle, shortened or apart; sometimes both bones of the forearm."""
    broken = [_break(bone, position, looks)]
    names = {bone.name for bone in scene.bones}
    neighbour = NEIGHBOURS.get(bone.name, "")
    if neighbour in names and looks[15] < 0.7:
        place = min(max(position + 0.1 * (looks[14] - 0.5), 0.1), 0.93)
        broken.append(_break(scene.bone(neighbour), place, looks[::-1]))
    chips: list[Tube] = []
    points: list[Point] = []
    for fractured in broken:
        fault = fractured.broken
        assert fault is not None
        half = _half_width(fractured, fault.position)
        reach = half * 1.6 + abs(fault.overlap_mm) / 2
        side = 1.15 + (abs(fault.step_mm) / 2 + abs(fault.apex_mm)) / half
        points += _around(fractured, fault.position, reach, side)
        scene = replace(scene, bones=_swap(scene, fractured))
    half = _half_width(bone, position)
    for number in range(int(3 * looks[13])):
        side = (1.0 + 0.5 * looks[12]) * (-1 if (number + int(2 * looks[11])) % 2 else 1)
        reach = half * (0.25 + 0.5 * looks[4 + number]) / bone.length_mm
        ends = bone.at(position - reach, side), bone.at(position + reach, side * 0.8)
        chips.append(Tube(f"chip {number}", *ends, ROUND, 0.3 * half, cortex_mm=0.3 * half))
    return replace(scene, bones=(*scene.bones, *chips), finding_points=tuple(points))


def _break(bone: Tube, position: float, looks: Sequence[float]) -> Tube:
    half = _half_width(bone, position)
    direction = 1 if looks[0] < 0.5 else -1
    # A short fragment would turn out of the limb.
    shorter = bone.length_mm * min(position, 1 - position)
    step = min(half * (1.0 + 0.7 * looks[1]), 0.8 * shorter)
    # Mostly shortened, side by side; else apart with a dark gap.
    overlap = half * (-1.0 - 2.0 * looks[2] if looks[2] < 0.25 else 0.8 + 2.4 * looks[2])
    slope = half * (looks[3] - 0.5) * 1.6
    teeth = tuple(
        slope * x + half * 0.45 * (look - 0.5)
        for x, look in zip(_spread(-1, 1, 7), looks[4:11], strict=True)
    )
    # The apex that bends the axis by 5 to 30 degrees, at most a width of the bone off.
    angle = math.radians(5 + 25 * looks[11])
    apex = min(angle * bone.length_mm * position * (1 - position), 1.6 * half)
    apex = max(min(apex, 0.4 * shorter - step / 2), 0.0) * (1 if looks[12] < 0.5 else -1)
    return replace(bone, broken=Break(position, direction * step, overlap, teeth, apex))


def _hairline(scene: Scene, bone: Tube, position: float, looks: Sequence[float]) -> Scene:
    half = _half_width(bone, position)
    slope = (looks[0] - 0.5) * 2.2
    width = max(0.8, 0.25 * half) * (0.8 + 0.5 * looks[1])
    reach = 1.1 if looks[2] < 0.9 else 0.2
    crack = Crack(position, slope, width, 0.8 + 0.15 * looks[3], reach)
    points = _around(bone, position, bone.half_width_mm * (abs(slope) + 0.6) + 2 * width, 1.1)
    return replace(scene, bones=_swap(scene, replace(bone, crack=crack)), finding_points=points)


def _metal_density(look: float) -> float:
    """Of attenuation: steel hides the bone, thin titanium is little denser than a cortex."""
    return 0.5 + look if look < 0.5 else 0.08 + 0.4 * (look - 0.5)


def _with_metal(scene: Scene, pieces: Sequence[Metal | Disc]) -> Scene:
    xs, ys = [], []
    for piece in pieces:
        ends = (piece.centre,) if isinstance(piece, Disc) else (piece.start, piece.end)
        pad = piece.radius_mm if isinstance(piece, Disc) else piece.half_width_mm
        xs += [x + sign * pad for x, _ in ends for sign in (-1, 1)]
        ys += [y + sign * pad for _, y in ends for sign in (-1, 1)]
    box = tuple((x, y) for x in (min(xs), max(xs)) for y in (min(ys), max(ys)))
    return replace(scene, metals=(*scene.metals, *pieces), finding_points=box)


def _plate(
    scene: Scene, bone: Tube, position: float, looks: Sequence[float], seen_from: float
) -> Scene:
    """A plate with 2 to 6 screws, seen flat, on edge or between."""
    half = bone.half_width_mm
    screws = 2 + int(looks[0] * 5)
    pitch = half * (1.3 + 0.6 * looks[1])
    reach = min(pitch * screws / 2, 0.42 * bone.length_mm)
    low = max(position - reach / bone.length_mm, 0.04)
    high = min(position + reach / bone.length_mm, 0.96)
    density = _metal_density(looks[15])
    tilt = math.radians(90 * seen_from)
    edge = (1 if looks[2] < 0.5 else -1) * math.sin(tilt)
    # A strip 0.4 to 0.7 of the bone wide and a sixth of that thick.
    wide = half * (0.4 + 0.3 * looks[14])
    strip = wide * (math.cos(tilt) + math.sin(tilt) / 6)
    stations = _spread(low, high, screws * 2 + 1)
    spine = [bone.at(u, edge * 1.1) for u in stations]
    pieces: list[Metal | Disc] = [
        Metal(a, b, strip, density) for a, b in zip(spine, spine[1:], strict=False)
    ]
    thread = 0.16 * half
    for number in range(screws):
        u = stations[2 * number + 1] + (looks[3 + number] - 0.5) * 0.15 * pitch / bone.length_mm
        length = 0.8 + 0.35 * looks[9 + number % 5]
        tip = bone.at(u, -edge * length)
        head = bone.at(u, edge * 1.1)
        dense = min(1.0, 1.4 * density)
        pieces.append(Metal(head, tip, thread, dense, pitch_mm=0.25 * half))
        pieces.append(Disc(head, max(thread * 1.6, 0.5 * strip), dense, ball=False))
    return _with_metal(scene, pieces)


def _wires(scene: Scene, bone: Tube, position: float, looks: Sequence[float]) -> Scene:
    """Two or three wires across a bone, their ends outside it."""
    reach = (2.0 + 2.0 * looks[0]) * bone.half_width_mm / bone.length_mm
    thick = 0.5 + 0.5 * looks[1]
    density = 0.15 + 0.6 * looks[2]
    pieces: list[Metal | Disc] = []
    for number in range(2 + int(looks[3] * 2)):
        sign = -1 if number == 1 else 1
        lean = 1.0 + 0.8 * looks[4 + number]
        shift = (looks[7 + number] - 0.5) * 0.4 * reach
        low = bone.at(position + shift - reach, -sign * lean)
        high = bone.at(position + shift + reach, sign * (0.5 + 0.6 * looks[10 + number]))
        pieces.append(Metal(low, high, thick, density))
    return _with_metal(scene, pieces)


def _nail(scene: Scene, bone: Tube, looks: Sequence[float]) -> Scene:
    """A nail in the canal of a long bone, screws at both ends; a short one in a shoulder."""
    seen = max(site.high for site in scene.sites if site.bone == bone.name)
    low, high = 0.04 + 0.03 * looks[0], (0.9 if seen > 0.5 else 0.5) - 0.06 * looks[1]
    canal = max(bone.half_width_mm - bone.cortex_mm, 0.4 * bone.half_width_mm)
    thick = canal * (0.55 + 0.35 * looks[2])
    density = 0.35 + 0.65 * looks[3]
    spine = [bone.at(u) for u in _spread(low, high, 9)]
    pieces: list[Metal | Disc] = [
        Metal(a, b, thick, density, bore=0.4) for a, b in zip(spine, spine[1:], strict=False)
    ]
    screws = [low + 0.04, low + 0.09, high - 0.04, high - 0.09]
    for number, u in enumerate(screws[: 3 + int(looks[4] * 2)]):
        lean = 0.02 * (looks[5 + number] - 0.5)
        ends = bone.at(u - lean, -0.95), bone.at(u + lean, 0.95)
        pieces.append(Metal(*ends, 0.18 * bone.half_width_mm, density))
    return _with_metal(scene, pieces)


def _prosthesis(scene: Scene, joint: Joint, looks: Sequence[float]) -> Scene:
    """A ball or hinge and a stem in the first bone, a socket with a peg in the second."""
    first, second = scene.bone(joint.first), scene.bone(joint.second)
    inner = 0.06 if joint.first_end == 0 else 0.95
    # A hinge between two long bones is smaller than the ball of a shoulder.
    size = 0.4 if min(first.length_mm, second.length_mm) > 100 else 0.9
    ball = min(_half_width(first, inner), 2.1 * first.half_width_mm) * size
    density = 0.55 + 0.45 * looks[0]
    pieces: list[Metal | Disc] = []
    for bone, end, share in (
        (first, joint.first_end, 0.3 + 0.1 * looks[1]), (second, joint.second_end, 0.3),
    ):  # fmt: skip
        towards = 1 if end == 0 else -1
        root, tip = bone.at(end + 0.03 * towards), bone.at(end + share * towards)
        width = 0.7 * bone.half_width_mm
        pieces.append(Metal(root, tip, width, density, end_half_width_mm=0.4 * width))
    face = second.at(joint.second_end, -0.8), second.at(joint.second_end, 0.8)
    pieces += [Metal(*face, 0.2 * ball, density), Disc(first.at(inner), ball, density)]
    return _with_metal(scene, pieces)


def _lytic(scene: Scene, bone: Tube, position: float, looks: Sequence[float]) -> Scene:
    """A hole in the bone with a rim, which may be thin."""
    half = _half_width(bone, position)
    large = 1.0 + 0.6 * looks[0]
    radii = (half * large, half * large * (1.2 + 0.9 * looks[1]))
    centre = bone.at(position, 0.25 * (looks[2] - 0.5))
    rim = (0.1 + 0.5 * looks[3]) * bone.half_width_mm * bone.density
    spots = (
        Blob(centre, (radii[0] * 1.2, radii[1] * 1.2), _degrees(bone), 1.0, rim),
        Blob(centre, radii, _degrees(bone), 0.02 + 0.2 * looks[4], 0.0),
    )
    points = _around(bone, position, radii[1] * 1.25, max(1.0, large) * 1.2)
    return replace(scene, blobs=(*scene.blobs, *spots), finding_points=points)


def _sclerotic(scene: Scene, bone: Tube, position: float, looks: Sequence[float]) -> Scene:
    """Three dense spots that may merge."""
    half = _half_width(bone, position)
    spread = 0.9 * half / bone.length_mm
    dense = bone.half_width_mm * bone.density * (0.5 + 0.7 * looks[3])
    spots = tuple(
        Blob(
            bone.at(position + (looks[5 + k] - 0.5) * spread, looks[8 + k] - 0.5),
            (half * (0.45 + 0.3 * looks[11 + k]), half * (0.5 + 0.5 * looks[k])), _degrees(bone),
            1.0, dense,
        )
        for k in range(3)
    )  # fmt: skip
    points = _around(bone, position, half * 1.7, 1.4)
    return replace(scene, blobs=(*scene.blobs, *spots), finding_points=points)


def _subluxate(scene: Scene, joint: Joint, looks: Sequence[float]) -> Scene:
    """The end of the longer of two bones beside the joint, and somewhat past it."""
    bone, end = max(
        ((scene.bone(joint.first), joint.first_end), (scene.bone(joint.second), joint.second_end)),
        key=lambda pair: pair[0].length_mm,
    )
    ex = (bone.end[0] - bone.start[0]) / bone.length_mm
    ey = (bone.end[1] - bone.start[1]) / bone.length_mm
    half = min(_half_width(bone, 0.06 if end == 0 else 0.95), 2 * bone.half_width_mm)
    aside = half * (1.1 + 0.8 * looks[0]) * (1 if looks[1] < 0.5 else -1)
    past = half * (0.3 + 0.6 * looks[2]) * (-1 if end == 0 else 1)
    old = bone.start if end == 0 else bone.end
    new = (old[0] - ey * aside + ex * past, old[1] + ex * aside + ey * past)
    moved = replace(bone, start=new) if end == 0 else replace(bone, end=new)
    inner = 0.1 if end == 0 else 0.9
    points = [moved.at(u, side) for u in (end, inner) for side in (-1.1, 1.1)]
    points += [bone.at(u, side) for u in (end, inner) for side in (-1.0, 1.0)]
    return replace(scene, bones=_swap(scene, moved), finding_points=tuple(points))


def _degenerate(scene: Scene, joint: Joint, looks: Sequence[float]) -> Scene:
    """A joint, of a hand often those of the neighbouring fingers too."""
    finger, _, segment = joint.second.partition(" ")
    row = [joint]
    if segment and finger != "thumb":
        row = [j for j in scene.joints if j.second.endswith(segment) and "thumb" not in j.second]
    here, reach = row.index(joint), int(looks[15] * 3)
    points: list[Point] = []
    for worn in row[max(here - reach, 0) : here + reach + 1]:
        scene = _wear(scene, worn, looks)
        points += scene.finding_points
    return replace(scene, finding_points=tuple(points))


def _wear(scene: Scene, joint: Joint, looks: Sequence[float]) -> Scene:
    """Little joint space, dense ends of the bones, spurs, sometimes a cyst."""
    first, second = scene.bone(joint.first), scene.bone(joint.second)
    near, far = first.at(joint.first_end), second.at(joint.second_end)
    blobs: list[Blob] = []
    points: list[Point] = []
    spurs: list[Tube] = []
    severity = 0.7 + 0.3 * looks[0]
    ends = (first, joint.first_end, looks[1]), (second, joint.second_end, looks[2])
    for bone, end, look in ends:
        inner = 0.06 if end == 0 else 0.94
        half = _half_width(bone, inner)
        dense = severity * (bone.half_width_mm * bone.density) * 1.8
        blobs.append(Blob(bone.at(end), (half * 1.0, half * 0.45), _degrees(bone), 1.0, dense))
        if look < 0.5:
            cyst = bone.at(inner, look - 0.25)
            blobs.append(Blob(cyst, (half * 0.25, half * 0.25), _degrees(bone), 0.3, 0.0))
        for side in (-1, 1):
            root = bone.at(inner, side * 0.6)
            tip = bone.at(end + (0.5 - end) * 0.02, side * (1.15 + 0.4 * severity))
            width = min(half, 1.7 * bone.half_width_mm) * 0.4 * severity
            spurs.append(Tube(f"spur {bone.name} {side}", root, tip, ROUND, width, density=0.9))
            points += [root, tip]
    # The second bone is pushed towards the first until little of the joint space is left.
    share = 0.6 + 0.4 * severity
    dx, dy = (near[0] - far[0]) * share, (near[1] - far[1]) * share
    limit = 2.6 / max(math.hypot(dx, dy), 2.6)
    moved = replace(second, start=(second.start[0] + dx * limit, second.start[1] + dy * limit))
    return replace(
        scene, bones=(*_swap(scene, moved), *spurs), blobs=(*scene.blobs, *blobs),
        finding_points=(*points, near, far),
    )  # fmt: skip

"""Schematic arms: seven body parts as bones, joints and the soft tissue around them.

Lengths and widths are those of an adult arm, rounded; the fingers point up. What differs between
people and between views comes from random streams that do not know the label.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from numpy.random import Generator

from ulna.phantom.scene import (
    BLADE,
    DIGIT,
    HUMERUS,
    HUMERUS_SIDE,
    LIMB,
    METACARPAL,
    PALM,
    PHALANX,
    RADIUS,
    ROD,
    ROUND,
    TUFT,
    ULNA,
    Joint,
    Metal,
    Point,
    Scene,
    Site,
    Tube,
)


@dataclass(frozen=True)
class Person:
    """What all views of a study share, as factors around 1."""

    width: float
    cortex: float
    density: float
    flesh: float
    gap: float
    ring: bool
    lengths: tuple[float, ...] = field(repr=False)


def draw_person(rng: Generator) -> Person:
    """Draw a person's build.

    Args:
        rng: The study's own stream; it must not know the label.

    Returns:
        Factors for bone width, cortex, density, soft tissue, joint space and 40 bone lengths, and
        whether a ring is worn.
    """
    return Person(
        width=rng.uniform(0.85, 1.2),
        cortex=rng.uniform(0.7, 1.3),
        density=rng.uniform(0.8, 1.25),
        flesh=rng.uniform(0.85, 1.35),
        gap=rng.uniform(0.85, 1.2),
        ring=rng.random() < 0.06,
        lengths=tuple(rng.uniform(0.94, 1.06, 40).tolist()),
    )


def _point(origin: Point, degrees: float, length: float) -> Point:
    """Go from origin; 0 degrees is up, positive is to the right."""
    angle = math.radians(degrees)
    return (origin[0] + length * math.sin(angle), origin[1] - length * math.cos(angle))


# Name, base x and y, degrees, then lengths and half-widths of metacarpal and phalanges, all in mm.
RAYS = (
    ("thumb", -22.0, -21.0, -42.0, (44, 31, 22), (4.6, 4.0, 3.2)),
    ("index", -14.0, -29.0, -9.0, (65, 40, 24, 17), (4.2, 4.0, 3.3, 2.5)),
    ("middle", -4.5, -31.0, -1.5, (63, 44, 28, 18), (4.2, 4.2, 3.5, 2.6)),
    ("ring", 4.5, -29.0, 6.0, (56, 41, 26, 18), (3.7, 3.9, 3.2, 2.5)),
    ("little", 13.0, -26.0, 14.0, (52, 32, 19, 16), (3.6, 3.3, 2.8, 2.2)),
)
SEGMENTS = ("metacarpal", "proximal", "middle", "distal")
THUMB_SEGMENTS = ("metacarpal", "proximal", "distal")
# Name, centre x and y, half-length and half-width in mm, degrees of the long axis.
CARPALS = (
    ("scaphoid", -11.5, -10.0, 10.5, 5.6, -40.0),
    ("lunate", -0.5, -7.5, 7.2, 6.6, 70.0),
    ("triquetrum", 9.0, -11.0, 7.2, 5.8, 40.0),
    ("pisiform", 11.5, -13.5, 4.4, 3.8, 0.0),
    ("trapezium", -18.5, -19.5, 7.6, 6.2, -50.0),
    ("trapezoid", -11.5, -22.5, 6.4, 5.4, -20.0),
    ("capitate", -2.5, -20.0, 11.0, 6.6, 0.0),
    ("hamate", 7.5, -20.5, 9.5, 7.0, 15.0),
)
DIGIT_HALF_WIDTH_MM = 8.5


def _ray(
    person: Person, index: int, squeeze: float, curl: float, spread: float
) -> tuple[list[Tube], list[Tube], list[Joint]]:
    name, x, y, degrees, lengths, widths = RAYS[index]
    segments = THUMB_SEGMENTS if name == "thumb" else SEGMENTS
    degrees = degrees * squeeze + spread
    here = (x * squeeze, y)
    bones: list[Tube] = []
    flesh: list[Tube] = []
    joints = []
    for number, (segment, length, width) in enumerate(zip(segments, lengths, widths, strict=True)):
        size_mm = length * person.lengths[index * 5 + number]
        last = number == len(segments) - 1
        outline = METACARPAL if number == 0 else TUFT if last else PHALANX
        end = _point(here, degrees, size_mm)
        width *= person.width
        bones.append(
            Tube(
                f"{name} {segment}",
                here,
                end,
                outline,
                width,
                0.02 * size_mm,
                0.36 * width * person.cortex,
            )
        )
        half = DIGIT_HALF_WIDTH_MM * (1.15 - 0.1 * number) * person.flesh
        flesh.append(Tube("flesh", here, _point(end, degrees, 7 if last else 3), DIGIT, half))
        if number:
            joints.append(Joint(bones[-2].name, 1, bones[-1].name, 0))
        here = _point(end, degrees, 1.9 * person.gap)
        degrees += curl if number else 0.5 * curl
    return bones, flesh, joints


def _carpals(person: Person, squeeze: float) -> list[Tube]:
    bones = []
    for name, x, y, half_length, half_width, degrees in CARPALS:
        centre = (x * squeeze, y + 2.0)
        size = 0.97 * (2 - person.gap) ** 0.3
        bones.append(
            Tube(
                name,
                _point(centre, degrees, -half_length * size),
                _point(centre, degrees, half_length * size),
                ROUND,
                half_width * size,
                0.0,
                0.9 * person.cortex,
                0.8,
            )
        )
    return bones


def _forearm(person: Person, squeeze: float, cross: float) -> list[Tube]:
    """Radius and ulna, elbow to wrist; `cross` moves the distal ulna behind the radius (mm)."""
    radius_mm, ulna_mm = 235 * person.lengths[30], 252 * person.lengths[31]
    wide = person.width
    gap = 1.2 * person.gap
    bottom = radius_mm + gap
    return [
        Tube(
            "ulna", (11 * squeeze, bottom + 0.08 * ulna_mm), (11.5 * squeeze + cross, gap + 1.5),
            ULNA, 6.6 * wide, 2.0, 2.5 * person.cortex * wide,
        ),
        Tube(
            "radius", (-9.5 * squeeze, bottom), (-5.5 * squeeze, gap), RADIUS, 6.8 * wide,
            -6.0 * squeeze, 2.5 * person.cortex * wide,
        ),
        Tube(
            "radial styloid", (-17 * squeeze, 16), (-17.5 * squeeze, -3.5), ROUND, 5.0,
            density=0.4,
        ),
        Tube(
            "ulnar styloid", (15 * squeeze + cross, 9), (16 * squeeze + cross, -3), ROUND, 2.5,
            density=0.5,
        ),
    ]  # fmt: skip


def _hand(person: Person, pose: Generator, view: int) -> Scene:
    squeeze = (1.0, 0.72, 0.22, 0.85)[view % 4] * pose.uniform(0.93, 1.07)
    lateral = view % 4 == 2
    bones = [*_forearm(person, squeeze, 0.0), *_carpals(person, squeeze)]
    joints = [Joint("radius", 1, "scaphoid", 0), Joint("radius", 1, "lunate", 0)]
    flesh: list[Tube] = []
    for index in range(5):
        curl = pose.normal(0, 3) + (pose.uniform(2, 16) if lateral else 0)
        more_bones, more_flesh, more_joints = _ray(
            person, index, squeeze, curl, pose.normal(0, 2.5)
        )
        bones += more_bones
        flesh += more_flesh
        joints += more_joints
    palm = (38 if not lateral else 23) * person.flesh
    flat = 0.9 if lateral else 0.42
    flesh.append(Tube("palm", (0, 34), (0, -104), PALM, palm * 1.04, density=flat))
    flesh.append(Tube("ball", (-12, 2), (-44 * squeeze, -62), ROUND, 17 * person.flesh))
    wide = (27 if lateral else 34) * person.flesh
    flesh.append(Tube("arm", (0, 320), (0, -40), LIMB, wide, density=0.62))
    names = [f"{ray} {segment}" for ray, *_ in RAYS for segment in ("metacarpal", "proximal")]
    sites = tuple(Site(name, 0.25, 0.75) for name in names)
    return Scene(
        tuple(bones), tuple(flesh), tuple(joints), sites, (-82, -195, 82, 45), 0.017, 0.085
    )


def _wrist(person: Person, pose: Generator, view: int) -> Scene:
    scene = _hand(person, pose, view)
    sites = (
        Site("radius", 0.78, 0.93), Site("radius", 0.78, 0.93), Site("ulna", 0.78, 0.93),
        Site("index metacarpal", 0.2, 0.5), Site("little metacarpal", 0.2, 0.5),
    )  # fmt: skip
    narrow = 34 if view % 4 == 2 else 48
    thumb_base = Joint("trapezium", 1, "thumb metacarpal", 0)
    return replace(
        scene, sites=sites, joints=(*scene.joints[:2], scene.joints[0], thumb_base),
        window=(-narrow, -78, narrow, 78), bone_mu=0.068, tissue_mu=0.0125,
    )  # fmt: skip


def _finger(person: Person, pose: Generator, view: int) -> Scene:
    chosen = 1 + int(person.lengths[39] * 1000) % 4
    name = RAYS[chosen][0]
    lateral = view % 4 == 2
    bones: list[Tube] = []
    flesh: list[Tube] = []
    joints: list[Joint] = []
    for index in range(1, 5):
        if lateral and index != chosen:
            continue
        curl = pose.normal(0, 2) + (pose.uniform(3, 14) if lateral else 0)
        parts = _ray(person, index, 1.0, curl, pose.normal(0, 2))
        bones += parts[0]
        flesh += parts[1]
        joints += parts[2] if index == chosen else []
    middle = next(bone for bone in bones if bone.name == f"{name} middle")
    x, y = middle.start
    half = pose.uniform(20, 34)
    sites = tuple(Site(f"{name} {segment}", 0.2, 0.75) for segment in ("proximal", "middle"))
    flesh.append(Tube("palm", (-2, 34), (0, -104), PALM, 39 * person.flesh, density=0.42))
    return Scene(
        tuple(bones),
        tuple(flesh),
        tuple(joints),
        sites,
        (x - half, y - 66, x + half, y + 62),
        0.021,
        0.11,
    )


def _humerus_tube(person: Person, elbow: Point, degrees: float) -> Tube:
    length = 300 * person.lengths[32]
    wide = person.width
    head = _point(elbow, degrees, -length)
    return Tube("humerus", head, elbow, HUMERUS, 10.5 * wide, 2.5, 3.8 * person.cortex * wide)


def _arm(person: Person, pose: Generator, view: int) -> Scene:
    """Forearm and elbow: extended from the front, flexed from the side."""
    lateral = view % 2 == 1
    squeeze = 0.3 if lateral else pose.uniform(0.85, 1.1)
    forearm = _forearm(person, squeeze, pose.normal(0, 1.5))
    radius = forearm[1]
    bones = [*forearm, *_carpals(person, 0.3 if lateral else 1.0)]
    elbow = (0.0, radius.start[1] + 2.2 * person.gap)
    flexion = pose.uniform(60, 95) if lateral else pose.normal(4, 4)
    if lateral:
        elbow = (elbow[0] + 7, elbow[1] + 4)
    humerus = _humerus_tube(person, elbow, -flexion)
    if lateral:
        humerus = replace(humerus, outline=HUMERUS_SIDE)
    arm = 37 * person.flesh
    tissue = (
        Tube("forearm", _point(elbow, 0, -38), (0, -40), LIMB, arm),
        Tube("upper arm", humerus.start, _point(elbow, -flexion, 42), LIMB, 50 * person.flesh),
        Tube("palm", (0, 30), (0, -110), PALM, (25 if lateral else 40) * person.flesh, density=0.6),
    )
    bones.append(humerus)
    for index in range(5):
        parts = _ray(person, index, squeeze, 0.0, 0.0)
        bones.append(parts[0][0])
    joints = (Joint("humerus", 1, "radius", 0), Joint("humerus", 1, "ulna", 0))
    sites = (Site("radius", 0.25, 0.8), Site("ulna", 0.2, 0.8))
    return Scene(tuple(bones), tissue, joints, sites, (-48, -32, 48, elbow[1] + 38), 0.0088, 0.066)


def _elbow(person: Person, pose: Generator, view: int) -> Scene:
    scene = _arm(person, pose, view)
    x, y = scene.bone("radius").start
    window = (-48.0, y - 80, 95.0, y + 50) if view % 2 == 1 else (-52.0, y - 75, 52.0, y + 85)
    sites = (
        Site("humerus", 0.76, 0.9), Site("radius", 0.1, 0.24), Site("ulna", 0.12, 0.26)
    )  # fmt: skip
    return replace(scene, window=window, sites=sites, bone_mu=0.056, tissue_mu=0.0078)


def _shoulder(person: Person, pose: Generator, view: int) -> Scene:
    """Shoulder from the front; the arm hangs at different angles, the last views look along Y."""
    degrees = pose.uniform(-4, 28) if view % 3 < 2 else pose.uniform(30, 75)
    length = 300 * person.lengths[32]
    wide = person.width
    head = (0.0, 0.0)
    cap = _point(head, 180 - degrees, -22)
    end = _point(cap, 180 - degrees, length)
    humerus = Tube("humerus", cap, end, HUMERUS, 10.5 * wide, -2.5, 3.8 * person.cortex * wide)
    gap = 27 * wide + 3.5 * person.gap
    turn = pose.normal(0, 3)
    bones = [
        Tube(
            "rib",
            (60 + 8 * i * 0.2, -30 + 27 * i),
            (150, -52 + 30 * i),
            ROD,
            5.2,
            18 - 2 * i,
            1.4,
            0.5,
        )
        for i in range(6)
    ]
    bones += [
        Tube("blade", (gap + 4, 4), (gap + 62, 128), BLADE, 26, 0, 1.2, 0.2),
        Tube("spine", (gap + 84, -8 + turn), (gap - 10, -25), ROUND, 6, 3, 1.5, 0.5),
        Tube("glenoid", (gap, -17), (gap + 5, 22), ROUND, 6.5 * wide, 0, 2.0, 0.75),
        Tube("coracoid", (gap + 16, -16), (gap - 4, -10), ROUND, 6.0, 2, 1.5, 0.5),
        Tube("acromion", (gap + 6, -36), (-14, -33), ROUND, 6.5, -3, 1.6, 0.6),
        Tube(
            "clavicle", (140, -46 + turn), (4, -42), ROD, 6.0 * wide, -7, 2.2 * person.cortex, 0.8
        ),
        humerus,
    ]
    joints = (Joint("humerus", 0, "glenoid", 0), Joint("clavicle", 1, "acromion", 0))
    sites = (Site("humerus", 0.13, 0.3), Site("humerus", 0.13, 0.3), Site("clavicle", 0.35, 0.8))
    flesh = person.flesh
    tissue = (
        Tube("arm", (3, -42), _point(end, 180 - degrees, 40), LIMB, 44 * flesh),
        Tube("chest", (128, -75), (140, 460), LIMB, 92 * flesh),
        Tube("trapezius", (-18, -8), (210, -105), ROUND, 50 * flesh),
        Tube("neck", (185, 60), (185, -260), ROUND, 62),
    )
    holes = (Tube("lung", (112, -30), (140, 300), ROUND, 48),)
    return Scene(
        tuple(bones), tissue, joints, sites, (-72, -85, 118, 135), 0.0058, 0.042, holes=holes
    )


def _humerus(person: Person, pose: Generator, view: int) -> Scene:
    scene = _shoulder(person, pose, 0)
    humerus = scene.bone("humerus")
    sites = (Site("humerus", 0.2, 0.82),)
    x, y = humerus.end
    bones = tuple(bone for bone in scene.bones if bone.name != "humerus")
    if view % 2 == 1:
        humerus = replace(humerus, outline=HUMERUS_SIDE)
    forearm = (
        Tube("radius", (x - 9, y + 3), (x - 14, y + 150), RADIUS, 6.8 * person.width, 0, 2.5),
        Tube("ulna", (x + 7, y - 16), (x + 12, y + 150), ULNA, 6.6 * person.width, 0, 2.5),
    )
    tissue = (*scene.tissue, Tube("forearm", (x, y - 20), (x, y + 150), LIMB, 40 * person.flesh))
    left, right = min(-55.0, x - 50), max(62.0, x + 48)
    return replace(
        scene, bones=(*bones, *forearm, humerus), tissue=tissue, sites=sites,
        window=(left, -62, right, y + 45), bone_mu=0.047,
    )  # fmt: skip


BUILDERS: dict[str, Callable[[Person, Generator, int], Scene]] = {
    "ELBOW": _elbow,
    "FINGER": _finger,
    "FOREARM": _arm,
    "HAND": _hand,
    "HUMERUS": _humerus,
    "SHOULDER": _shoulder,
    "WRIST": _wrist,
}


def build_scene(body_part: str, person: Person, pose: Generator, view: int) -> Scene:
    """Pose a person's body part for one view.

    Args:
        body_part: One of the seven MURA parts.
        person: The study's build.
        pose: The view's own stream; it must not know the label.
        view: 0 for the first view, which is frontal; later ones are oblique or lateral.

    Returns:
        The healthy scene.
    """
    scene = BUILDERS[body_part](person, pose, view)
    bones = tuple(replace(bone, density=bone.density * person.density) for bone in scene.bones)
    return replace(scene, bones=bones, metals=_ring(scene) if person.ring else ())


def _ring(scene: Scene) -> tuple[Metal, ...]:
    """A ring, where the ring finger is in view: metal that is no finding."""
    fingers = [bone for bone in scene.bones if bone.name == "ring proximal"]
    return tuple(Metal(bone.at(0.45, -1.9), bone.at(0.45, 1.9), 1.5) for bone in fingers)

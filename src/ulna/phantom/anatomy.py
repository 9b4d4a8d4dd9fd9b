"""Schematic arms: seven body parts as bones, joints and the soft tissue around them.

The fingers point up. Differences between people and between views come from random streams that do
not know the label.
"""

from collections.abc import Callable
from dataclasses import replace

from numpy.random import Generator

from ulna.phantom.scene import (
    BLADE,
    HUMERUS,
    HUMERUS_SIDE,
    LIMB,
    PALM,
    RADIUS,
    ROD,
    ROUND,
    ULNA,
    Joint,
    Metal,
    Scene,
    Site,
    Tube,
)
from ulna.phantom.skeleton import (
    RAYS,
    Person,
    build_carpals,
    build_forearm,
    build_humerus,
    build_ray,
    go,
    sample_person,
)


def _hand(person: Person, pose: Generator, view: int) -> Scene:
    squeeze = (1.0, 0.72, 0.22, 0.85)[view % 4] * pose.uniform(0.93, 1.07)
    lateral = view % 4 == 2
    bones = [*build_forearm(person, squeeze, 0.0), *build_carpals(person, squeeze)]
    joints = [Joint("radius", 1, "scaphoid", 0), Joint("radius", 1, "lunate", 0)]
    flesh: list[Tube] = []
    for index in range(5):
        curl = pose.normal(0, 3) + (pose.uniform(2, 16) if lateral else 0)
        more_bones, more_flesh, more_joints = build_ray(
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
    window = (-82, -195, 82, 45)
    return Scene(tuple(bones), tuple(flesh), tuple(joints), sites, window, 0.017, 0.085)


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
        parts = build_ray(person, index, 1.0, curl, pose.normal(0, 2))
        bones += parts[0]
        flesh += parts[1]
        joints += parts[2] if index == chosen else []
    middle = next(bone for bone in bones if bone.name == f"{name} middle")
    x, y = middle.start
    half = pose.uniform(20, 34)
    sites = tuple(Site(f"{name} {segment}", 0.2, 0.75) for segment in ("proximal", "middle"))
    flesh.append(Tube("palm", (-2, 34), (0, -104), PALM, 39 * person.flesh, density=0.42))
    window = (x - half, y - 66, x + half, y + 62)
    return Scene(tuple(bones), tuple(flesh), tuple(joints), sites, window, 0.021, 0.11)


def _arm(person: Person, pose: Generator, view: int) -> Scene:
    """Forearm and elbow: extended from the front, flexed from the side."""
    lateral = view % 2 == 1
    squeeze = 0.3 if lateral else pose.uniform(0.85, 1.1)
    forearm = build_forearm(person, squeeze, pose.normal(0, 1.5))
    radius = forearm[1]
    bones = [*forearm, *build_carpals(person, 0.3 if lateral else 1.0)]
    elbow = (0.0, radius.start[1] + 2.2 * person.gap)
    flexion = pose.uniform(60, 95) if lateral else pose.normal(4, 4)
    if lateral:
        elbow = (elbow[0] + 7, elbow[1] + 4)
    humerus = build_humerus(person, elbow, -flexion)
    if lateral:
        humerus = replace(humerus, outline=HUMERUS_SIDE)
    arm = 37 * person.flesh
    tissue = (
        Tube("forearm", go(elbow, 0, -38), (0, -40), LIMB, arm),
        Tube("upper arm", humerus.start, go(elbow, -flexion, 42), LIMB, 50 * person.flesh),
        Tube("palm", (0, 30), (0, -110), PALM, (25 if lateral else 40) * person.flesh, density=0.6),
    )
    bones.append(humerus)
    for index in range(5):
        parts = build_ray(person, index, squeeze, 0.0, 0.0)
        bones.append(parts[0][0])
    joints = (Joint("humerus", 1, "radius", 0), Joint("humerus", 1, "ulna", 0))
    sites = (Site("radius", 0.25, 0.8), Site("ulna", 0.2, 0.8))
    return Scene(tuple(bones), tissue, joints, sites, (-48, -32, 48, elbow[1] + 38), 0.0088, 0.066)


def _elbow(person: Person, pose: Generator, view: int) -> Scene:
    scene = _arm(person, pose, view)
    x, y = scene.bone("radius").start
    window = (-48.0, y - 80, 95.0, y + 50) if view % 2 == 1 else (-52.0, y - 75, 52.0, y + 85)
    sites = (Site("humerus", 0.76, 0.9), Site("radius", 0.1, 0.24), Site("ulna", 0.12, 0.26))
    return replace(scene, window=window, sites=sites, bone_mu=0.056, tissue_mu=0.0078)


def _shoulder(person: Person, pose: Generator, view: int) -> Scene:
    """Shoulder from the front; the arm hangs at different angles, the last views look along Y."""
    degrees = pose.uniform(-4, 28) if view % 3 < 2 else pose.uniform(30, 75)
    length = 300 * person.lengths[32]
    wide = person.width
    head = (0.0, 0.0)
    cap = go(head, 180 - degrees, -22)
    end = go(cap, 180 - degrees, length)
    humerus = Tube("humerus", cap, end, HUMERUS, 10.5 * wide, -2.5, 3.8 * person.cortex * wide)
    gap = 27 * wide + 3.5 * person.gap
    turn = pose.normal(0, 3)
    bones = []
    for i in range(6):
        start, tip = (60 + 8 * i * 0.2, -30 + 27 * i), (150, -52 + 30 * i)
        bones.append(Tube("rib", start, tip, ROD, 5.2, 18 - 2 * i, 1.4, 0.5))
    bones += [
        Tube("blade", (gap + 4, 4), (gap + 62, 128), BLADE, 26, 0, 1.2, 0.2),
        Tube("spine", (gap + 84, -8 + turn), (gap - 10, -25), ROUND, 6, 3, 1.5, 0.5),
        Tube("glenoid", (gap, -17), (gap + 5, 22), ROUND, 6.5 * wide, 0, 2.0, 0.75),
        Tube("coracoid", (gap + 16, -16), (gap - 4, -10), ROUND, 6.0, 2, 1.5, 0.5),
        Tube("acromion", (gap + 6, -36), (-14, -33), ROUND, 6.5, -3, 1.6, 0.6),
        Tube("clavicle", (140, -46 + turn), (4, -42), ROD, 6 * wide, -7, 2.2 * person.cortex, 0.8),
        humerus,
    ]
    joints = (Joint("humerus", 0, "glenoid", 0), Joint("clavicle", 1, "acromion", 0))
    sites = (Site("humerus", 0.13, 0.3), Site("humerus", 0.13, 0.3), Site("clavicle", 0.35, 0.8))
    flesh = person.flesh
    tissue = (
        Tube("arm", (3, -42), go(end, 180 - degrees, 40), LIMB, 44 * flesh),
        Tube("chest", (128, -75), (140, 460), LIMB, 92 * flesh),
        Tube("trapezius", (-18, -8), (210, -105), ROUND, 50 * flesh),
        Tube("neck", (185, 60), (185, -260), ROUND, 62),
    )
    holes = (Tube("lung", (112, -30), (140, 300), ROUND, 48),)
    window = (-72, -85, 118, 135)
    return Scene(tuple(bones), tissue, joints, sites, window, 0.0058, 0.042, holes=holes)


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
    "ELBOW": _elbow, "FINGER": _finger, "FOREARM": _arm, "HAND": _hand, "HUMERUS": _humerus,
    "SHOULDER": _shoulder, "WRIST": _wrist,
}  # fmt: skip


def build_scene(body_part: str, build: Generator, pose: Generator, view: int) -> Scene:
    """Pose a person's body part, one of MURA's seven, for one view: a healthy scene.

    `build` is the study's own stream, `pose` the view's; neither may know the label. View 0 is
    frontal, later ones are oblique or lateral.
    """
    person = sample_person(build)
    scene = BUILDERS[body_part](person, pose, view)
    bones = tuple(replace(bone, density=bone.density * person.density) for bone in scene.bones)
    # A ring, where the ring finger is in view: metal that is no finding.
    fingers = [bone for bone in scene.bones if person.ring and bone.name == "ring proximal"]
    rings = tuple(Metal(bone.at(0.45, -1.9), bone.at(0.45, 1.9), 1.5) for bone in fingers)
    return replace(scene, bones=bones, metals=rings)

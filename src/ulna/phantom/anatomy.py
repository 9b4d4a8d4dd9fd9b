"""Schematic arms: seven body parts as bones, joints and the soft tissue around them.

The sites of findings are where bones often break: the necks of the outer metacarpals, the radius
above the wrist, the middle of a shaft, the humerus below its head and above the elbow.
The fingers point up. Differences between people and between views come from random streams that do
not know the label.
"""

from collections.abc import Callable
from dataclasses import replace

from numpy.random import Generator

from ulna.phantom.scene import (
    BLADE,
    CLAVICLE,
    HUMERUS,
    HUMERUS_SIDE,
    LIMB,
    PALM,
    RADIUS,
    RIB,
    ROUND,
    ULNA,
    Joint,
    Metal,
    Outline,
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
    sites = (
        Site("little metacarpal", 0.55, 0.75), Site("little metacarpal", 0.55, 0.75),
        Site("ring metacarpal", 0.45, 0.65), Site("thumb metacarpal", 0.2, 0.4),
        Site("index proximal", 0.3, 0.6),
    )  # fmt: skip
    window = (-82, -195, 82, 45)
    return Scene(tuple(bones), tuple(flesh), tuple(joints), sites, window, 0.017, 0.085)


def _wrist(person: Person, pose: Generator, view: int) -> Scene:
    scene = _hand(person, pose, view)
    sites = (
        Site("radius", 0.82, 0.91), Site("radius", 0.82, 0.91), Site("radius", 0.82, 0.91),
        Site("ulna", 0.82, 0.91),
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
    sites = (Site(f"{name} proximal", 0.35, 0.65), Site(f"{name} middle", 0.35, 0.65))
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
    joints = (Joint("humerus", 1, "ulna", 0), Joint("humerus", 1, "radius", 0))
    sites = (Site("radius", 0.45, 0.65), Site("ulna", 0.45, 0.65))
    return Scene(tuple(bones), tissue, joints, sites, (-48, -32, 48, elbow[1] + 38), 0.0088, 0.066)


def _elbow(person: Person, pose: Generator, view: int) -> Scene:
    scene = _arm(person, pose, view)
    x, y = scene.bone("radius").start
    window = (-48.0, y - 80, 95.0, y + 50) if view % 2 == 1 else (-52.0, y - 75, 52.0, y + 85)
    sites = (Site("humerus", 0.82, 0.89), Site("radius", 0.09, 0.17), Site("ulna", 0.14, 0.22))
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
    medial = (140, -46 + turn)
    bones = []
    for i in range(6):
        start, tip = (60 + 8 * i * 0.2, -30 + 27 * i), (150, -52 + 30 * i)
        bones.append(Tube("rib", start, tip, RIB, 5.2, 18 - 2 * i, 1.4, 0.5))
    bones += [
        Tube("blade", (gap + 4, 4), (gap + 62, 128), BLADE, 26, 0, 1.2, 0.2),
        Tube("spine", (gap + 84, -8 + turn), (gap - 10, -25), ROUND, 6, 3, 1.5, 0.5),
        Tube("glenoid", (gap, -17), (gap + 5, 22), ROUND, 6.5 * wide, 0, 2.0, 0.75),
        Tube("coracoid", (gap + 16, -16), (gap - 4, -10), ROUND, 6.0, 2, 1.5, 0.5),
        Tube("acromion", (gap + 6, -36), (-14, -33), ROUND, 6.5, -3, 1.6, 0.6),
        Tube("clavicle", medial, (4, -42), CLAVICLE, 6 * wide, -7, 2.2 * person.cortex, 0.8),
        humerus,
    ]
    shoulder = Joint("humerus", 0, "glenoid", 0)
    joints = (shoulder, shoulder, Joint("clavicle", 1, "acromion", 0))
    sites = (Site("humerus", 0.14, 0.24), Site("humerus", 0.14, 0.24), Site("clavicle", 0.5, 0.7))
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
    sites = (Site("humerus", 0.4, 0.65),)
    x, y = humerus.end
    bones = tuple(bone for bone in scene.bones if bone.name != "humerus")
    if view % 2 == 1:
        humerus = replace(humerus, outline=HUMERUS_SIDE)
    forearm = (
        Tube("radius", (x - 9, y + 3), (x - 14, y + 150), RADIUS, 6.8 * person.width, 0, 2.5),
        Tube("ulna", (x + 7, y - 16), (x + 12, y + 150), ULNA, 6.6 * person.width, 0, 2.5),
    )
    joints = (scene.joints[0], Joint("humerus", 1, "ulna", 0))
    tissue = (*scene.tissue, Tube("forearm", (x, y - 20), (x, y + 150), LIMB, 40 * person.flesh))
    left, right = min(-55.0, x - 50), max(62.0, x + 48)
    return replace(
        scene, bones=(*bones, *forearm, humerus), tissue=tissue, joints=joints, sites=sites,
        window=(left, -62, right, y + 45), bone_mu=0.047,
    )  # fmt: skip


BUILDERS: dict[str, Callable[[Person, Generator, int], Scene]] = {
    "ELBOW": _elbow, "FINGER": _finger, "FOREARM": _arm, "HAND": _hand, "HUMERUS": _humerus,
    "SHOULDER": _shoulder, "WRIST": _wrist,
}  # fmt: skip


def _hand_cast(scene: Scene) -> list[Tube]:
    """From the middle of the forearm to the knuckles."""
    limbs = {limb.name: limb for limb in scene.tissue}
    arm = limbs["arm"].half_width_mm
    palm = round(limbs["palm"].half_width_mm / arm, 2)
    widths = ((0, 1.0, 1.0), (0.6, 0.95, 0.95), (0.8, 0.9, 0.9), (1, palm, palm))
    return [Tube("cast", (0, 200), (0, -72), Outline(widths, *FLAT), arm)]


def _arm_cast(scene: Scene) -> list[Tube]:
    """From the wrist to the elbow, and where it is in view up the arm."""
    limbs = {limb.name: limb for limb in scene.tissue}
    forearm, upper, elbow = limbs["forearm"], limbs["upper arm"], scene.bone("humerus").end
    narrowing = Outline(((0, 1.1, 1.1), (0.6, 0.95, 0.95), (1, 0.8, 0.8)), *FLAT)
    lower = Tube("cast", go(elbow, 0, -25), (0, -30), narrowing, forearm.half_width_mm)
    return [lower, replace(upper, end=elbow, outline=replace(upper.outline, end_cap=FLAT[1]))]


FLAT = (0.004, 0.004)  # caps of a tube whose ends are cut off
CASTS: dict[str, Callable[[Scene], list[Tube]]] = {
    "ELBOW": _arm_cast, "FOREARM": _arm_cast, "HAND": _hand_cast, "WRIST": _hand_cast,
}  # fmt: skip


def _cast(scene: Scene, body_part: str, plaster: bool) -> tuple[Tube, ...]:
    name, wall, density = ("plaster", 5.0, 1.0) if plaster else ("mesh", 3.5, 0.6)
    return tuple(
        replace(
            limb, name=name, half_width_mm=limb.half_width_mm + wall, cortex_mm=wall,
            density=density,
        )
        for limb in CASTS[body_part](scene)
    )  # fmt: skip


def build_scene(
    body_part: str, build: Generator, pose: Generator, view: int, cast: bool = False
) -> Scene:
    """Pose a person's body part, one of MURA's seven, for one view: a healthy scene.

    `build` is the study's own stream, `pose` the view's; neither may know the label. View 0 is
    frontal, later ones are oblique or lateral. `cast` is for a part of `CASTS`.
    """
    person = sample_person(build)
    scene = BUILDERS[body_part](person, pose, view)
    bones = tuple(replace(bone, density=bone.density * person.density) for bone in scene.bones)
    # A ring, where the ring finger is in view: metal that is no finding.
    fingers = [bone for bone in scene.bones if person.ring and bone.name == "ring proximal"]
    rings = tuple(Metal(bone.at(0.45, -1.9), bone.at(0.45, 1.9), 1.5) for bone in fingers)
    casts = _cast(scene, body_part, person.plaster) if cast else ()
    return replace(scene, bones=bones, metals=rings, casts=casts)

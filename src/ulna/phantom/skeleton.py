"""The bones of a schematic arm, and how they differ between people.

Lengths and widths are those of an adult, rounded, in mm: x to the right, y down, the middle of the
wrist near 0, 0, the fingers up. `squeeze` is the apparent width of a view: 1 from the front, less
from the side.
"""

import math
from dataclasses import dataclass, field

from numpy.random import Generator

from ulna.phantom.scene import (
    CARPAL,
    DIGIT,
    HUMERUS,
    METACARPAL,
    PHALANX,
    RADIUS,
    ROUND,
    TUFT,
    ULNA,
    Joint,
    Point,
    Tube,
)


@dataclass(frozen=True)
class Person:
    """Build that all views of a study share: factors around 1, 40 of them for bone lengths."""

    width: float
    cortex: float
    density: float
    flesh: float
    gap: float
    ring: bool
    plaster: bool
    lengths: tuple[float, ...] = field(repr=False)


def sample_person(rng: Generator) -> Person:
    """Sample a person's build from the study's own stream, which must not know the label."""
    return Person(
        width=rng.uniform(0.85, 1.2),
        cortex=rng.uniform(0.7, 1.3),
        density=rng.uniform(0.8, 1.25),
        flesh=rng.uniform(0.85, 1.35),
        gap=rng.uniform(0.85, 1.2),
        ring=rng.random() < 0.06,
        plaster=rng.random() < 0.6,
        lengths=tuple(rng.uniform(0.94, 1.06, 40).tolist()),
    )


def go(origin: Point, degrees: float, length: float) -> Point:
    """Move a point by a length in a direction: 0 degrees is up, positive is to the right."""
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
    ("scaphoid", -11.0, -9.5, 8.8, 5.1, -38.0),
    ("lunate", -0.3, -7.6, 6.0, 5.6, 80.0),
    ("triquetrum", 10.0, -10.4, 6.2, 5.0, 40.0),
    ("pisiform", 12.0, -13.0, 4.0, 3.5, 0.0),
    ("trapezium", -18.9, -20.4, 5.9, 5.0, -50.0),
    ("trapezoid", -11.9, -23.4, 5.4, 4.5, -20.0),
    ("capitate", -2.8, -22.0, 9.4, 5.4, 0.0),
    ("hamate", 7.8, -21.6, 8.2, 5.8, 12.0),
)
DIGIT_HALF_WIDTH_MM = 8.5


def build_ray(
    person: Person, index: int, squeeze: float, curl: float, spread: float
) -> tuple[list[Tube], list[Tube], list[Joint]]:
    """Build a metacarpal and its finger: bones from wrist to tip, their flesh, their joints.

    Each joint bends by `curl` degrees, the first half as much; `spread` degrees turn the whole ray.
    """
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
        end = go(here, degrees, size_mm)
        width *= person.width
        cortex = 0.36 * width * person.cortex
        bones.append(Tube(f"{name} {segment}", here, end, outline, width, 0.02 * size_mm, cortex))
        half = DIGIT_HALF_WIDTH_MM * (1.15 - 0.1 * number) * person.flesh
        tip = go(end, degrees, 7 if last else 8)
        flesh.append(Tube("flesh", go(here, degrees, -6), tip, DIGIT, half))
        if number:
            joints.append(Joint(bones[-2].name, 1, bones[-1].name, 0))
        here = go(end, degrees, 1.9 * person.gap)
        degrees += curl if number else 0.5 * curl
    return bones, flesh, joints


def build_carpals(person: Person, squeeze: float) -> list[Tube]:
    """Build the eight bones of the wrist, in the order of `CARPALS`."""
    bones = []
    for name, x, y, half_length, half_width, degrees in CARPALS:
        centre = (x * squeeze, y + 2.0)
        size = 0.97 * (2 - person.gap) ** 0.3
        start, end = (go(centre, degrees, sign * half_length * size) for sign in (-1, 1))
        cortex = 0.9 * person.cortex
        bones.append(Tube(name, start, end, CARPAL, half_width * size, 0.0, cortex, 0.9))
    return bones


def build_forearm(person: Person, squeeze: float, cross: float) -> list[Tube]:
    """Build radius and ulna; `cross` moves the distal ulna behind the radius (mm)."""
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
        Tube("radial styloid", (-17 * squeeze, 16), (-17.5 * squeeze, -3.5), ROUND, 5, density=0.4),
        Tube(
            "ulnar styloid", (15 * squeeze + cross, 9), (16 * squeeze + cross, -3), ROUND, 2.5,
            density=0.5,
        ),
    ]  # fmt: skip


def build_humerus(person: Person, elbow: Point, degrees: float) -> Tube:
    """Build the bone of the upper arm, from its head to `elbow`, turned by `degrees` (see `go`)."""
    length = 300 * person.lengths[32]
    wide = person.width
    head = go(elbow, degrees, -length)
    return Tube("humerus", head, elbow, HUMERUS, 10.5 * wide, 2.5, 3.8 * person.cortex * wide)

"""The anatomy of a radiograph as geometry in millimetres: tubes, blobs, metal, casts, joints.

A scene is one view of one body part, x to the right and y down. It knows neither pixels nor
disease: `ulna.phantom.anatomy` builds a healthy one, `ulna.phantom.pathology` inserts a finding,
`ulna.phantom.radiograph` takes the image.
"""

import math
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True)
class Outline:
    """Half-widths of a bone along its axis, as multiples of the narrowest shaft's.

    `stations` are (position 0 to 1, half-width to the left, half-width to the right); the caps are
    the shares of the length over which the two ends round off.
    """

    stations: tuple[tuple[float, float, float], ...]
    start_cap: float
    end_cap: float


def _symmetric(*stations: tuple[float, float], caps: tuple[float, float]) -> Outline:
    return Outline(tuple((u, width, width) for u, width in stations), *caps)


ROUND = _symmetric((0, 1), (1, 1), caps=(0.5, 0.5))
CARPAL = _symmetric((0, 0.95), (0.5, 1), (1, 0.95), caps=(0.36, 0.36))
ROD = _symmetric((0, 1), (1, 1), caps=(0.01, 0.01))
RIB = _symmetric((0, 0.5), (0.15, 1), (1, 1), caps=(0.1, 0.01))
CLAVICLE = _symmetric((0, 1.5), (0.2, 1.05), (0.6, 0.9), (0.85, 1.2), (1, 1.3), caps=(0.02, 0.05))
METACARPAL = _symmetric(
    (0, 1.7), (0.1, 1.6), (0.28, 1.1), (0.5, 1), (0.7, 1.1), (0.88, 1.6), (1, 1.5),
    caps=(0.05, 0.12),
)  # fmt: skip
PHALANX = _symmetric(
    (0, 1.7), (0.1, 1.65), (0.3, 1.12), (0.6, 1), (0.82, 1.15), (0.93, 1.35), (1, 1.3),
    caps=(0.05, 0.09),
)  # fmt: skip
TUFT = _symmetric(
    (0, 1.9), (0.15, 1.8), (0.45, 1), (0.7, 0.85), (0.88, 1.25), (1, 1.0), caps=(0.07, 0.14)
)
RADIUS = Outline(
    (
        (0, 1.45, 1.45), (0.035, 1.45, 1.45), (0.075, 1.0, 1.0), (0.14, 1.05, 1.4),
        (0.2, 1.0, 1.05), (0.5, 1.0, 1.0), (0.75, 1.0, 1.0), (0.86, 1.2, 1.25),
        (0.95, 1.95, 2.0), (1, 2.1, 2.0),
    ),
    0.012, 0.022,
)  # fmt: skip
ULNA = Outline(
    (
        (0, 1.5, 1.5), (0.06, 1.7, 1.7), (0.11, 1.9, 1.4), (0.17, 1.35, 1.2), (0.3, 1.08, 1.08),
        (0.6, 0.95, 0.95), (0.85, 0.72, 0.72), (0.95, 1.0, 1.05), (1, 1.0, 1.1),
    ),
    0.03, 0.02,
)  # fmt: skip
HUMERUS = Outline(
    (
        (0, 1.7, 2.0), (0.04, 1.9, 2.4), (0.09, 1.9, 2.3), (0.15, 1.5, 1.5), (0.24, 1.15, 1.15),
        (0.5, 1.0, 1.0), (0.72, 1.0, 1.0), (0.84, 1.15, 1.2), (0.9, 1.5, 1.65), (0.94, 2.4, 2.85),
        (0.953, 2.45, 2.9), (0.966, 2.05, 2.2), (0.984, 2.0, 2.15), (1, 1.8, 1.9),
    ),
    0.055, 0.016,
)  # fmt: skip
BLADE = Outline(
    ((0, 0.5, 0.6), (0.15, 0.9, 0.8), (0.4, 1.7, 0.9), (0.75, 1.2, 0.7), (1, 0.3, 0.3)), 0.05, 0.1
)
LIMB = _symmetric((0, 1.1), (0.3, 1.1), (0.65, 0.95), (1, 0.8), caps=(0.1, 0.1))
DIGIT = _symmetric((0, 1.0), (0.15, 1.06), (0.5, 0.98), (0.8, 1.0), (1, 0.9), caps=(0.16, 0.22))
PALM = _symmetric((0, 0.66), (0.3, 0.82), (0.7, 1), (1, 0.98), caps=(0.2, 0.16))
HUMERUS_SIDE = Outline(
    (
        (0, 1.7, 2.0), (0.09, 1.9, 2.0), (0.15, 1.5, 1.5), (0.24, 1.15, 1.15), (0.5, 1.0, 1.0),
        (0.8, 0.9, 0.9), (0.9, 0.95, 1.0), (0.95, 1.2, 1.3), (1, 1.1, 1.2),
    ),
    0.055, 0.03,
)  # fmt: skip


@dataclass(frozen=True)
class Break:
    """Break of a bone into two fragments; offsets grow linearly from the far ends to here.

    The step parts the broken ends, the apex moves both to one side: an angle.
    """

    position: float
    step_mm: float
    overlap_mm: float
    teeth: tuple[float, ...]
    apex_mm: float = 0.0


@dataclass(frozen=True)
class Crack:
    """A dark line across a bone: position on the axis, slope, width and how deep it goes."""

    position: float
    slope: float
    width_mm: float
    depth: float
    reach: float


@dataclass(frozen=True)
class Tube:
    """A bone (or a limb of soft tissue) around an axis from start to end, both in mm."""

    name: str
    start: Point
    end: Point
    outline: Outline
    half_width_mm: float
    bend_mm: float = 0.0
    cortex_mm: float = 1.0
    density: float = 1.0
    broken: Break | None = None
    crack: Crack | None = None

    @property
    def length_mm(self) -> float:
        """Distance from start to end."""
        return math.dist(self.start, self.end)

    def at(self, position: float, side: float = 0.0) -> Point:
        """Point beside the axis, in mm; `side` in half-widths there, positive to the right."""
        stations = np.array(self.outline.stations)
        column = 2 if side > 0 else 1
        half = float(np.interp(position, stations[:, 0], stations[:, column])) * self.half_width_mm
        across = side * half + 4 * self.bend_mm * position * (1 - position)
        ex = (self.end[0] - self.start[0]) / self.length_mm
        ey = (self.end[1] - self.start[1]) / self.length_mm
        along = position * self.length_mm
        return (self.start[0] + ex * along - ey * across, self.start[1] + ey * along + ex * across)


@dataclass(frozen=True)
class Blob:
    """A soft-edged ellipse in the bone: it keeps a share of the bone there and adds density."""

    centre: Point
    radii_mm: Point
    angle: float
    keep: float
    add: float


@dataclass(frozen=True)
class Metal:
    """A metal rod or strip, seen from the side, rounded off at both ends.

    `end_half_width_mm` tapers it (a stem, the point of a wire), `pitch_mm` gives it a screw's
    thread, and `bore`, 0 to 1, is the hollow share of its width (a cannulated nail). Where pieces
    overlap the denser one counts; at density 1 next to nothing shines through.
    """

    start: Point
    end: Point
    half_width_mm: float
    density: float = 1.0
    end_half_width_mm: float | None = None
    pitch_mm: float = 0.0
    bore: float = 0.0


@dataclass(frozen=True)
class Disc:
    """Round metal: a ball (a prosthesis' head), thickest in its middle, or flat (a screw's head).

    Density 0 punches a hole into the metal that precedes it in `Scene.metals` (a plate's hole).
    """

    centre: Point
    radius_mm: float
    density: float = 1.0
    ball: bool = True


@dataclass(frozen=True)
class Joint:
    """Two bone ends that face each other; ends are 0 (start) or 1 (end)."""

    first: str
    first_end: int
    second: str
    second_end: int


@dataclass(frozen=True)
class Site:
    """Stretch of a bone where a fracture, plate or lesion may lie."""

    bone: str
    low: float
    high: float


@dataclass(frozen=True)
class Scene:
    """One view of one body part in mm; `window` is left, top, right, bottom of the image.

    A cast is a hollow tube: `cortex_mm` is the thickness of its wall, `density` 1 that of dry
    plaster; one whose name begins with "mesh" is of fibreglass and shows its weave.
    """

    bones: tuple[Tube, ...]
    tissue: tuple[Tube, ...]
    joints: tuple[Joint, ...]
    sites: tuple[Site, ...]
    window: tuple[float, float, float, float]
    tissue_mu: float
    bone_mu: float
    blobs: tuple[Blob, ...] = ()
    metals: tuple[Metal | Disc, ...] = ()
    casts: tuple[Tube, ...] = ()
    holes: tuple[Tube, ...] = ()
    finding_points: tuple[Point, ...] = ()

    def bone(self, name: str) -> Tube:
        """The bone of that name."""
        return next(bone for bone in self.bones if bone.name == name)

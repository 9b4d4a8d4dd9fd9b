"""Draw tubes: the path length through cortex, spongy bone and marrow, or through flesh.

It follows from the distance to the axis: that is why the cortex is bright at the edges and the
shaft darker between them.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ulna.phantom.camera import Camera
from ulna.phantom.exact import Floats, blurred, exp_minus, noise, rounded
from ulna.phantom.scene import Break, Crack, Outline, Tube

Rows = NDArray[np.int32]

TABLE_ROWS = 1024
POSITIONS = (np.arange(TABLE_ROWS) / (TABLE_ROWS - 1)).astype(np.float32)
# Attenuation relative to cortex: of a shaft's fatty marrow, and of the spongy bone of its ends.
MARROW, SPONGY = 0.14, 0.31
GRAIN = 512  # side of the texture of spongy bone, in quarters of a mm


def thickness_of(
    tubes: tuple[Tube, ...], shape: tuple[int, int], camera: Camera, scale: float, kind: str
) -> Floats:
    """Path length through tubes of a kind (see `add_tube`), as mm of cortex, (height, width)."""
    canvas = np.zeros(shape, dtype=np.float32)
    for tube in tubes:
        add_tube(canvas, tube, camera, scale, kind)
    return canvas


def _interpolated(at: Floats, stations: tuple[float, ...], values: tuple[float, ...]) -> Floats:
    """Values between stations in ascending order, those at the ends beyond."""
    result = np.full_like(at, values[0])
    steps = zip(stations, stations[1:], values, values[1:], strict=False)
    for low, high, first, second in steps:
        share = np.minimum(np.maximum(at - low, 0) / (high - low), 1)
        result += share * (second - first)
    return result


@cache
def _table(outline: Outline) -> tuple[Floats, Floats, Floats]:
    """Half-widths left and right and the share of spongy bone, at TABLE_ROWS positions."""
    places, *sides = zip(*outline.stations, strict=True)
    widths = [
        blurred(_interpolated(POSITIONS, places, side)[:, None], (8.0, 0))[:, 0] for side in sides
    ]
    # Bone is spongy where it is wider than the shaft, and all of a small round bone is.
    spongy = np.clip((widths[0] + widths[1] - 2.1) * 1.2, 0, 1)
    if outline.start_cap >= 0.2:
        spongy = np.ones_like(spongy)
    start = np.clip(1 - POSITIONS / outline.start_cap, 0, 1)
    end = np.clip(1 - (1 - POSITIONS) / outline.end_cap, 0, 1)
    cap = np.sqrt((1 - start * start) * (1 - end * end))
    return widths[0] * cap, widths[1] * cap, spongy


@cache
def _grain() -> Floats:
    """Texture of spongy bone, (GRAIN, GRAIN), mean about 0: plates along axis 0, fewer struts."""
    white = noise(np.random.default_rng(0), (GRAIN, GRAIN))
    plates = blurred(white, (6.0, 0.8), "wrap") * 8
    struts = blurred(white[::-1].T, (1.0, 3.0), "wrap") * 6
    dense = blurred(white[:, ::-1], 5.0, "wrap") * 18
    # Thin bright lines where a field passes through zero.
    along, across = (np.maximum(1 - 1.6 * np.abs(field), 0) for field in (plates, struts))
    return np.asarray((along + 0.3 * across) * (1 + 0.1 * dense) - 0.4)


def frame_of(
    canvas: Floats, start: NDArray[np.float64], end: NDArray[np.float64], margin: float
) -> tuple[tuple[slice, slice], Floats, Floats, float] | None:
    """Pixels near an axis, with position along it (0 to 1) and distance across it in pixels."""
    low = np.floor(np.minimum(start, end) - margin).astype(int)
    high = np.ceil(np.maximum(start, end) + margin).astype(int)
    x0, y0 = max(low[0], 0), max(low[1], 0)
    x1, y1 = min(high[0], canvas.shape[1]), min(high[1], canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return None
    (start_x, start_y), (dx, dy) = start.tolist(), (end - start).tolist()
    length = math.sqrt(dx * dx + dy * dy)
    ex, ey = dx / length, dy / length
    x = (np.arange(x0, x1, dtype=np.float32) + (0.5 - start_x))[None, :]
    y = (np.arange(y0, y1, dtype=np.float32) + (0.5 - start_y))[:, None]
    u = x * (ex / length) + y * (ey / length)
    v = y * ex - x * ey
    return (slice(y0, y1), slice(x0, x1)), u, v, length


@dataclass(frozen=True)
class _Section:
    """A tube's cross-section at TABLE_ROWS positions, in pixels."""

    centre: Floats
    outer: Floats  # squared
    inner: Floats  # squared
    depth_mm: Floats
    hollow: Floats  # what marrow lacks of the cortex's attenuation
    grain: Floats  # contrast of the spongy bone
    fan: Floats  # steps of the texture per pixel across: its plates fan out into a wide end
    along: float  # steps of the texture along the whole tube
    number: int  # where in the texture it begins


def _section(tube: Tube, px_per_mm: float, mirrored: bool, kind: str, length: float) -> _Section:
    left, right, spongy = _table(tube.outline)
    if mirrored:
        left, right = right, left
    half_px = rounded(tube.half_width_mm * px_per_mm)
    bend_px = rounded(tube.bend_mm * px_per_mm * (-4 if mirrored else 4))
    radius = (left + right) * half_px / 2
    centre = (right - left) * half_px / 2 + bend_px * POSITIONS * (1 - POSITIONS)
    # A flared end is wider than deep, and its cortex is thinner than the shaft's.
    flare = radius / half_px
    depth = rounded(2 / px_per_mm * tube.density) * np.minimum(1, 1.35 / np.maximum(flare, 0.1))
    cortex_px = rounded(tube.cortex_mm * px_per_mm)
    marrow = np.zeros_like(radius)
    number = round(1000 * tube.half_width_mm)
    if kind == "bone":
        thin = np.maximum(1, flare * 1.4 - 0.4)
        wobble = _grain()[number % GRAIN].repeat(TABLE_ROWS // GRAIN) * 0.1
        marrow = np.maximum(radius - cortex_px / (thin * np.sqrt(np.sqrt(thin))) * (1 + wobble), 0)
    elif kind == "cast":
        marrow = np.maximum(radius - cortex_px, 0)
    share = MARROW + (SPONGY - MARROW) * spongy if kind == "bone" else np.zeros_like(spongy)
    # Fine structure is lost where a pixel is large.
    seen = min(1.0, px_per_mm / 3.5)
    return _Section(
        centre, radius * radius, marrow * marrow, depth, 1 - share,
        share * rounded(seen) * (0.2 + 0.45 * spongy),
        rounded(4 / px_per_mm) / np.maximum(flare, 0.5),
        rounded(4 * length / px_per_mm), number,
    )  # fmt: skip


def add_tube(canvas: Floats, tube: Tube, camera: Camera, scale: float, kind: str) -> None:
    """Add a tube's cortex-equivalent thickness in mm; `kind` is bone, cast or tissue.

    Tissue is solid, and merges instead of adding up; a cast is empty inside.
    """
    px_per_mm = camera.pixels_per_mm * scale
    ends = camera.pixels(np.array([tube.start, tube.end])) * scale
    dx, dy = (ends[1] - ends[0]).tolist()
    section = _section(tube, px_per_mm, camera.mirrored, kind, math.sqrt(dx * dx + dy * dy))
    step_px = 0.0
    if tube.broken is not None:
        step_px = (abs(tube.broken.step_mm) + abs(tube.broken.apex_mm)) * px_per_mm
    reach = float((np.abs(section.centre) + np.sqrt(section.outer)).max()) + step_px
    frame = frame_of(canvas, ends[0], ends[1], reach + 2)
    if frame is None:
        return
    window, box_u, box_v, length = frame
    # A slanting bone fills little of its bounding box.
    near = np.flatnonzero((box_u >= 0) & (box_u < 1) & (np.abs(box_v) <= reach))
    u, v = box_u.ravel()[near], box_v.ravel()[near]
    row = (u * TABLE_ROWS).astype(np.int32)
    if tube.broken is not None:
        filled = _fragments(u, v, row, section, tube.broken, length, px_per_mm, camera.mirrored)
    else:
        across = v - section.centre[row]
        filled = (
            _solid(across, row, section) if kind == "tissue" else _chord(u, across, row, section)
        )
        if tube.crack is not None:
            relative = across / np.sqrt(np.maximum(section.outer[row], 1))
            along_mm = (u - tube.crack.position) * (length / px_per_mm)
            filled *= _cracked(along_mm, relative, tube.crack, tube.half_width_mm)
    thickness = np.zeros(box_u.size, dtype=np.float32)
    thickness[near] = filled
    add = np.maximum if kind == "tissue" else np.add
    canvas[window] = add(canvas[window], thickness.reshape(box_u.shape))


def _solid(across: Floats, row: Rows, section: _Section) -> Floats:
    chord = np.sqrt(np.maximum(section.outer[row] - across * across, 0))
    return chord * section.depth_mm[row]


def _chord(u: Floats, across: Floats, row: Rows, section: _Section) -> Floats:
    squared = across * across
    chord = np.sqrt(np.maximum(section.outer[row] - squared, 0))
    inner = section.inner[row]
    # Two surfaces: cortex turns into spongy bone over a short way.
    hole = np.sqrt(np.maximum(inner - squared, 0))
    hole += np.sqrt(np.maximum(inner * 0.76 - squared, 0))
    hole *= 0.5
    down = (u * section.along).astype(np.int32) + section.number
    right = (across * section.fan[row] + (5 * GRAIN)).astype(np.int32) + section.number
    texture = _grain().ravel()[(down & (GRAIN - 1)) * GRAIN + (right & (GRAIN - 1))]
    chord -= hole * (section.hollow[row] - section.grain[row] * texture)
    chord *= section.depth_mm[row]
    return chord


def _fragments(
    u: Floats, v: Floats, row: Rows, section: _Section, fault: Break, length: float,
    px_per_mm: float, mirrored: bool,
) -> Floats:  # fmt: skip
    """Two fragments that meet their joints but not each other."""
    filled = np.zeros_like(u)
    places = tuple(2 * k / (len(fault.teeth) - 1) - 1 for k in range(len(fault.teeth)))
    at = rounded(fault.position)
    for part, sign in ((0, 0.5), (1, -0.5)):
        ramp = POSITIONS / at if part == 0 else (1 - POSITIONS) / (1 - at)
        aside_mm = (sign * fault.step_mm + fault.apex_mm) * (-1 if mirrored else 1)
        step = rounded(aside_mm * px_per_mm)
        moved = replace(section, centre=section.centre + step * ramp)
        across = v - moved.centre[row]
        relative = across / np.sqrt(np.maximum(section.outer[row], 1)) * (-1 if mirrored else 1)
        teeth = _interpolated(relative, places, tuple(rounded(tooth) for tooth in fault.teeth))
        away = rounded(sign * fault.overlap_mm)
        edge = at + (teeth + away) * (px_per_mm / length)
        kept = u < edge if part == 0 else u >= edge
        filled += _chord(u, across, row, moved) * kept
    return filled


def _cracked(along_mm: Floats, relative: Floats, crack: Crack, half_width_mm: float) -> Floats:
    """Factor 1 away from the crack, less in it; `relative` is -1 to 1 across the bone."""
    slope, half, width, depth = (
        rounded(v) for v in (crack.slope, half_width_mm, crack.width_mm, crack.depth)
    )
    zigzag = slope * relative
    for frequency, height in ((1.7, 0.3), (5.3, 0.15)):
        wave = relative * frequency + 0.4
        zigzag += height * np.abs(wave - 2 * np.floor(wave / 2) - 1)
    distance = (along_mm - zigzag * half) / width
    return 1 - depth * exp_minus(distance * distance) * (relative < crack.reach)

"""Take a radiograph of a scene: thickness maps, Beer-Lambert attenuation, scatter, noise, markers.

A tube's attenuation at a pixel is its path length through cortex and marrow, from the distance to
the axis: that is why the cortex is bright at the edges and the shaft darker between them.
"""

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from ulna.phantom.scene import Blob, Break, Crack, Metal, Outline, Point, Scene, Tube

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

TABLE_ROWS = 512
POSITIONS = np.linspace(0, 1, TABLE_ROWS)
TISSUE_STEP = 4  # soft tissue is smooth: it is drawn at a quarter of the size
MARROW = 0.3  # attenuation relative to cortex
METAL_MU = 6.0
TONES = 4096


@dataclass(frozen=True)
class Camera:
    """From mm to pixels, and everything about an image that is not anatomy."""

    width_px: int
    height_px: int
    pixels_per_mm: float
    degrees: float
    mirrored: bool
    centre_mm: Point
    exposure: float
    gamma: float
    fog: float
    noise: float
    blur_px: float
    collimated: tuple[float, ...]
    collimator_degrees: float
    letter: str
    letter_at: Point
    letter_degrees: float

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points (n, 2) in mm to x, y in pixels."""
        moved = points - np.array(self.centre_mm)
        if self.mirrored:
            moved = moved * np.array([-1.0, 1.0])
        angle = math.radians(self.degrees)
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        middle = np.array([self.width_px / 2, self.height_px / 2])
        return np.asarray(moved @ turn * self.pixels_per_mm + middle)


def sample_camera(scene: Scene, side: str, rng: Generator, shift: float = 0.0) -> Camera:
    """Sample the camera of a scene; the longer side of the image is 320 to 512 pixels.

    A right limb (side R) is mirrored; `shift` moves the part out of the image by this share of its
    width. `rng` is the view's own stream, which must not know the label.
    """
    left, top, right, bottom = scene.window
    zoom = rng.uniform(0.92, 1.12)
    width_mm = (right - left) * zoom * rng.uniform(0.92, 1.12)
    height_mm = (bottom - top) * zoom * rng.uniform(0.95, 1.08)
    centre = (
        (left + right) / 2 + rng.uniform(-0.05, 0.05) * width_mm + shift * width_mm,
        (top + bottom) / 2 + rng.uniform(-0.04, 0.04) * height_mm,
    )
    degrees = rng.normal(0, 7)
    kind = rng.random()
    if kind < 0.04:
        degrees += 90 * (1 if rng.random() < 0.5 else -1)
        width_mm, height_mm = height_mm, width_mm
    elif kind < 0.10:
        degrees += 180
    long_px = 512 if rng.random() < 0.35 else int(rng.integers(320, 480))
    pixels_per_mm = long_px / max(width_mm, height_mm)
    borders = tuple(rng.uniform(0.0, 0.05, 4).tolist())
    return Camera(
        width_px=min(512, round(width_mm * pixels_per_mm)),
        height_px=min(512, round(height_mm * pixels_per_mm)),
        pixels_per_mm=pixels_per_mm,
        degrees=degrees,
        mirrored=side == "R",
        centre_mm=centre,
        exposure=rng.uniform(0.85, 1.15),
        gamma=rng.uniform(1.15, 1.5),
        fog=rng.uniform(0.0, 0.06),
        noise=rng.uniform(0.01, 0.03),
        blur_px=rng.uniform(0.7, 1.1),
        collimated=borders if rng.random() < 0.4 else (),
        collimator_degrees=rng.normal(0, 2.5),
        letter=side if rng.random() < 0.5 else "",
        letter_at=(rng.choice([0.03, 0.97]) + rng.uniform(-0.02, 0.02), rng.uniform(0.03, 0.97)),
        letter_degrees=rng.choice([0.0, 0.0, 0.0, 0.0, 90.0]) + rng.normal(0, 6),
    )


@cache
def _table(outline: Outline) -> NDArray[np.float32]:
    """Half-widths left and right at TABLE_ROWS positions, rounded off at both ends."""
    stations = np.array(outline.stations)
    window = np.hanning(TABLE_ROWS // 20)
    window /= window.sum()
    sides = [np.interp(POSITIONS, stations[:, 0], stations[:, column]) for column in (1, 2)]
    padded = [np.pad(side, len(window) // 2, mode="edge") for side in sides]
    widths = np.stack([np.convolve(side, window, "same") for side in padded], axis=1)
    widths = widths[len(window) // 2 :][:TABLE_ROWS]
    start = np.clip(1 - POSITIONS / outline.start_cap, 0, 1)
    end = np.clip(1 - (1 - POSITIONS) / outline.end_cap, 0, 1)
    rounded = widths * np.sqrt((1 - start**2) * (1 - end**2))[:, None]
    return np.asarray(rounded, np.float32)


def _frame(
    canvas: Floats, start: NDArray[np.float64], end: NDArray[np.float64], margin: float
) -> tuple[tuple[slice, slice], Floats, Floats, float] | None:
    """Pixels near an axis, with position along it (0 to 1) and distance across it in pixels."""
    low = np.floor(np.minimum(start, end) - margin).astype(int)
    high = np.ceil(np.maximum(start, end) + margin).astype(int)
    x0, y0 = max(low[0], 0), max(low[1], 0)
    x1, y1 = min(high[0], canvas.shape[1]), min(high[1], canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return None
    length = float(np.hypot(*(end - start)))
    ex, ey = (end - start) / length
    x = (np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - start[0]))[None, :]
    y = (np.arange(y0, y1, dtype=np.float32) + np.float32(0.5 - start[1]))[:, None]
    u = x * np.float32(ex / length) + y * np.float32(ey / length)
    v = y * np.float32(ex) - x * np.float32(ey)
    return (slice(y0, y1), slice(x0, x1)), u, v, length


@dataclass(frozen=True)
class _Section:
    """A tube's cross-section at TABLE_ROWS positions, in pixels."""

    centre: Floats
    outer: Floats  # squared
    inner: Floats  # squared
    depth_mm: Floats


def _section(tube: Tube, px_per_mm: float, mirrored: bool, solid: bool) -> _Section:
    table = _table(tube.outline)
    left, right = (table[:, 1], table[:, 0]) if mirrored else (table[:, 0], table[:, 1])
    half_px = tube.half_width_mm * px_per_mm
    bend_px = tube.bend_mm * px_per_mm * (-1 if mirrored else 1)
    radius = (left + right) * half_px / 2
    centre = (right - left) * half_px / 2 + 4 * bend_px * POSITIONS * (1 - POSITIONS)
    # A flared end is wider than deep, and its cortex is thinner than the shaft's.
    flare = radius / half_px
    cortex = tube.cortex_mm * px_per_mm / np.maximum(1, flare * 1.4 - 0.4) ** 1.3
    marrow = np.zeros_like(radius) if solid else np.maximum(radius - cortex, 0)
    depth = 2 / px_per_mm * tube.density * np.minimum(1, 1.35 / np.maximum(flare, 0.1))
    return _Section(*(a.astype(np.float32) for a in (centre, radius**2, marrow**2, depth)))


def add_tube(canvas: Floats, tube: Tube, camera: Camera, scale: float, solid: bool) -> None:
    """Add a tube's cortex-equivalent thickness in mm; solid tubes merge instead of adding up."""
    px_per_mm = camera.pixels_per_mm * scale
    section = _section(tube, px_per_mm, camera.mirrored, solid)
    ends = camera.pixels(np.array([tube.start, tube.end])) * scale
    step_px = 0.0 if tube.broken is None else abs(tube.broken.step_mm) * px_per_mm
    reach = float((np.abs(section.centre) + np.sqrt(section.outer)).max()) + step_px
    frame = _frame(canvas, ends[0], ends[1], reach + 2)
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
        filled = _chord(across, row, section)
        if tube.crack is not None:
            relative = across / np.sqrt(np.maximum(section.outer[row], 1))
            along_mm = (u - tube.crack.position) * (length / px_per_mm)
            filled *= _cracked(along_mm, relative, tube.crack, tube.half_width_mm)
    thickness = np.zeros(box_u.size, dtype=np.float32)
    thickness[near] = filled
    add = np.maximum if solid else np.add
    canvas[window] = add(canvas[window], thickness.reshape(box_u.shape))


def _chord(across: Floats, row: NDArray[np.int32], section: _Section) -> Floats:
    squared = across * across
    chord = np.sqrt(np.maximum(section.outer[row] - squared, 0))
    chord -= np.float32(1 - MARROW) * np.sqrt(np.maximum(section.inner[row] - squared, 0))
    chord *= section.depth_mm[row]
    return chord


def _fragments(
    u: Floats, v: Floats, row: NDArray[np.int32], section: _Section, fault: Break, length: float,
    px_per_mm: float, mirrored: bool,
) -> Floats:  # fmt: skip
    """Two fragments that meet their joints but not each other."""
    filled = np.zeros_like(u)
    for part, sign in ((0, 0.5), (1, -0.5)):
        ramp = POSITIONS / fault.position if part == 0 else (1 - POSITIONS) / (1 - fault.position)
        step = sign * fault.step_mm * px_per_mm * (-1 if mirrored else 1) * ramp
        moved = replace(section, centre=(section.centre + step).astype(np.float32))
        across = v - moved.centre[row]
        relative = across / np.sqrt(np.maximum(section.outer[row], 1)) * (-1 if mirrored else 1)
        teeth = np.interp(relative, np.linspace(-1, 1, len(fault.teeth)), fault.teeth)
        edge = fault.position + (teeth + sign * fault.overlap_mm) * (px_per_mm / length)
        kept = u < edge if part == 0 else u >= edge
        filled += _chord(across, row, moved) * kept
    return filled


def _cracked(
    along_mm: NDArray[Any], relative: NDArray[Any], crack: Crack, half_width_mm: float
) -> Floats:
    """Factor 1 away from the crack, less in it; `relative` is -1 to 1 across the bone."""
    zigzag = 0.5 * np.abs(((relative * 2.3) % 2) - 1) + crack.slope * relative
    distance = (along_mm - zigzag * half_width_mm) / crack.width_mm
    line = np.exp(-(distance**2)) * (relative < crack.reach)
    return np.asarray(1 - crack.depth * line, np.float32)


def _apply_blob(bone: Floats, blob: Blob, camera: Camera) -> None:
    centre = camera.pixels(np.array([blob.centre]))[0]
    radii = np.array(blob.radii_mm) * camera.pixels_per_mm
    frame = _frame(bone, centre, centre + [1e-3, 0], radii.max() * 1.3)
    if frame is None:
        return
    window, u, v, _ = frame
    x = u * np.float32(1e-3)
    turn = math.radians(camera.degrees) + math.radians(blob.angle) * (-1 if camera.mirrored else 1)
    a = (x * math.cos(turn) + v * math.sin(turn)) / radii[0]
    b = (v * math.cos(turn) - x * math.sin(turn)) / radii[1]
    weight = 1 / (1 + np.exp(np.clip((np.sqrt(a * a + b * b) - 0.85) * 12, -30, 30)))
    bone[window] = bone[window] * (1 - (1 - blob.keep) * weight) + blob.add * weight


def _add_metal(canvas: Floats, metal: Metal, camera: Camera) -> None:
    ends = camera.pixels(np.array([metal.start, metal.end]))
    half = max(metal.half_width_mm * camera.pixels_per_mm, 0.7)
    frame = _frame(canvas, ends[0], ends[1], half + 2)
    if frame is None:
        return
    window, u, v, length = frame
    beyond = np.maximum(np.abs(u - 0.5) - 0.5, 0) * length
    distance = np.sqrt(v * v + beyond * beyond)
    cover = np.clip(half + 0.5 - distance, 0, 1) * np.float32(metal.density)
    canvas[window] = np.maximum(canvas[window], cover)


def _smooth_noise(rng: Generator, shape: tuple[int, int], step: int) -> Floats:
    """Noise of sd about 1 whose grain is about `step` pixels."""
    small = rng.standard_normal((shape[0] // step + 2, shape[1] // step + 2), dtype=np.float32)
    return _resized(small, shape)


def _resized(small: Floats, shape: tuple[int, int]) -> Floats:
    image = Image.fromarray(small).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32)


def expose(scene: Scene, camera: Camera, rng: Generator) -> Pixels:
    """Take the radiograph: (height, width), uint8, bone bright on black.

    The number of draws from `rng`, for noise and texture, does not depend on the scene.
    """
    shape = (camera.height_px, camera.width_px)
    bone = _thickness(scene.bones, shape, camera, 1.0, solid=False)
    bone *= 1 + 0.07 * _smooth_noise(rng, shape, 3) + 0.05 * _smooth_noise(rng, shape, 14)
    np.maximum(bone, 0, out=bone)
    for blob in scene.blobs:
        _apply_blob(bone, blob, camera)

    small = (shape[0] // TISSUE_STEP + 1, shape[1] // TISSUE_STEP + 1)
    tissue, lung = (
        _thickness(tubes, small, camera, 1 / TISSUE_STEP, solid=True)
        for tubes in (scene.tissue, scene.holes)
    )
    tissue = np.maximum(tissue - 0.8 * lung, 0)
    tissue *= 1 + 0.08 * _smooth_noise(rng, small, 9)
    attenuation = _resized(gaussian_filter(tissue, 1.2), shape) * np.float32(scene.tissue_mu)
    attenuation += bone * np.float32(scene.bone_mu)

    metal = np.zeros(shape, dtype=np.float32)
    for piece in scene.metals:
        _add_metal(metal, piece, camera)
    attenuation += metal * np.float32(METAL_MU)

    signal = 1 - np.exp(-camera.exposure * attenuation)
    reduced = Image.fromarray(signal).resize((small[1], small[0]), Image.Resampling.BOX)
    scatter = _resized(gaussian_filter(np.asarray(reduced, np.float32), 10), shape)
    signal = 0.9 * signal + 0.1 * scatter
    signal += camera.noise * rng.standard_normal(shape, dtype=np.float32)
    signal = gaussian_filter(signal, camera.blur_px, truncate=3)
    np.clip(signal, 0, 1, out=signal)
    if camera.collimated:
        signal *= _collimator(camera)
    # The tone curve as a table: a power of every pixel would take a fifth of the whole time.
    tone = camera.fog + (1 - camera.fog) * np.linspace(0, 1, TONES) ** camera.gamma
    grey = np.round(255 * tone).astype(np.uint8)[(signal * (TONES - 1)).astype(np.int16)]
    return _lettered(grey, camera)


def _thickness(
    tubes: tuple[Tube, ...], shape: tuple[int, int], camera: Camera, scale: float, solid: bool
) -> Floats:
    canvas = np.zeros(shape, dtype=np.float32)
    for tube in tubes:
        add_tube(canvas, tube, camera, scale, solid)
    return canvas


def _collimator(camera: Camera) -> Floats:
    """1 inside the field, 0.12 outside it, (height, width)."""
    height, width = camera.height_px, camera.width_px
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    lean = np.float32(math.tan(math.radians(camera.collimator_degrees)))
    left, top, right, bottom = camera.collimated
    a, b = x + lean * y, y - lean * x
    margin = np.minimum(
        np.minimum(a + 0.5 - left, 0.5 - right - a), np.minimum(b + 0.5 - top, 0.5 - bottom - b)
    )
    return np.asarray(0.12 + 0.88 * np.clip(margin * 150 + 0.5, 0, 1), np.float32)


def _lettered(grey: Pixels, camera: Camera) -> Pixels:
    if not camera.letter:
        return grey
    size = max(14, round(0.045 * max(grey.shape)))
    stamp = Image.new("L", (2 * size, 2 * size))
    font = ImageFont.load_default(size)
    ImageDraw.Draw(stamp).text((size, size), camera.letter, 255, font, "mm", stroke_width=1)
    stamp = stamp.rotate(camera.letter_degrees, Image.Resampling.BILINEAR)
    image = Image.fromarray(grey)
    sides = zip(camera.letter_at, (grey.shape[1], grey.shape[0]), strict=True)
    left, top = (round(at * (side - size) - size / 2) for at, side in sides)
    image.paste(205, (left, top), stamp)
    return np.asarray(image)

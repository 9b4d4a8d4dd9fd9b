"""Take a radiograph of a scene: thickness maps, Beer-Lambert attenuation, scatter, noise, markers.

All of it is arithmetic of `ulna.phantom.exact`: the same bytes on every processor.
"""

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ulna.phantom.camera import Camera
from ulna.phantom.exact import (
    Floats,
    blurred,
    enlarged,
    exp_minus,
    noise,
    rounded,
    smooth_noise,
)
from ulna.phantom.scene import Blob, Disc, Metal, Scene, Tube
from ulna.phantom.tubes import add_tube, frame_of, thickness_of

Pixels = NDArray[np.uint8]

TISSUE_STEP = 2  # soft tissue is smooth: it is drawn at half the size
SCATTER_STEP = 4
METAL_MU = 6.0
CAST_MU = 0.02
# Skin and fat of about 1.5 and 4 mm, as attenuation relative to muscle; squared chords (mm) at
# which a limb of middling girth reaches the inner side of each.
SKIN, FAT = 1.25, 0.72
SKIN_CHORD2, FAT_CHORD2 = 130.0, 480.0
GRID_LINES = 0.008  # of white
TONES = 1024


def _apply_blob(bone: Floats, blob: Blob, camera: Camera, uneven: Floats) -> None:
    centre = camera.pixels(np.array([blob.centre]))[0]
    a_px, b_px = (rounded(radius * camera.pixels_per_mm) for radius in blob.radii_mm)
    frame = frame_of(bone, centre, centre + [1, 0], max(a_px, b_px) * 1.4)
    if frame is None:
        return
    window, x, y, _ = frame
    turn = math.radians(camera.degrees) + math.radians(blob.angle) * (-1 if camera.mirrored else 1)
    cos, sin = rounded(math.cos(turn)), rounded(math.sin(turn))
    a, b = (x * cos + y * sin) / a_px, (y * cos - x * sin) / b_px
    field = uneven[window]
    beyond = (np.sqrt(a * a + b * b) * (1 + 0.15 * field) - 0.85) * 12
    tail = exp_minus(np.abs(beyond))
    weight = np.where(beyond > 0, tail, 1) / (1 + tail)
    keep, add = rounded(blob.keep), rounded(blob.add)
    # New bone grows in and at bone, unevenly.
    grown = add * (1 + 0.2 * field) * np.minimum(bone[window] / 2, 1)
    bone[window] = bone[window] * (1 - (1 - keep) * weight) + grown * weight


def _add_disc(canvas: Floats, disc: Disc, camera: Camera) -> None:
    centre = camera.pixels(np.array([disc.centre]))[0]
    radius = max(rounded(disc.radius_mm * camera.pixels_per_mm), 0.7)
    frame = frame_of(canvas, centre, centre + [1, 0], float(radius) + 2)
    if frame is None:
        return
    window, x, y, _ = frame
    distance = np.sqrt(x * x + y * y)
    cover = np.clip(radius + 0.5 - distance, 0, 1)
    if disc.density == 0:
        canvas[window] *= 1 - cover
        return
    if disc.ball:
        cover *= np.sqrt(np.maximum(radius * radius - distance * distance, 0)) / radius
    canvas[window] = np.maximum(canvas[window], cover * rounded(disc.density))


def _add_metal(canvas: Floats, metal: Metal, camera: Camera) -> None:
    ends = camera.pixels(np.array([metal.start, metal.end]))
    widths = (metal.half_width_mm, metal.end_half_width_mm)
    start, end = (
        max(rounded((widths[0] if width is None else width) * camera.pixels_per_mm), 0.7)
        for width in widths
    )
    frame = frame_of(canvas, ends[0], ends[1], max(start, end) * 1.2 + 2)
    if frame is None:
        return
    window, u, v, length = frame
    half = start + np.clip(u, 0, 1) * (end - start)
    if metal.pitch_mm:
        turns = u * (length / rounded(metal.pitch_mm * camera.pixels_per_mm))
        half *= 0.8 + 0.8 * np.abs(turns - np.floor(turns) - 0.5)
    beyond = np.maximum(np.abs(u - 0.5) - 0.5, 0) * length
    distance = np.sqrt(v * v + beyond * beyond)
    cover = np.clip(half + 0.5 - distance, 0, 1)
    # A rod is thickest along its middle; a bore is filled with what lies around.
    across = np.minimum(distance / half, 1)
    cover *= 0.6 + 0.4 * np.sqrt(1 - across * across)
    if metal.bore:
        cover *= 1 - 0.7 * np.clip((rounded(metal.bore) - across) * half + 0.5, 0, 1)
    canvas[window] = np.maximum(canvas[window], cover * rounded(metal.density))


def _add_cast(canvas: Floats, cast: Tube, camera: Camera, mottled: Floats) -> None:
    layer = np.zeros_like(canvas)
    add_tube(layer, cast, camera, 1.0, "cast")
    ends = camera.pixels(np.array([cast.start, cast.end]))
    frame = frame_of(canvas, ends[0], ends[1], 6 * cast.half_width_mm * camera.pixels_per_mm)
    if frame is None:
        return
    window, u, v, length = frame
    if cast.name.startswith("mesh"):
        # Threads 3 mm apart on two slants.
        step = rounded(1 / (3 * camera.pixels_per_mm))
        for slant in (v, -v):
            phase = (u * length + slant) * step
            wave = np.abs(phase - np.floor(phase) - 0.5)
            layer[window] *= 0.75 + wave
    else:
        # Turns of the bandage, and plaster that was spread by hand.
        phase = (u * length + v / 3) * (rounded(1 / (45 * camera.pixels_per_mm)))
        turn = np.floor(phase + 0.1 * mottled[window])
        layer[window] *= (1 + 0.07 * mottled[window]) * (
            0.9 + 0.2 * (turn - 2 * np.floor(turn / 2))
        )
    np.maximum(canvas, layer, out=canvas)


def _flesh(scene: Scene, shape: tuple[int, int], camera: Camera, rng: Generator) -> Floats:
    """Soft tissue as mm of muscle: skin and fat around muscle, planes along it, creases across."""
    small = (shape[0] // TISSUE_STEP + 1, shape[1] // TISSUE_STEP + 1)
    tissue, lung = (
        thickness_of(tubes, small, camera, 1 / TISSUE_STEP, "tissue")
        for tubes in (scene.tissue, scene.holes)
    )
    thick = enlarged(blurred(np.maximum(tissue - 0.8 * lung, 0), 1.25), shape)
    squared = thick * thick
    below_skin = np.sqrt(np.maximum(squared - SKIN_CHORD2, 0))
    muscle = np.sqrt(np.maximum(squared - FAT_CHORD2, 0))
    planes = smooth_noise(rng, shape, 90, 12)
    muscle *= (1 - FAT) * (1 + 0.09 * planes)
    creases = np.maximum(1 - 14 * np.abs(smooth_noise(rng, shape, 24, 70)), 0)
    flesh = SKIN * thick - (SKIN - FAT) * below_skin + muscle
    flesh *= 1 + 0.03 * smooth_noise(rng, shape, 30, 22) + 0.02 * creases
    return flesh


def expose(scene: Scene, camera: Camera, rng: Generator) -> Pixels:
    """Take the radiograph: (height, width), uint8, bone bright on black.

    The number of draws from `rng`, for noise and texture, does not depend on the scene.
    """
    shape = (camera.height_px, camera.width_px)
    bone = thickness_of(scene.bones, shape, camera, 1.0, "bone")
    fine, uneven = smooth_noise(rng, shape, 3, 3), smooth_noise(rng, shape, 14, 14)
    bone *= 1 + 0.04 * fine + 0.06 * uneven
    for blob in scene.blobs:
        _apply_blob(bone, blob, camera, uneven)

    attenuation = _flesh(scene, shape, camera, rng) * scene.tissue_mu
    attenuation += bone * scene.bone_mu
    if scene.casts:
        casts = np.zeros(shape, dtype=np.float32)
        for cast in scene.casts:
            _add_cast(casts, cast, camera, uneven)
        attenuation += casts * CAST_MU
    if scene.metals:
        metal = np.zeros(shape, dtype=np.float32)
        for piece in scene.metals:
            if isinstance(piece, Disc):
                _add_disc(metal, piece, camera)
            else:
                _add_metal(metal, piece, camera)
        attenuation += metal * METAL_MU

    signal = _processed(1 - exp_minus(camera.exposure * attenuation), camera)
    signal += _noise_of(signal, camera, rng)
    signal = blurred(signal, camera.blur_px)
    if camera.collimated:
        signal *= _collimator(camera)
    # The tone curve as a table: a power of every pixel would take a fifth of the whole time.
    tone = [camera.fog + (1 - camera.fog) * (k / (TONES - 1)) ** camera.gamma for k in range(TONES)]
    greys = np.array([round(255 * grey) for grey in tone], np.uint8)
    return _lettered(greys[(np.clip(signal, 0, 1) * (TONES - 1)).astype(np.int16)], camera)


def _processed(signal: Floats, camera: Camera) -> Floats:
    """Motion, scatter, and the contrast that a workstation adds to what stands out."""
    across, down = camera.motion_px
    steps = max(abs(across), abs(down))
    if steps:
        padded = np.pad(signal, steps, mode="edge")
        height, width = signal.shape
        moved = np.zeros_like(signal)
        for k in range(steps + 1):
            y, x = steps + k * down // steps, steps + k * across // steps
            moved += padded[y : y + height, x : x + width]
        signal = moved / (steps + 1)
    coarse = signal[SCATTER_STEP // 2 :: SCATTER_STEP, SCATTER_STEP // 2 :: SCATTER_STEP]
    near, far = (enlarged(blurred(coarse, sigma), signal.shape) for sigma in (1.0, 8.0))
    stands_out = signal - 0.6 * near - 0.4 * far
    return np.asarray(0.8 * signal + 0.1 * far + camera.sharpness * stands_out)


def _noise_of(signal: Floats, camera: Camera, rng: Generator) -> Floats:
    """Quantum noise, less where much radiation arrives, the heel effect, and a grid's lines."""
    grain = noise(rng, signal.shape)
    grain *= camera.noise * (0.55 + 0.75 * signal)
    height = signal.shape[0]
    rows = [
        camera.heel * k / height + GRID_LINES * math.sin(2 * math.pi * camera.grid_per_px * k)
        for k in range(height)
    ]
    grain += np.array([rounded(row) for row in rows], np.float32)[:, None]
    return grain


def _collimator(camera: Camera) -> Floats:
    """1 inside the field, 0.12 outside it, (height, width)."""
    height, width = camera.height_px, camera.width_px
    x = (np.arange(width, dtype=np.float32) / (width - 1) - 0.5)[None, :]
    y = (np.arange(height, dtype=np.float32) / (height - 1) - 0.5)[:, None]
    lean = rounded(math.tan(math.radians(camera.collimator_degrees)))
    left, top, right, bottom = camera.collimated
    # How far inside of the field, across and down.
    across = (1 - left - right) / 2 - np.abs(x + lean * y - (left - right) / 2)
    down = (1 - top - bottom) / 2 - np.abs(y - lean * x - (top - bottom) / 2)
    margin = np.minimum(across, down)
    return 0.12 + 0.88 * np.clip(margin * 150 + 0.5, 0, 1)


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

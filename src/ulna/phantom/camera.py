"""From millimetres to pixels, and everything about an image that is not anatomy."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ulna.phantom.exact import GRID, rounded
from ulna.phantom.scene import Point, Scene


@dataclass(frozen=True)
class Camera:
    """Place and size of the image, exposure, processing, noise, collimator and letter."""

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
    sharpness: float  # share of what stands out of its surroundings that is added once more
    motion_px: tuple[int, int]  # how far the part moved while it was exposed: across, down
    grid_per_px: float  # lines of the antiscatter grid per pixel; 0: none are seen
    heel: float  # how much brighter the lower border is than the upper (of white)
    collimated: tuple[float, ...]
    collimator_degrees: float
    letter: str
    letter_at: Point
    letter_degrees: float

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points (n, 2) in mm to x, y in pixels, rounded to the same bits everywhere."""
        x, y = points[:, 0] - self.centre_mm[0], points[:, 1] - self.centre_mm[1]
        if self.mirrored:
            x = -x
        angle = math.radians(self.degrees)
        cos, sin = math.cos(angle), math.sin(angle)
        turned = np.stack([x * cos - y * sin, x * sin + y * cos], axis=1)
        middle = np.array([self.width_px / 2, self.height_px / 2])
        return np.asarray(np.rint((turned * self.pixels_per_mm + middle) * GRID) / GRID)


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
    pixels_per_mm = rounded(long_px / max(width_mm, height_mm))
    borders = tuple(rng.uniform(0.0, 0.05, 4).tolist())
    moved = rng.random() < 0.03
    motion = (int(rng.integers(-4, 5)), int(rng.integers(-4, 5)))
    return Camera(
        width_px=min(512, round(width_mm * pixels_per_mm)),
        height_px=min(512, round(height_mm * pixels_per_mm)),
        pixels_per_mm=pixels_per_mm,
        degrees=degrees,
        mirrored=side == "R",
        centre_mm=centre,
        exposure=rng.uniform(0.85, 1.15),
        gamma=rng.uniform(0.85, 1.2),
        fog=rng.uniform(0.01, 0.1),
        noise=rng.uniform(0.01, 0.03),
        blur_px=round(16 * rng.uniform(0.6, 0.95)) / 16,
        sharpness=rng.uniform(0.4, 1.3),
        motion_px=motion if moved else (0, 0),
        grid_per_px=rng.uniform(0.2, 0.33) if rng.random() < 0.1 else 0.0,
        heel=rng.uniform(0.0, 0.08),
        collimated=borders if rng.random() < 0.4 else (),
        collimator_degrees=rng.normal(0, 2.5),
        letter=side if rng.random() < 0.5 else "",
        letter_at=(rng.choice([0.03, 0.97]) + rng.uniform(-0.02, 0.02), rng.uniform(0.03, 0.97)),
        letter_degrees=rng.choice([0.0, 0.0, 0.0, 0.0, 90.0]) + rng.normal(0, 6),
    )

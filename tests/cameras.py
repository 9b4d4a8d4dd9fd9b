"""A camera without noise, turns or processing."""

from ulna.phantom.camera import Camera

CAMERA = Camera(
    width_px=200,
    height_px=300,
    pixels_per_mm=4.0,
    degrees=0.0,
    mirrored=False,
    centre_mm=(0.0, 0.0),
    exposure=1.0,
    gamma=1.0,
    fog=0.0,
    noise=0.0,
    blur_px=0.75,
    sharpness=0.0,
    motion_px=(0, 0),
    grid_per_px=0.0,
    heel=0.0,
    collimated=(),
    collimator_degrees=0.0,
    letter="",
    letter_at=(0.0, 0.0),
    letter_degrees=0.0,
)

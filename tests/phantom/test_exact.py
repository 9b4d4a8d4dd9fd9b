import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from scipy.ndimage import gaussian_filter

from ulna.phantom.exact import blurred, enlarged, exp_minus, noise, smooth_noise
from ulna.phantom.pathology import SHARES
from ulna.phantom.tree import MURA_STUDIES, draw_view, plan_studies, plan_views

SEED, PATIENTS = 5, 60


def sample():
    """Views of every body part and of every finding, 14 in all."""
    views = [v for v in plan_views(plan_studies(SEED, PATIENTS), SEED) if v.source is None]
    chosen = {("part", view.study.body_part, view.view > 0): view for view in views}
    chosen |= {("finding", view.study.finding): view for view in views}
    return sorted(set(chosen.values()), key=lambda view: view.path)


def digest() -> str:
    """Hash of the sample's pixels and boxes; run as a file, this module prints it."""
    whole = hashlib.sha256()
    for view in sample():
        grey, box = draw_view(view, SEED)
        whole.update(f"{view.path} {grey.shape} {box}".encode() + grey.tobytes())
    return whole.hexdigest()


def settings():
    """As on processors that lack vector instructions, in NumPy, OpenBLAS and the C library."""
    here = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
    # A processor that lacks one lacks the newer ones too.
    lacking = [here[k:] for k in range(len(here))]
    return [{"NPY_DISABLE_CPU_FEATURES": " ".join(names)} for names in lacking] + [
        {"OPENBLAS_CORETYPE": "Prescott", "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-AVX2"},
        {"OPENBLAS_CORETYPE": "Haswell"},
        {"ANOTHER_LIBRARY": "1"},
    ]


def as_with_another_library():
    """Change the last bit of what the C library computes."""
    for name in ("sin", "cos", "tan", "exp", "atan2", "hypot", "dist"):
        exact = getattr(math, name)
        setattr(math, name, lambda *values, exact=exact: exact(*values) * (1 + 2**-52))


@pytest.mark.promise("B42")
@pytest.mark.slow
def test_the_phantom_has_the_same_bytes_with_other_vector_instructions():
    views = sample()
    assert {view.study.body_part for view in views} == set(MURA_STUDIES)
    assert {view.study.finding for view in views} == {*SHARES, "none"}
    command = [sys.executable, __file__]
    folders = os.pathsep.join(sys.path)
    others = [
        subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": folders, **lacks},
            stdout=subprocess.PIPE, text=True,
        )
        for lacks in settings()
    ]  # fmt: skip
    found = [other.communicate()[0].strip() for other in others]
    assert [other.returncode for other in others] == [0] * len(others)
    assert set(found) == {digest()}


def test_exp_minus_is_the_exponential():
    values = np.linspace(0, 20, 999, dtype=np.float32)
    assert exp_minus(values) == pytest.approx(np.exp(-values.astype(float)), abs=2e-4)
    assert exp_minus(np.float32([-0.5, -30])).tolist() == [1, 1]


def test_noise_is_white_and_normal_enough():
    field = noise(np.random.default_rng(0), (301, 203))
    assert field.shape == (301, 203) and field.dtype == np.float32
    assert field.mean() == pytest.approx(0, abs=0.02)
    assert field.std() == pytest.approx(1, abs=0.01)
    assert (np.abs(field) < 2).mean() == pytest.approx(0.9545, abs=0.01)
    for one, other in ((field[1:], field[:-1]), (field[:, 1:], field[:, :-1])):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("sigma", [0.75, 3.0])
def test_blurred_is_the_gaussian_filter_of_scipy(sigma):
    image = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    expected = gaussian_filter(image.astype(float), sigma, mode="nearest", truncate=4)
    assert blurred(image, sigma) == pytest.approx(expected, abs=0.004)


def test_blurred_has_the_same_bits_in_any_order_of_the_sums():
    """The mirror image is summed the other way round."""
    image = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    assert (blurred(image[::-1, ::-1], 2.5)[::-1, ::-1] == blurred(image, 2.5)).all()


def test_enlarged_keeps_corners_and_planes():
    small = np.add.outer(np.arange(4), 10 * np.arange(5)).astype(np.float32)
    large = enlarged(small, (31, 41))
    assert large == pytest.approx(np.add.outer(np.arange(31) / 10, np.arange(41.0)), abs=1e-4)


def test_smooth_noise_is_as_coarse_as_told():
    field = smooth_noise(np.random.default_rng(0), (400, 400), 40, 8)
    down, across = (np.abs(np.diff(field, axis=axis)).mean() for axis in (0, 1))
    assert 3 < across / down < 8
    assert 0.5 < field.std() < 0.8


if __name__ == "__main__":
    if "ANOTHER_LIBRARY" in os.environ:
        as_with_another_library()
    print(digest())

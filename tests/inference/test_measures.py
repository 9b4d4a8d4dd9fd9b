import numpy as np
import pytest

from ulna.inference.measures import MEASURES, invert_measures, measure_square

SIZE_PX = 48
WHOLE = (0, 0, SIZE_PX, SIZE_PX)


def named(square: np.ndarray, box: tuple[int, int, int, int] = WHOLE) -> dict[str, float]:
    return dict(zip(MEASURES, measure_square(square, box), strict=True))


def noisy(seed: int = 0, size_px: int = SIZE_PX) -> np.ndarray:
    """A dark frame, a bright bone, noise; darker to the right."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(60, 20, size_px)
    image = np.broadcast_to(ramp, (size_px, size_px)) + random.normal(0, 6, (size_px, size_px))
    image[:, size_px // 3 : size_px // 2] += 120
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def test_the_grey_levels_are_those_of_numpy():
    square = noisy()
    found = named(square)
    assert found["mean"] == pytest.approx(square.mean())
    assert np.exp(found["spread"]) - 0.5 == pytest.approx(square.std())
    assert found["dark_share"] ** 2 == pytest.approx((square <= 12).mean())
    assert found["bright_share"] ** 2 == pytest.approx((square >= 243).mean())
    for share in (1, 10, 25, 50, 75, 90, 99):
        # The measure is to a fraction of a level, NumPy's is a level.
        assert found[f"grey_q{share}"] == pytest.approx(np.percentile(square, share), abs=1)


def test_the_layout_is_that_of_the_picture():
    square = np.full((SIZE_PX, SIZE_PX), 100, np.uint8)
    square[:4], square[-4:], square[:, -4:] = 10, 20, 200
    found = named(square)
    # Bottom and top have a bright corner of a twelfth of their length.
    assert found["darkest_side"] == pytest.approx((10 * 11 + 200) / 12)
    assert found["second_side"] == pytest.approx((20 * 11 + 200) / 12)
    assert found["third_side"] == pytest.approx((100 * 10 + 10 + 20) / 12)
    assert found["brightest_side"] == pytest.approx(200)
    assert found["centre"] == pytest.approx(100)
    mirrored = named(np.ascontiguousarray(square[:, ::-1]))
    assert mirrored == pytest.approx(found)


def test_symmetry_is_a_correlation():
    square = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    square[:, 20:28] = 200
    assert named(square)["left_right"] == pytest.approx(1, abs=1e-3)
    half = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    half[:, :24] = 200
    assert named(half)["left_right"] == pytest.approx(-1, abs=1e-3)
    assert named(half)["top_bottom"] == pytest.approx(1, abs=1e-3)


def test_the_texture_is_that_of_the_formula():
    square = noisy(3, 20)
    grey = square.astype(int)
    fine = [
        abs(4 * grey[y, x] - grey[y - 1, x] - grey[y + 1, x] - grey[y, x - 1] - grey[y, x + 1])
        for y in range(1, 19)
        for x in range(1, 19)
    ]
    diagonal = [
        abs(grey[y, x] + grey[y + 1, x + 1] - grey[y + 1, x] - grey[y, x + 1])
        for y in range(19)
        for x in range(19)
    ]
    found = named(square, (0, 0, 20, 20))
    assert np.exp(found["fine_mean"]) - 0.5 == pytest.approx(np.mean(fine))
    assert np.exp(found["fine_q50"]) - 0.5 == pytest.approx(np.median(fine), abs=1)
    assert np.exp(found["diagonal_mean"]) - 0.5 == pytest.approx(np.mean(diagonal))
    assert np.exp(found["fine_right"]) - 0.5 == pytest.approx(np.abs(np.diff(grey, axis=1)).mean())


def test_the_padding_is_not_measured():
    content = noisy()[:, :30]
    square = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    square[:, 9:39] = content
    other = square.copy()
    other[:, :9], other[:, 39:] = 255, 128
    box = (9, 0, 39, SIZE_PX)
    assert named(square, box) == named(other, box)
    assert named(square, box)["aspect"] == pytest.approx(np.log(30 / 48))


@pytest.mark.parametrize("size_px", [SIZE_PX, 96])
def test_the_measures_of_an_inverse_follow_from_those_of_the_image(size_px):
    square = noisy(1, size_px)
    box = (0, 0, size_px, size_px)
    inverse = measure_square(255 - square, box)
    assert invert_measures(measure_square(square, box)) == pytest.approx(inverse)
    twice = invert_measures(invert_measures(measure_square(square, box)))
    assert twice == pytest.approx(measure_square(square, box))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2)])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_slivers_and_blank_pictures_have_finite_measures(shape, level):
    square = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    square[: shape[0], : shape[1]] = level
    measures = measure_square(square, (0, 0, shape[1], shape[0]))
    assert len(measures) == len(MEASURES) and np.isfinite(measures).all()

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from continual_repmode.errors import UserError
from continual_repmode.inference.windows import (
    WindowGrid,
    gaussian_profile,
    window_starts,
)


@given(st.integers(1, 200), st.integers(1, 64), st.floats(0, 0.99))
def test_windows_cover_every_voxel_and_stay_inside(size, side, overlap):
    side = min(side, size)
    starts = window_starts(size, side, overlap)

    covered = np.zeros(size, int)
    for start in starts:
        assert 0 <= start <= size - side
        covered[start : start + side] += 1
    assert covered.min() >= 1
    assert starts == sorted(set(starts))


@given(st.integers(1, 200), st.integers(1, 64), st.floats(0, 0.99))
def test_windows_are_evenly_spread_and_overlap_as_much_as_asked(size, side, overlap):
    side = min(side, size)
    gaps = np.diff(window_starts(size, side, overlap))

    if len(gaps):
        assert gaps.max() - gaps.min() <= 1
        assert gaps.max() <= max(1, side * (1 - overlap) + 1e-6)


def test_half_overlapping_windows():
    assert window_starts(65, 32, 0.5) == [0, 11, 22, 33]
    assert window_starts(64, 32, 0.5) == [0, 16, 32]
    assert window_starts(32, 32, 0.5) == [0]
    assert window_starts(5, 2, 0.0) == [0, 2, 3]
    assert window_starts(4, 1, 0.5) == [0, 1, 2, 3]


def test_a_step_that_is_whole_but_for_rounding_is_taken_whole():
    assert 10 * (1 - 0.8) < 2
    assert window_starts(16, 10, 0.8) == [0, 2, 4, 6]


def test_weights_are_a_blurred_point_scaled_to_one():
    for side in (8, 16, 32, 128):
        point = np.zeros(side)
        point[side // 2] = 1
        blurred = ndimage.gaussian_filter(point, side / 8, mode="constant")
        blurred /= blurred.max()
        blurred[blurred == 0] = blurred[blurred > 0].min()
        np.testing.assert_allclose(gaussian_profile(side), blurred, rtol=1e-5)


def test_the_smallest_weight_of_a_window_is_not_zero():
    weights = WindowGrid.over((32, 128, 128), (32, 128, 128), 0.5).weights(
        torch.device("cpu")
    )

    assert weights.max() == 1
    assert weights.min() > 1e-11


def test_weight_sums_are_those_of_all_windows():
    grid = WindowGrid.over((7, 9, 11), (4, 6, 5), 0.5)
    cpu = torch.device("cpu")
    weights = grid.weights(cpu).double()
    expected = torch.zeros(grid.shape, dtype=torch.float64)
    for z in grid.starts[0]:
        for y in grid.starts[1]:
            for x in grid.starts[2]:
                expected[z : z + 4, y : y + 6, x : x + 5] += weights

    z, y, x = grid.weight_sums(cpu)

    torch.testing.assert_close(
        (z[:, None, None] * y[:, None] * x).double(), expected, rtol=1e-5, atol=0
    )


def test_sides_are_cut_down_to_the_volume():
    grid = WindowGrid.over((6, 10, 12), (32, 8, 128), 0.5)

    assert grid.sides == (6, 8, 12)
    assert grid.starts == ((0,), (0, 2), (0,))
    assert grid.num_windows == 2


def test_impossible_grids_are_named():
    three = "three for Z, Y and X"
    for shape, window, overlap, message in (
        ((4, 4), (2, 2, 2), 0.5, r"volume: expected shape .*\(4, 4\)"),
        ((4, 0, 4), (2, 2, 2), 0.5, "volume: expected shape"),
        ((4, 4, 4), (4, 4), 0.5, r"window=\[4, 4\]"),
        ((4, 4, 4), (4, 0, 4), 0.5, r"window=\[4, 0, 4\]"),
        ((4, 4, 4), (4, 4, 4), 1.0, "overlap=1.0"),
        ((4, 4, 4), (4, 4, 4), -0.1, "overlap=-0.1"),
        ((4, 4, 4), (4, 4, 4), (0.5, 0.5), three),
        ((4, 4, 4), (4, 4, 4), (0.5, 1.0, 0.5), three),
        ((4, 4, 4), (4, 4, 4), (0.5, -0.1, 0), three),
    ):
        with pytest.raises(UserError, match=message):
            WindowGrid.over(shape, window, overlap)


def test_each_axis_may_have_an_overlap_of_its_own():
    grid = WindowGrid.over((12, 12, 12), (4, 4, 4), (0.5, 0.25, 0.0))
    half = WindowGrid.over((12, 12, 12), (4, 4, 4), 0.5)
    assert grid.starts == ((0, 2, 4, 6, 8), (0, 3, 5, 8), (0, 4, 8))
    assert half.starts == (grid.starts[0],) * 3

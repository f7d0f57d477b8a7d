import numpy as np
import pytest

from continual_repmode.data.axis_resizing import AxisResizing, parts
from continual_repmode.data.resampling import ResizeMethod, resize

SIZES = [(9, 9), (1, 1), (1, 6), (6, 1), (2, 7), (61, 23), (23, 61), (200, 3), (64, 65)]


@pytest.mark.parametrize("method", ["paper", "fast"])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_one_axis_is_resized_as_within_a_volume(
    old: int, new: int, method: ResizeMethod
) -> None:
    plane = np.random.default_rng(0).standard_normal((old, 5)).astype(np.float32)

    resized = AxisResizing(old, new, method).apply(plane, -2, 0, slice(0, new))

    expected = resize(plane[:, None], (new, 1, 5), method)[:, 0]
    np.testing.assert_allclose(resized, expected, atol=2e-6)


@pytest.mark.parametrize("method", ["paper", "fast"])
@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("axis", [-2, -1])
def test_a_part_depends_on_nothing_but_what_it_needs(
    old: int, new: int, method: ResizeMethod, axis: int
) -> None:
    rows = np.random.default_rng(0).standard_normal((3, old, 4)).astype(np.float32)
    resizing = AxisResizing(old, new, method)
    whole = resizing.apply(rows, -2, 0, slice(0, new))
    turned = rows if axis == -2 else rows.swapaxes(1, 2)

    for outputs in parts(new, 4):
        needed = resizing.needed(outputs)
        poisoned = np.full_like(turned, np.nan)
        within = (..., needed, slice(None)) if axis == -2 else (..., needed)
        poisoned[within] = turned[within]
        part = resizing.apply(poisoned[within], axis, needed.start, outputs)
        part = part if axis == -2 else part.swapaxes(1, 2)
        np.testing.assert_allclose(part, whole[:, outputs], atol=1e-6)


def test_the_spline_filter_needs_some_thirty_voxels_and_the_fast_way_a_few() -> None:
    paper, fast = (AxisResizing(300, 600, method) for method in ("paper", "fast"))

    def num_needed(resizing: AxisResizing) -> int:
        needed = resizing.needed(slice(300, 304))
        return needed.stop - needed.start

    assert 20 < num_needed(paper) < 40
    assert num_needed(fast) <= 4


def test_what_is_needed_only_moves_on() -> None:
    for old, new in SIZES:
        resizing = AxisResizing(old, new, "paper")
        needed = [resizing.needed(part) for part in parts(new, 3)]
        assert [part.start for part in needed] == sorted(part.start for part in needed)
        assert [part.stop for part in needed] == sorted(part.stop for part in needed)
        assert resizing.most_needed(3) == max(p.stop - p.start for p in needed)


def test_an_axis_that_stays_is_not_copied() -> None:
    plane = np.zeros((4, 6), np.float32)

    same = AxisResizing(6, 6, "paper").apply(plane, -1, 0, slice(1, 5))

    assert np.shares_memory(same, plane)
    assert same.shape == (4, 4)


def test_parts_follow_each_other_to_the_end() -> None:
    assert parts(7, 3) == [slice(0, 3), slice(3, 6), slice(6, 7)]

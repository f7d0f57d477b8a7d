import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from continual_repmode.inference.bands import (
    Cutting,
    fewest_windows,
    stretches,
    uncut,
)
from continual_repmode.inference.windows import WindowGrid

grids = st.builds(
    WindowGrid.over,
    st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 8), st.integers(1, 16), st.integers(1, 16)),
    st.sampled_from([0.0, 0.25, 0.5, 0.6, 0.75]),
)


@settings(deadline=None, max_examples=50)
@given(grids, st.integers(0, 5))
def test_stretches_tile_an_axis_and_know_all_windows_that_touch_them(
    grid: WindowGrid, more: int
) -> None:
    size, side, starts = grid.shape[1], grid.sides[1], grid.starts[1]
    num_windows = fewest_windows(grid, 1) + more

    found = stretches(grid, 1, num_windows)

    assert [v for s in found for v in range(size)[s.voxels]] == list(range(size))
    for stretch in found:
        voxels = set(range(size)[stretch.voxels])
        touching = [s for s in starts if voxels & set(range(s, s + side))]
        assert list(stretch.starts) == touching
        assert stretch.span == slice(touching[0], touching[-1] + side)
        assert len(touching) <= num_windows


@settings(deadline=None, max_examples=50)
@given(grids)
def test_fewest_windows_is_how_many_share_a_voxel(grid: WindowGrid) -> None:
    covered = np.zeros(grid.shape[2], int)
    for start in grid.starts[2]:
        covered[start : start + grid.sides[2]] += 1

    assert fewest_windows(grid, 2) == covered.max()


def test_an_uncut_volume_is_one_band_with_every_window_in_order() -> None:
    grid = WindowGrid.over((8, 20, 30), (4, 8, 8), 0.5)

    (band,) = uncut(grid).bands

    corners = [band.corner(index) for index in range(band.num_windows)]
    assert corners == list(itertools.product(*grid.starts))
    assert (band.y.voxels, band.x.voxels) == (slice(0, 20), slice(0, 30))
    assert uncut(grid).num_windows == grid.num_windows


@settings(deadline=None, max_examples=50)
@given(grids, st.integers(1, 40))
def test_a_slab_holds_any_windows_in_a_row_of_any_band(
    grid: WindowGrid, batch_size: int
) -> None:
    cutting = Cutting(
        grid,
        stretches(grid, 1, fewest_windows(grid, 1)),
        stretches(grid, 2, fewest_windows(grid, 2) + 1),
    )
    depth, read, written = cutting.slab_size(batch_size)

    assert sum(band.num_windows for band in cutting.bands) == cutting.num_windows
    for band in cutting.bands:
        assert band.depth(batch_size) <= depth
        for first in range(band.num_windows):
            last = min(first + batch_size, band.num_windows) - 1
            extent = band.corner(last)[0] - band.corner(first)[0] + grid.sides[0]
            assert extent <= band.depth(batch_size)
        spans, parts = (band.y.span, band.x.span), (band.y.voxels, band.x.voxels)
        assert np.prod([s.stop - s.start for s in spans]) <= read
        assert np.prod([s.stop - s.start for s in parts]) <= written

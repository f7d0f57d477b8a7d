"""How a volume is cut into bands where a slab of whole planes would be too large.

A band covers all of Z and a rectangle of Y and X. All windows that touch its rectangle
are predicted for it, so windows across a cut are predicted once for each side: that
costs time, and changes no value.
"""

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from continual_repmode.inference.windows import Size3, WindowGrid


@dataclass(frozen=True)
class Stretch:
    """A part of one axis.

    Attributes
    ----------
    voxels : slice
        What is predicted.
    starts : tuple of int
        Where the windows that touch these voxels begin.
    span : slice
        What these windows cover.
    """

    voxels: slice
    starts: tuple[int, ...]
    span: slice


@dataclass(frozen=True)
class Band:
    """A rectangle of Y and X over all of Z, predicted plane by plane.

    Attributes
    ----------
    grid : WindowGrid
        Of the whole volume.
    y, x : Stretch
    """

    grid: WindowGrid
    y: Stretch
    x: Stretch

    @property
    def num_windows(self) -> int:
        """How many windows touch the band."""
        return len(self.grid.starts[0]) * len(self.y.starts) * len(self.x.starts)

    def corner(self, index: int) -> Size3:
        """Return where a window begins; windows are counted by Z, then Y, then X."""
        index, x = divmod(index, len(self.x.starts))
        z, y = divmod(index, len(self.y.starts))
        return self.grid.starts[0][z], self.y.starts[y], self.x.starts[x]

    def depth(self, batch_size: int) -> int:
        """Return how many planes the windows of a batch can extend over."""
        return _depth(self.grid, batch_size, len(self.y.starts) * len(self.x.starts))


@dataclass(frozen=True)
class Cutting:
    """One way to cut a volume into bands.

    Attributes
    ----------
    grid : WindowGrid
    y, x : tuple of Stretch
        Every pair is a band.
    """

    grid: WindowGrid
    y: tuple[Stretch, ...]
    x: tuple[Stretch, ...]

    @property
    def bands(self) -> Iterator[Band]:
        """The bands, by Y, then X."""
        for y, x in itertools.product(self.y, self.x):
            yield Band(self.grid, y, x)

    @property
    def num_windows(self) -> int:
        """How many windows are predicted, those across cuts as often as they are."""
        y, x = (sum(len(s.starts) for s in axis) for axis in (self.y, self.x))
        return len(self.grid.starts[0]) * y * x

    def slab_size(self, batch_size: int) -> tuple[int, int, int]:
        """Return the voxels of the largest slab.

        Returns
        -------
        depth : int
            Planes it holds.
        read, written : int
            Voxels of a plane that are read and that are predicted.
        """
        fewest = min(len(s.starts) for s in self.y) * min(len(s.starts) for s in self.x)
        read = _longest(s.span for s in self.y) * _longest(s.span for s in self.x)
        height, width = (_longest(s.voxels for s in axis) for axis in (self.y, self.x))
        return _depth(self.grid, batch_size, fewest), read, height * width


def uncut(grid: WindowGrid) -> Cutting:
    """Return the volume as one band."""
    _, y, x = (len(starts) for starts in grid.starts)
    return Cutting(grid, stretches(grid, 1, y), stretches(grid, 2, x))


def stretches(grid: WindowGrid, axis: int, num_windows: int) -> tuple[Stretch, ...]:
    """Cut an axis into stretches that so many windows touch.

    Cuts lie where windows begin: there fewest windows lie across them.

    Parameters
    ----------
    grid : WindowGrid
    axis : int
        0, 1 or 2 for Z, Y or X.
    num_windows : int
        Windows per stretch, at least :func:`fewest_windows`; the last has what is left.
    """
    size, side, starts = grid.shape[axis], grid.sides[axis], grid.starts[axis]
    found: list[Stretch] = []
    begin = first = 0
    while begin < size:
        while starts[first] + side <= begin:
            first += 1
        after = first + num_windows
        used = starts[first:after]
        end = starts[after] if after < len(starts) else size
        span = slice(used[0], used[-1] + side)
        found.append(Stretch(slice(begin, end), used, span))
        begin = end
    return tuple(found)


def fewest_windows(grid: WindowGrid, axis: int) -> int:
    """Return how many windows a stretch needs: the most that share a voxel."""
    side, starts = grid.sides[axis], grid.starts[axis]
    return max(
        number - bisect_right(starts, start - side)
        for number, start in enumerate(starts, start=1)
    )


def _depth(grid: WindowGrid, batch_size: int, num_per_layer: int) -> int:
    """Return the planes that ``batch_size`` windows in a row can extend over."""
    starts = grid.starts[0]
    layers = min(len(starts), -(-(batch_size - 1) // num_per_layer) + 1)
    firsts, lasts = starts[: len(starts) - layers + 1], starts[layers - 1 :]
    longest = max(last - first for first, last in zip(firsts, lasts, strict=True))
    return longest + grid.sides[0]


def _longest(slices: Iterable[slice]) -> int:
    return max(int(part.stop - part.start) for part in slices)

"""Volumes of any size brought onto another grid, a few planes at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from continual_repmode.data.axis_resizing import AxisResizing, parts
from continual_repmode.data.disk import format_bytes
from continual_repmode.data.progress import byte_bar
from continual_repmode.data.resampling import ResizeMethod
from continual_repmode.data.streamed import PlaneSource
from continual_repmode.errors import UserError

_Shape3 = tuple[int, int, int]
_STEPS = (1, 2, 4, 8, 16, 32)
"""Planes that may be made at a time: a chunk of a Zarr file has 32, or parts of it."""

_CHUNK_ROWS = 128
"""Rows that such a chunk has; bands end with them where they can."""


class PlaneTarget(Protocol):
    """Takes the rows of planes: an array, a memory map, a channel of a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along (Z, Y, X)."""
        ...

    def __setitem__(self, part: tuple[slice, slice], block: NDArray[Any], /) -> None:
        """Keep ``block`` (z, y, X) for some planes and rows; its memory is reused."""
        ...


def resize_stream(
    source: PlaneSource,
    target: PlaneTarget,
    method: ResizeMethod,
    *,
    memory_bytes: int = 512_000_000,
    progress: bool = False,
) -> None:
    """Resize a volume to the shape of a target, which it fills.

    The result is that of :func:`continual_repmode.data.resampling.resize` to the
    rounding of float32. Planes are read with rising z, once; several times over where
    memory does not suffice for those that must be held at a time.

    Parameters
    ----------
    source : PlaneSource
    target : PlaneTarget
    method : {"paper", "fast"}
        See :func:`continual_repmode.data.resampling.resize`.
    memory_bytes : int
        For all arrays here, with what ``source`` needs to read raw planes of 16 bits.
    progress : bool
        Show a progress bar, if stderr is a terminal.

    Raises
    ------
    UserError
        If the memory does not suffice; see :func:`least_resize_bytes`.
    """
    z, y, x = target.shape
    work = _Resizing(source.shape, (z, y, x), method)
    plan = work.plan(memory_bytes)
    with byte_bar("resizing", 4 * z * y * x, shown=progress) as bar:
        for rows in parts(y, plan.num_rows):
            for planes, block in work.blocks(source, rows, plan.step):
                target[planes, rows] = block
                bar.update(block.nbytes)


def least_resize_bytes(
    source_shape: _Shape3, target_shape: _Shape3, method: ResizeMethod
) -> int:
    """Return the smallest memory with which :func:`resize_stream` works."""
    work = _Resizing(source_shape, target_shape, method)
    return min(plan.num_bytes for plan in work.plans())


@dataclass(frozen=True, slots=True)
class _Plan:
    """How many planes to make at a time, of a band of how many rows.

    ``cost`` rises with what is read, and with the pieces written, more than once.
    """

    step: int
    num_rows: int
    num_bytes: int
    cost: float


class _Resizing:
    """How to resize one shape to another: z last, or first if that is less to hold."""

    def __init__(self, old: _Shape3, new: _Shape3, method: ResizeMethod) -> None:
        self._old, self._new = old, new
        self._z, self._y, self._x = (
            AxisResizing(*sizes, method) for sizes in zip(old, new, strict=True)
        )
        self._z_last = new[1] * new[2] <= old[1] * old[2]
        self._y_first = new[1] * old[2] <= old[1] * new[2]

    def plans(self) -> Iterator[_Plan]:
        """Yield the ways to cut the work."""
        new_y = self._new[1]
        read_again = 1 if self._z_last else 0.2  # the smaller volume is read quickly
        all_rows = {self._num_rows(2**k) for k in range(new_y.bit_length())}
        for step, num_rows in product(_STEPS, sorted(all_rows)):
            yield _Plan(
                step,
                num_rows,
                self._num_bytes(step, num_rows),
                cost=read_again * -(-new_y // num_rows) + 16 / step,
            )

    def _num_rows(self, num_bands: int) -> int:
        """Return the rows of each of so many bands: of whole chunks, if longer."""
        num_rows = -(-self._new[1] // num_bands)
        if num_rows > _CHUNK_ROWS:
            num_rows += -num_rows % _CHUNK_ROWS
        return min(num_rows, self._new[1])

    def plan(self, memory_bytes: int) -> _Plan:
        """Return the fastest way that keeps to the memory."""
        plans = list(self.plans())
        fitting = [plan for plan in plans if plan.num_bytes <= memory_bytes]
        if not fitting:
            least = min(plan.num_bytes for plan in plans)
            raise UserError(
                f"memory of {format_bytes(memory_bytes)}: resizing planes of "
                f"{self._old[1]} x {self._old[2]} to {self._new[1]} x {self._new[2]} "
                f"needs at least {format_bytes(least)}; allow more"
            )
        return min(fitting, key=lambda plan: plan.cost)

    def blocks(
        self, source: PlaneSource, rows: slice, step: int
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield new planes (z, rows, X), ``step`` at a time, and which they are."""
        num_planes, held_shape = self._window_shape(rows, step)
        window = _Window((num_planes, *held_shape))
        for planes in parts(self._new[0], step):
            needed = self._z.needed(planes)
            for missing in window.slide(needed, step):
                for plane in source.read(missing):
                    window.add(self._held(plane, rows))
            block = self._z.apply(window.flat, -2, needed.start, planes)
            block = block.reshape(-1, *held_shape)
            if not self._z_last:
                first_row = self._y.needed(rows).start
                block = np.stack(
                    [self._in_plane(plane, first_row, rows) for plane in block]
                )
            yield planes, block

    def _window_shape(self, rows: slice, step: int) -> tuple[int, tuple[int, int]]:
        """Return how many planes are held at a time, and the shape of each."""
        if self._z_last:
            shape = rows.stop - rows.start, self._new[2]
        else:
            needed = self._y.needed(rows)
            shape = needed.stop - needed.start, self._old[2]
        return self._z.most_needed(step), shape

    def _held(self, plane: NDArray[np.float32], rows: slice) -> NDArray[np.float32]:
        """Return what is held of an old plane."""
        if self._z_last:
            return self._in_plane(plane, 0, rows)
        return plane[self._y.needed(rows)]

    def _in_plane(
        self, plane: NDArray[np.float32], first_row: int, rows: slice
    ) -> NDArray[np.float32]:
        """Resize y and x of a plane whose rows begin with ``first_row``."""
        y, x, columns = self._y, self._x, slice(0, self._new[2])
        if self._y_first:
            return x.apply(y.apply(plane, -2, first_row, rows), -1, 0, columns)
        needed = y.needed(rows)
        plane = plane[needed.start - first_row : needed.stop - first_row]
        return y.apply(x.apply(plane, -1, 0, columns), -2, needed.start, rows)

    def _num_bytes(self, step: int, num_rows: int) -> int:
        """Return the memory that a way to cut the work takes."""
        old_z, old_y, old_x = self._old
        new_x = self._new[2]
        num_old_rows = self._y.most_needed(num_rows)
        plane, band, old_band = old_y * old_x, num_rows * new_x, num_old_rows * old_x
        half_done = num_rows * old_x if self._y_first else num_old_rows * new_x
        held = band if self._z_last else old_band
        voxels = (
            self._z.most_needed(step) * held  # the window
            + step * held  # resized along z
            + (0 if self._z_last else 2 * step * band)
            + half_done + band  # of a single plane
            + (min(step, old_z) + 2) * plane  # read, and one in float64
        )  # fmt: skip
        raw = 2 * min(step, old_z) * plane
        weights = sum(axis.num_bytes for axis in (self._z, self._y, self._x))
        return 4 * voxels + raw + weights


class _Window:
    """The planes held at a time: neighbours in z."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._planes = np.empty(shape, np.float32)
        self._first = self._num_held = 0

    @property
    def flat(self) -> NDArray[np.float32]:
        """The planes held, one per row."""
        held = self._planes[: self._num_held]
        return held.reshape(self._num_held, -1)

    def slide(self, needed: slice, step: int) -> list[slice]:
        """Drop the planes before ``needed`` and return those that it lacks."""
        stop = self._first + self._num_held
        dropped = min(needed.start, stop) - self._first
        for plane in range(dropped, self._num_held):
            self._planes[plane - dropped] = self._planes[plane]
        self._num_held -= dropped
        self._first = needed.start
        begin = max(stop, needed.start)
        return [
            slice(begin + part.start, begin + part.stop)
            for part in parts(needed.stop - begin, step)
        ]

    def add(self, plane: NDArray[np.float32]) -> None:
        """Hold one plane more."""
        self._planes[self._num_held] = plane
        self._num_held += 1

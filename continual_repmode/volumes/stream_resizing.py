"""Volumes of any size brought onto another grid, part by part.

Both methods of :mod:`continual_repmode.volumes.resampling` are linear and work on each
axis by itself. So a volume passes through twice: plane by plane for Y and X, and in
blocks of rows, which hold all of Z, for Z. What lies between is in a file.
"""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from continual_repmode.errors import UserError
from continual_repmode.files import format_bytes
from continual_repmode.stopping import stop_if_told
from continual_repmode.volumes.progress import byte_bar
from continual_repmode.volumes.resampling import ResizeMethod, resize
from continual_repmode.volumes.streamed import PlaneSource
from continual_repmode.volumes.volume_file import VolumeFile

Shape3 = tuple[int, int, int]
Part = tuple[slice, slice]
"""Planes and rows."""

_MOST_PLANES, _MOST_ROWS = 32, 128
"""Made at a time: a chunk of a Zarr file has as many, so it is written once."""

_LEAST_WEIGHT = 1e-8
_COLUMNS = 64


class PlaneTarget(Protocol):
    """Takes the rows of planes: an array, a volume file, a channel of a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along (Z, Y, X)."""
        ...

    def __setitem__(self, part: Part, block: NDArray[Any], /) -> None:
        """Keep ``block`` (z, y, X) for some planes and rows."""
        ...


def resize_stream(
    source: PlaneSource,
    target: PlaneTarget,
    method: ResizeMethod,
    *,
    scratch: Path,
    memory_bytes: int = 512_000_000,
    progress: bool = False,
) -> None:
    """Resize a volume to the shape of a target, which it fills.

    The result is that of :func:`continual_repmode.volumes.resampling.resize` to the
    rounding of float32. Planes of the source are read once, with rising z.

    ``method``: see :func:`continual_repmode.volumes.resampling.resize`.
    ``scratch``: a folder of the caller's own, for up to :func:`scratch_bytes`. What a
        killed process left there is replaced.
    ``memory_bytes``: for all arrays here, with what ``source`` needs to read raw planes
        of 16 bits.
    Raises UserError if the memory does not suffice; see :func:`least_resize_bytes`.
    """
    z, y, x = target.shape
    passes = _passes(source.shape, (z, y, x))
    least = least_resize_bytes(source.shape, (z, y, x))
    if least > memory_bytes:
        raise UserError(
            f"memory of {format_bytes(memory_bytes)}: resizing a volume of "
            f"{source.shape} to {(z, y, x)} needs {format_bytes(least)} or more"
        )
    made = sum(4 * math.prod(step.new) for step in passes)
    with (
        _empty_folder(scratch / "resizing") as folder,
        byte_bar("resizing", made, shown=progress) as bar,
    ):
        given: Any = source
        for number, step in enumerate(passes, start=1):
            taken: Any = target
            if number < len(passes):
                taken = VolumeFile(folder / f"{number}.npy", step.new)
                taken.create()
            for part, block in step.blocks(given, method, memory_bytes):
                stop_if_told()
                taken[part] = block
                bar.update(block.nbytes)
            given = taken


def least_resize_bytes(old: Shape3, new: Shape3) -> int:
    """Return the smallest memory with which :func:`resize_stream` works."""
    return max(step.num_bytes(1) for step in _passes(old, new))


def scratch_bytes(old: Shape3, new: Shape3) -> int:
    """Return the disk space that :func:`resize_stream` needs while it works."""
    return sum(4 * math.prod(step.new) for step in _passes(old, new)[:-1])


@lru_cache(maxsize=32)
def axis_weights(num_in: int, num_out: int, method: ResizeMethod) -> sparse.csr_array:
    """Return what resizing does along one axis, as a matrix (num_out, num_in).

    Its columns are resized unit vectors, so there is no second account of the methods
    here. Far from the diagonal, where the spline filter has forgotten all but 1e-8,
    nothing is kept. Time grows with the square of the length: some seconds for 8,000
    voxels, once.
    """
    found = []
    for first in range(0, num_in, _COLUMNS):
        units = np.eye(num_in, min(_COLUMNS, num_in - first), -first, dtype=np.float32)
        weights = resize(units, (num_out, units.shape[1]), method)
        found.append(
            sparse.csr_array(np.where(abs(weights) > _LEAST_WEIGHT, weights, 0))
        )
    return sparse.hstack(found, format="csr")


@contextmanager
def _empty_folder(path: Path) -> Iterator[Path]:
    """Make an empty folder, and remove it afterwards."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path)


class _Pass:
    """One way through a volume: for Y, X plane by plane, or for Z by blocks of rows."""

    def __init__(
        self, along: Literal["planes", "rows"], old: Shape3, new: Shape3
    ) -> None:
        self.old, self.new = old, new
        self._by_planes = along == "planes"

    def blocks(
        self, source: Any, method: ResizeMethod, memory_bytes: int
    ) -> Iterator[tuple[Part, NDArray[np.float32]]]:
        """Yield new blocks (z, y, X), and where they belong."""
        count, axis = (_MOST_PLANES, 0) if self._by_planes else (_MOST_ROWS, 1)
        while count > 1 and self.num_bytes(count) > memory_bytes:
            count //= 2
        for first in range(0, self.old[axis], count):
            part = slice(first, min(first + count, self.old[axis]))
            if self._by_planes:
                made = np.empty((part.stop - first, *self.new[1:]), np.float32)
                for index, plane in enumerate(source[part]):
                    made[index] = self._in_plane(plane, method)
                del plane  # it holds all of them, while the next ones are read
                yield (part, slice(0, self.new[1])), made
            else:
                block = source[:, part]
                weights = axis_weights(self.old[0], self.new[0], method)
                resized = weights @ block.reshape(len(block), -1)
                shape = self.new[0], *block.shape[1:]
                yield (slice(0, self.new[0]), part), resized.reshape(shape)

    def num_bytes(self, count: int) -> int:
        """Return the memory for so many planes, or rows, at a time."""
        (old_z, old_y, old_x), (new_z, new_y, new_x) = self.old, self.new
        if not self._by_planes:
            return 4 * 2 * (old_z + new_z) * count * old_x
        old_plane, new_plane = old_y * old_x, new_y * new_x
        at_work = 8 * old_plane + 4 * (self._half_done() + 2 * new_plane)
        # Of the source as read and as float32; of the new, the block before lives on.
        return at_work + min(count, old_z) * (6 * old_plane + 8 * new_plane)

    def _in_plane(
        self, plane: NDArray[np.float32], method: ResizeMethod
    ) -> NDArray[np.float32]:
        axes = (0, 1) if self._y_first() else (1, 0)
        for axis in axes:
            old, new = self.old[axis + 1], self.new[axis + 1]
            if old != new:
                weights = axis_weights(old, new, method)
                plane = weights @ plane if axis == 0 else (weights @ plane.T).T
        return plane

    def _y_first(self) -> bool:
        return self.new[1] * self.old[2] <= self.old[1] * self.new[2]

    def _half_done(self) -> int:
        (_, old_y, old_x), (_, new_y, new_x) = self.old, self.new
        return 2 * (new_y * old_x if self._y_first() else old_y * new_x)


def _passes(old: Shape3, new: Shape3) -> list[_Pass]:
    """Return the passes that resize a volume: with the least between them.

    Rows of all planes are read from a file only, so such a pass is never the first.
    """
    if old[0] == new[0]:
        return [_Pass("planes", old, new)]
    shrinks = new[1] * new[2] < old[1] * old[2]
    first = old[0], *(new[1:] if shrinks else old[1:])
    second = new[0], *first[1:]
    passes = [_Pass("planes", old, first), _Pass("rows", first, second)]
    return passes if second == new else [*passes, _Pass("planes", second, new)]

"""Volumes on disk that pass through in parts, without staying in memory."""

import math
import mmap
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RELEASE_BYTES = 64_000_000
"""After so much was read and written, pages are given back to the system."""

_AROUND_BYTES = 65_536
"""The system maps about so many bytes around every row that is touched."""


class VolumeFile:
    """A volume of float32 in a ``.npy`` file, mapped, that is used like an array.

    Pages of a mapped file count as memory of the process; on Linux they are given back
    while the volume passes through, so that only a part of it counts at any time.

    Parameters
    ----------
    path : Path
    shape : (int, int, int)
        Voxels along (Z, Y, X).

    Examples
    --------
    >>> volume = VolumeFile(folder / "light.npy", (30, 200, 200))  # doctest: +SKIP
    >>> volume.create()  # doctest: +SKIP
    >>> volume[:4, :, 10:20] = 1.5  # doctest: +SKIP
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = path, shape
        self._mapped: np.memmap[Any, np.dtype[np.float32]] | None = None
        self._touched = 0

    def create(self) -> None:
        """Make the file, or empty it; every voxel is 0.

        Raises
        ------
        OSError
            If the disk lacks the space, which is reserved here: on a disk that fills up
            later, writing to a mapped file would end the process.
        """
        self._mapped = np.lib.format.open_memmap(
            self.path, "w+", np.dtype("<f4"), self.shape
        )
        if sys.platform == "linux":
            with self.path.open("rb+") as file:
                os.posix_fallocate(file.fileno(), 0, self.path.stat().st_size)

    def settle(self) -> None:
        """Wait until everything written is on the disk."""
        self._array.flush()
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Delete the file."""
        self._mapped = None
        self.path.unlink()

    def __getitem__(self, box: Any) -> NDArray[np.float32]:
        """Return the voxels of a box, with memory of their own."""
        part = np.array(self._array[box])
        self._count(part.shape)
        return part

    def __setitem__(self, box: Any, values: Any) -> None:
        """Replace the voxels of a box."""
        part = self._array[box]
        part[...] = values
        self._count(part.shape)

    @property
    def _array(self) -> "np.memmap[Any, np.dtype[np.float32]]":
        if self._mapped is None:
            self._mapped = np.lib.format.open_memmap(self.path, "r+")
        return self._mapped

    def _count(self, shape: tuple[int, ...]) -> None:
        """Note what was touched, and give pages back when it is much."""
        *rows, length = shape
        self._touched += math.prod(rows) * (4 * length + _AROUND_BYTES)
        if self._touched > _RELEASE_BYTES:
            self._touched = 0
            pages: Any = self._array.base
            if sys.platform == "linux" and isinstance(pages, mmap.mmap):
                pages.madvise(mmap.MADV_DONTNEED)  # they stay in the file

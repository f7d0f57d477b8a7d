"""Volumes on disk that pass through in parts, without staying in memory."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = bytes(1 << 20)


class VolumeFile:
    """A volume of float32 in a ``.npy`` file that is used like an array.

    The file is mapped for each access alone: pages of a mapped file count as memory of
    the process, and some systems neither replace nor remove a file that is mapped.

    ``shape``: voxels along (Z, Y, X).

    Examples
    --------
    >>> volume = VolumeFile(folder / "light.npy", (30, 200, 200))  # doctest: +SKIP
    >>> volume.create()  # doctest: +SKIP
    >>> volume[:4, :, 10:20] = 1.5  # doctest: +SKIP
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = path, shape

    def create(self) -> None:
        """Make the file, or empty it; every voxel is 0.

        Raises OSError if the disk lacks the space, which is reserved here: on a disk
            that fills up later, writing to a mapped file would end the process.
        """
        header = {"descr": "<f4", "fortran_order": False, "shape": self.shape}
        left = 4 * math.prod(self.shape)
        with self.path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            reserve = getattr(os, "posix_fallocate", None)
            if reserve is not None:
                file.flush()
                reserve(file.fileno(), 0, file.tell() + left)
                return
            while left:
                left -= file.write(_BLOCK[:left])

    def settle(self) -> None:
        """Wait until everything written is on the disk."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink()

    def __getitem__(self, box: Any) -> NDArray[np.float32]:
        """Return the voxels of a box, with memory of their own."""
        return np.array(self._mapped("r")[box])

    def __setitem__(self, box: Any, values: Any) -> None:
        """Replace the voxels of a box."""
        self._mapped("r+")[box] = values

    def _mapped(self, mode: Any) -> "np.memmap[Any, np.dtype[np.float32]]":
        return np.lib.format.open_memmap(self.path, mode)

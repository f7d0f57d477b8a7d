"""Volumes on disk that pass through in parts, without staying in memory.

Pages of a memory map count as memory of the process for as long as it is mapped; here
files are read and written in the ordinary way, so that only the part in hand counts.
"""

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray
from torch import Tensor

from continual_repmode.data.collection import Intensity
from continual_repmode.inference.windows import Box, Size3

_VOXEL = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """A volume (Z, Y, X) of float32 in a ``.npy`` file.

    It can be resized from and to (``read``, assignment), and predicted from and into
    (:class:`FileSource`, :class:`FileSink`).

    Attributes
    ----------
    path : Path
    shape : (int, int, int)
    """

    path: Path
    shape: Size3

    def create(self) -> None:
        """Make the file, or empty it; every voxel is 0."""
        header = _header(self.shape)
        with self.path.open("wb") as file:
            file.write(header)
            file.truncate(len(header) + math.prod(self.shape) * _VOXEL.itemsize)

    def settle(self) -> None:
        """Wait until everything written is on the disk."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())

    def read(self, planes: slice) -> NDArray[np.float32]:
        """Return some planes (z, Y, X)."""
        start, stop, _ = planes.indices(self.shape[0])
        _, y, x = self.shape
        voxels = np.fromfile(
            self.path,
            _VOXEL,
            count=(stop - start) * y * x,
            offset=self._offset(start * y * x),
        )
        return voxels.reshape(stop - start, y, x)

    def read_box(self, box: Box) -> NDArray[np.float32]:
        """Return the voxels (z, y, x) within a box."""
        z, y, x = box
        _, size_y, size_x = self.shape
        block = np.empty([side.stop - side.start for side in box], _VOXEL)
        for plane, part in zip(range(z.start, z.stop), block, strict=True):
            rows = np.fromfile(
                self.path,
                _VOXEL,
                count=(y.stop - y.start) * size_x,
                offset=self._offset((plane * size_y + y.start) * size_x),
            )
            part[:] = rows.reshape(-1, size_x)[:, x]
        return block

    def write_box(self, box: Box, block: NDArray[np.floating]) -> None:
        """Write the voxels (z, y, x) within a box."""
        z, y, x = box
        _, size_y, size_x = self.shape
        whole_rows = x.stop - x.start == size_x
        with self.path.open("rb+", buffering=0) as file:
            for plane, part in zip(range(z.start, z.stop), block, strict=True):
                first = (plane * size_y + y.start) * size_x + x.start
                rows = np.ascontiguousarray(part, _VOXEL)
                pieces = [rows] if whole_rows else list(rows)
                for index, piece in enumerate(pieces):
                    file.seek(self._offset(first + index * size_x))
                    _write_all(file.fileno(), piece)

    def __setitem__(self, part: tuple[slice, slice], block: NDArray[Any]) -> None:
        z, y = (
            side.indices(size) for side, size in zip(part, self.shape, strict=False)
        )
        box = slice(*z[:2]), slice(*y[:2]), slice(0, self.shape[2])
        self.write_box(box, block)

    def _offset(self, voxel: int) -> int:
        """Return where a voxel stands in the file."""
        return len(_header(self.shape)) + voxel * _VOXEL.itemsize


@dataclass(frozen=True, slots=True)
class FileSource:
    """A volume file as a source of :func:`predict_stream`."""

    volume: VolumeFile

    @property
    def shape(self) -> Size3:
        """Voxels along (Z, Y, X)."""
        return self.volume.shape

    def read(self, box: Box) -> Tensor:
        """Return the signal (z, y, x) within a box."""
        return torch.from_numpy(self.volume.read_box(box))


@dataclass(frozen=True, slots=True)
class FileSink:
    """A volume file as a sink of :func:`predict_stream`."""

    volume: VolumeFile

    def write(self, box: Box, block: Tensor) -> None:
        """Write the prediction (1, z, y, x) within a box."""
        self.volume.write_box(box, block[0].cpu().numpy())


@dataclass(frozen=True, slots=True)
class ScaledPlanes:
    """The planes of a volume file with the z-score undone.

    Attributes
    ----------
    volume : VolumeFile
    intensity : Intensity
        What 1 and 0 stand for.
    """

    volume: VolumeFile
    intensity: Intensity

    @property
    def shape(self) -> Size3:
        """Voxels along (Z, Y, X)."""
        return self.volume.shape

    def read(self, planes: slice) -> NDArray[np.float32]:
        """Return some planes (z, Y, X)."""
        block = self.volume.read(planes)
        block *= self.intensity.std
        block += self.intensity.mean
        return block


def _header(shape: Size3) -> bytes:
    """Return what stands before the voxels in a ``.npy`` file."""
    header = io.BytesIO()
    write_array_header_1_0(
        header, {"descr": _VOXEL.str, "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def _write_all(file: int, piece: NDArray[np.float32]) -> None:
    """Write an array where the file stands; the system may take it in parts."""
    rest = piece.data.cast("B")
    while rest:
        rest = rest[os.write(file, rest) :]

"""Volume files as what prediction and resizing read and write."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.stream_resizing import Part, PlaneTarget
from continual_repmode.volumes.streamed import Hidden
from continual_repmode.volumes.volume import Size3
from continual_repmode.volumes.volume_file import VolumeFile


@dataclass(frozen=True, slots=True)
class Channels:
    """Volume files as the channels of a prediction."""

    volumes: Sequence[VolumeFile]

    def __getitem__(self, box: Any) -> NDArray[np.float32]:
        return np.stack([volume[box[1:]] for volume in self.volumes])

    def __setitem__(self, box: Any, values: NDArray[np.float32]) -> None:
        for volume, each in zip(self.volumes, values, strict=True):
            volume[box[1:]] = each


@dataclass(frozen=True, slots=True)
class NotBelowZero:
    """Takes a deviation, which resizing may bring below 0."""

    target: PlaneTarget

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along (Z, Y, X)."""
        return self.target.shape

    def __setitem__(self, part: Part, block: NDArray[np.float32]) -> None:
        self.target[part] = np.maximum(block, 0)


@dataclass(frozen=True, slots=True)
class Scaled:
    """The planes of a prediction with the z-score undone."""

    volume: VolumeFile
    intensity: Intensity

    @property
    def shape(self) -> Size3:
        """Voxels along (Z, Y, X)."""
        return self.volume.shape

    def __getitem__(self, planes: slice) -> NDArray[np.float32]:
        """Return some planes (z, Y, X); 0 where nothing was predicted."""
        predicted = self.volume[planes]
        predicted[np.isnan(predicted)] = 0
        return predicted * self.intensity.std + self.intensity.mean


@dataclass(frozen=True, slots=True)
class MaskFile:
    """Truth values of a volume on disk, eight a byte."""

    #: A ``.npy`` file.
    path: Path
    #: Voxels along (Z, Y, X).
    shape: Size3

    def create(self, hidden: Hidden) -> None:
        """Write the file, plane by plane."""
        z, y, x = self.shape
        packed = np.lib.format.open_memmap(
            self.path, "w+", np.dtype(np.uint8), (z, y, -(-x // 8))
        )
        for index in range(z):
            packed[index] = np.packbits(hidden[slice(index, index + 1)][0], axis=-1)
        packed.flush()

    def __getitem__(self, planes: slice) -> NDArray[np.bool_]:
        """Return some planes (z, Y, X)."""
        return self.rows(np.arange(planes.start, planes.stop), np.arange(self.shape[1]))

    def rows(self, z: NDArray[np.intp], y: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return some rows of some planes (z, y, X), by their indices."""
        packed = np.load(self.path, mmap_mode="r")[z[0] : z[-1] + 1][z - z[0]][:, y]
        return np.unpackbits(packed, axis=-1, count=self.shape[2]).astype(np.bool_)


@dataclass(frozen=True, slots=True)
class MaskedTarget:
    """A volume that is written blank where the image was not recorded."""

    target: PlaneTarget
    #: Of the image as it was read; of an OME-Zarr, another level may be written.
    mask: MaskFile
    blank: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along (Z, Y, X)."""
        return self.target.shape

    def __setitem__(self, part: Part, block: NDArray[np.float32]) -> None:
        """Keep a block (z, y, X)."""
        z, y, x = (
            ((2 * np.arange(new) + 1) * old) // (2 * new)  # the voxel at its middle
            for old, new in zip(self.mask.shape, self.shape, strict=True)
        )
        hidden = self.mask.rows(z[part[0]], y[part[1]])[..., x]
        self.target[part] = np.where(hidden, np.float32(self.blank), block)

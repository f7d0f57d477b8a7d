"""Volume files as what prediction and resizing read and write."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.stream_resizing import Part, PlaneTarget
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

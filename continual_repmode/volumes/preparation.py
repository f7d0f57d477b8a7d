"""From raw voxels to what the network sees: z-score and resize, and how to undo it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from continual_repmode.volumes.normalization import Intensity, check_contrast, zscore
from continual_repmode.volumes.resampling import ResizeMethod, resample, resampled_shape

VoxelSizeUm = tuple[float, float, float]
Order = Literal["zscore_first", "resize_first"]
Storage = Literal["float16", "float32"]

HIDDEN_FROM = 0.25
"""Share of a voxel of the model grid that was not recorded, from which on all of it
counts as such."""

VOXEL_RANGE_UM = (0.001, 1000.0)
"""Shortest and longest side of a voxel; beyond, the unit is not the micrometre."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """How raw channels become volumes of a collection."""

    #: Voxel size (z, y, x) of the model grid in micrometres.
    voxel_size_um: VoxelSizeUm = (0.29, 0.29, 0.29)
    #: See :func:`continual_repmode.volumes.resampling.resize`.
    resize: ResizeMethod = "paper"
    #: The published code takes the z-score of the raw image and then resizes.
    order: Order = "zscore_first"
    #: Type of the prepared voxels. Half precision rounds a z-score by at most one part
    #: in 2048, less than the camera's noise, and takes half the disk.
    storage: Storage = "float16"

    def apply(
        self,
        raw: NDArray[np.generic],
        from_um: VoxelSizeUm,
        hidden: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.floating], Intensity]:
        """Prepare one channel.

        ``raw``: (Z, Y, X); intensities as stored.
        ``from_um``: its voxel size (z, y, x) in micrometres.
        ``hidden``: (Z, Y, X); where nothing was recorded
            (:func:`continual_repmode.volumes.padding.hidden_voxels`).
        Raises UserError if the channel is constant or holds values that are not finite.

        Returns
        -------
        prepared : ndarray of ``storage``, shape (Z, Y, X) of the model grid
            NaN where nothing was recorded.
        intensity : Intensity
            Undoes the z-score.
        """
        on_grid = None
        if hidden is not None:
            on_grid = self._resized(hidden.astype(np.float32), from_um) > HIDDEN_FROM
        if self.order == "zscore_first":
            normalized, intensity = zscore(raw, hidden)
            prepared = self._resized(normalized, from_um)
        else:
            recorded = raw if hidden is None else raw[~hidden]
            check_contrast(recorded)  # rounding would hide a constant from the z-score
            filled = raw.astype(np.float32)
            if hidden is not None:
                filled[hidden] = recorded.astype(np.float64).mean()
            prepared, intensity = zscore(self._resized(filled, from_um), on_grid)
        if on_grid is not None:
            prepared[on_grid] = np.nan
        return prepared.astype(self.storage), intensity

    def grid_shape(
        self, shape: tuple[int, int, int], from_um: VoxelSizeUm
    ) -> tuple[int, int, int]:
        """Return the shape (z, y, x) of a raw volume on the model grid."""
        z, y, x = resampled_shape(shape, from_um, self.voxel_size_um)
        return z, y, x

    def num_bytes(self, shape: tuple[int, int, int], from_um: VoxelSizeUm) -> int:
        """Return the disk space of one prepared channel."""
        z, y, x = self.grid_shape(shape, from_um)
        return z * y * x * np.dtype(self.storage).itemsize

    def _resized(
        self, volume: NDArray[np.float32], from_um: VoxelSizeUm
    ) -> NDArray[np.float32]:
        return resample(volume, from_um, self.voxel_size_um, self.resize)


def is_voxel_length(length_um: float) -> bool:
    """Return whether a voxel can have a side of that length; not if it is NaN."""
    shortest, longest = VOXEL_RANGE_UM
    return shortest <= length_um <= longest

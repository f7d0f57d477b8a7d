"""One row of a manifest and its image files: checked together, then loaded."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from continual_repmode.data.collection import Intensity, LoadedPair
from continual_repmode.data.manifest_rows import (
    CROP,
    VOXEL_SIZE,
    ManifestRow,
    cell_error,
)
from continual_repmode.data.normalization import zscore
from continual_repmode.data.resampling import resample
from continual_repmode.data.volumes import VolumeReader, channel_index, volume_shape
from continual_repmode.errors import UserError

VoxelSizeUm = tuple[float, float, float]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class SourceChannel:
    """One channel of a file within a box (z, y, x) of raw voxels."""

    volume: VolumeReader
    channel: int
    box: Box

    def load(
        self, from_um: VoxelSizeUm, to_um: VoxelSizeUm
    ) -> tuple[NDArray[np.float32], Intensity]:
        """Return the volume (Z, Y, X), z-scored and then resized, as the paper does."""
        z, y, x = self.box
        raw = self.volume.read_channel(self.channel, planes=z)[:, y, x]
        try:
            normalized, intensity = zscore(raw)
        except UserError as error:
            raise UserError(
                f"{self.volume.path}, channel {self.channel}: {error}"
            ) from error
        return resample(normalized, from_um, to_um), intensity


class ManifestPair:
    """One row of a manifest, as a :class:`~continual_repmode.data.collection.Pair`.

    Attributes
    ----------
    row : ManifestRow
    name : str
        Task and file name, and the row number where these repeat.
    signal, target : SourceChannel
        Of the same shape.
    source_voxel_size_um, voxel_size_um : tuple of float
        Voxel size (z, y, x) of the files and of the model grid.
    """

    def __init__(
        self,
        row: ManifestRow,
        name: str,
        signal: SourceChannel,
        target: SourceChannel,
        source_voxel_size_um: VoxelSizeUm,
        voxel_size_um: VoxelSizeUm,
    ) -> None:
        self.row = row
        self.name = name
        self.signal = signal
        self.target = target
        self.source_voxel_size_um = source_voxel_size_um
        self.voxel_size_um = voxel_size_um
        self._loaded: LoadedPair | None = None

    @property
    def task(self) -> str:
        """Name of the structure in the target."""
        return self.row.task

    def load(self) -> LoadedPair:
        """Return both volumes, prepared once and kept in memory from then on."""
        if self._loaded is None:
            self._loaded = self._prepare()
        return self._loaded

    def _prepare(self) -> LoadedPair:
        """Read, z-score and resize both channels."""
        grids = (self.source_voxel_size_um, self.voxel_size_um)
        try:
            signal, signal_intensity = self.signal.load(*grids)
            target, target_intensity = self.target.load(*grids)
        except UserError as error:
            raise UserError(f"{self.row.where}: {error}") from error
        return LoadedPair(signal, target, signal_intensity, target_intensity)


def source_channels(
    row: ManifestRow, volumes: dict[Path, VolumeReader]
) -> tuple[SourceChannel, SourceChannel]:
    """Return the two channels of a row, checked against each other."""
    signal, target = volumes[row.signal_path], volumes[row.target_path]
    shape = volume_shape(signal)
    if volume_shape(target) != shape:
        raise UserError(
            f"{row.where}: the two images differ in shape (z, y, x): "
            f"{row.signal_path.name} {shape}, "
            f"{row.target_path.name} {volume_shape(target)}; cut them to the same field"
        )
    box = _box(row, shape)
    signal_index = _channel(row, "channel_signal", row.signal_channel, signal)
    target_index = _channel(row, "channel_target", row.target_channel, target)
    if row.signal_path == row.target_path and signal_index == target_index:
        raise cell_error(
            row.where,
            "channel_target",
            target_index,
            "signal and target are the same channel of the same file",
        )
    return (
        SourceChannel(signal, signal_index, box),
        SourceChannel(target, target_index, box),
    )


def _channel(
    row: ManifestRow, column: str, channel: int | str | None, volume: VolumeReader
) -> int:
    """Return the index of a channel; it may be left blank where there is only one."""
    if channel is None and len(volume.channel_names) == 1:
        return 0
    try:
        return channel_index(volume, "" if channel is None else channel)
    except UserError as error:
        raise UserError(f"{row.where}, column {column!r}: {error}") from error


def _box(row: ManifestRow, shape: tuple[int, int, int]) -> Box:
    """Return the crop as slices, checked against the image."""
    slices = []
    for axis, size in enumerate(shape):
        start, stop = row.crop[2 * axis], row.crop[2 * axis + 1]
        start, stop = 0 if start is None else start, size if stop is None else stop
        if not 0 <= start < stop <= size:
            low, high = CROP[2 * axis], CROP[2 * axis + 1]
            raise cell_error(
                row.where,
                f"{low}, {high}",
                f"{start}, {stop}",
                f"use 0 <= {low} < {high} <= {size}, the size of the image",
            )
        slices.append(slice(start, stop))
    z, y, x = slices
    return z, y, x


def row_voxel_size_um(
    row: ManifestRow,
    volumes: dict[Path, VolumeReader],
    fallback_um: VoxelSizeUm | None,
) -> VoxelSizeUm:
    """Return the voxel size: of the row, else of the files, else of the fallback."""
    signal_um = volumes[row.signal_path].voxel_size_um
    target_um = volumes[row.target_path].voxel_size_um
    found: list[float] = []
    for axis, column in enumerate(VOXEL_SIZE):
        given, one, other = row.voxel_size_um[axis], signal_um[axis], target_um[axis]
        if (
            given is None
            and one
            and other
            and not math.isclose(one, other, rel_tol=0.01)
        ):
            raise UserError(
                f"{row.where}: {row.signal_path.name} says {one:g} µm and "
                f"{row.target_path.name} {other:g} µm along {'zyx'[axis]}; "
                f"fill the column {column!r} with the right one"
            )
        fallback = fallback_um[axis] if fallback_um else None
        size_um = given or one or other or fallback
        if size_um is None:
            raise UserError(
                f"{row.where}: {row.signal_path.name} does not tell its voxel size "
                f"along {'zyx'[axis]}; set data.source_voxel_size_um=[z,y,x] in "
                f"micrometres, or fill the columns {', '.join(VOXEL_SIZE)}"
            )
        found.append(size_um)
    z, y, x = found
    return z, y, x

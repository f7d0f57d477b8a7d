"""A channel of an image brought onto the model grid, on disk and within a bound."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.prediction.images import whole
from continual_repmode.volumes.formats.npy import NpyVolume
from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.preparation import Preparation
from continual_repmode.volumes.source_channels import Box, SourceChannel
from continual_repmode.volumes.stream_resizing import resize_stream
from continual_repmode.volumes.streamed import ZscoredChannel, channel_statistics
from continual_repmode.volumes.volume import VolumeReader, VoxelSize
from continual_repmode.volumes.volume_file import VolumeFile

_AS_IT_IS = Intensity(0.0, 1.0)


def prepare_channel(
    source: SourceChannel,
    target: VolumeFile,
    preparation: Preparation,
    *,
    memory_bytes: int,
    progress: bool = False,
) -> Intensity:
    """Z-score a channel and resize it, as for training, to the shape of a file.

    Parameters
    ----------
    source : SourceChannel
    target : VolumeFile
        Made anew. Of the shape of ``source`` on the model grid.
    preparation : Preparation
    memory_bytes : int
        See :func:`continual_repmode.volumes.stream_resizing.resize_stream`.
    progress : bool
        Show progress bars, if stderr is a terminal.

    Returns
    -------
    Intensity
        Undoes the z-score.

    Raises
    ------
    UserError
        If the channel is damaged, constant or not finite.
    """
    volume = cropped(source)
    intensity = channel_statistics(volume, source.channel, progress=progress)
    zscore_first = preparation.order == "zscore_first"
    raw = ZscoredChannel(
        volume, source.channel, intensity if zscore_first else _AS_IT_IS
    )
    resized = target
    if not zscore_first:
        resized = VolumeFile(_beside(target.path), target.shape)
    resized.create()
    resize_stream(
        raw,
        resized,
        preparation.resize,
        scratch=target.path.parent,
        memory_bytes=memory_bytes,
        progress=progress,
    )
    if not zscore_first:
        unscaled = NpyVolume.open(resized.path)
        intensity = channel_statistics(unscaled, 0, progress=progress)
        target.create()
        resize_stream(
            ZscoredChannel(unscaled, 0, intensity),
            target,
            preparation.resize,
            scratch=target.path.parent,
            memory_bytes=memory_bytes,
        )
        resized.remove()
    target.settle()
    return intensity


def cropped(source: SourceChannel) -> VolumeReader:
    """Return a reader of the box of a channel alone."""
    if source.box == whole(source.volume):
        return source.volume
    return CroppedVolume(source.volume, source.box)


@dataclass(frozen=True, slots=True)
class CroppedVolume:
    """A box (z, y, x) of an image as a volume of its own."""

    volume: VolumeReader
    box: Box

    @property
    def path(self) -> Path:
        """The file or folder that was asked for."""
        return self.volume.path

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file whose bytes decide what is read."""
        return self.volume.files

    @property
    def chosen(self) -> tuple[tuple[str, str], ...]:
        """What was taken of the file."""
        return self.volume.chosen

    @property
    def axes(self) -> str:
        """Axes as stored, slowest first."""
        return self.volume.axes

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each of ``axes`` within the box."""
        sides = dict(zip("ZYX", self.box, strict=True))
        return tuple(
            sides[axis].stop - sides[axis].start if axis in sides else size
            for axis, size in zip(self.axes, self.volume.shape, strict=True)
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored intensities."""
        return self.volume.dtype

    @property
    def channel_names(self) -> tuple[str, ...]:
        """One name per channel."""
        return self.volume.channel_names

    @property
    def voxel_size_um(self) -> VoxelSize:
        """Voxel size (z, y, x) in micrometres."""
        return self.volume.voxel_size_um

    def read_channel(
        self, channel: int | str, planes: slice = slice(None)
    ) -> NDArray[Any]:
        """Read one channel within the box as (Z, Y, X)."""
        z, y, x = self.box
        start, stop, step = planes.indices(z.stop - z.start)
        wanted = slice(z.start + start, z.start + stop, step)
        return self.volume.read_channel(channel, wanted)[:, y, x]


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}_raw{path.suffix}")

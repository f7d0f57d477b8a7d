"""A channel of an image brought onto the model grid, on disk and within a bound."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from continual_repmode.volumes.formats.npy import NpyVolume
from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.preparation import HIDDEN_FROM, Preparation
from continual_repmode.volumes.source_channels import SourceChannel
from continual_repmode.volumes.stream_resizing import resize_stream
from continual_repmode.volumes.streamed import (
    ChannelStatistics,
    Hidden,
    PlaneSource,
    ZscoredChannel,
    channel_statistics,
)
from continual_repmode.volumes.volume_file import VolumeFile

_AS_IT_IS = Intensity(0.0, 1.0)


def prepare_channel(
    source: SourceChannel,
    target: VolumeFile,
    preparation: Preparation,
    *,
    memory_bytes: int,
    strict: bool = False,
    beside: Hidden | None = None,
    progress: bool = False,
    intensity: Intensity | None = None,
) -> ChannelStatistics:
    """Z-score a channel and resize it, as for training, to the shape of a file.

    Where nothing was recorded it is NaN.

    ``target``: made again. Of the shape of ``source`` on the model grid.
    ``memory_bytes``: see
        :func:`continual_repmode.volumes.stream_resizing.resize_stream`.
    ``strict``, ``beside``: see
        :func:`continual_repmode.volumes.streamed.channel_statistics`.
    ``intensity``: becomes 0 and 1; that of the channel itself unless given.
    Returns: its intensity undoes the z-score.
    Raises UserError if the channel is damaged, constant or not finite.
    """

    def resized(raw: PlaneSource, into: VolumeFile) -> None:
        into.create()
        resize_stream(
            raw,
            into,
            preparation.resize,
            scratch=target.path.parent,
            memory_bytes=memory_bytes,
            progress=progress,
        )

    known = channel_statistics(source, strict=strict, beside=beside, progress=progress)
    on_grid = None
    if known.hidden is not None:
        shares = VolumeFile(_beside(target.path, "hidden"), target.shape)
        resized(_Shares(known.hidden, source.shape), shares)
        on_grid = _HiddenOnGrid(shares)
    if preparation.order == "zscore_first":
        known = replace(known, intensity=intensity or known.intensity)
        resized(ZscoredChannel(source, known.intensity, known.hidden), target)
    else:
        filled = ZscoredChannel(source, _AS_IT_IS, known.hidden, known.intensity.mean)
        unscaled = VolumeFile(_beside(target.path, "raw"), target.shape)
        resized(filled, unscaled)
        raw = SourceChannel.whole(NpyVolume.open(unscaled.path), 0)
        again = channel_statistics(raw, beside=on_grid, progress=progress)
        known = replace(known, intensity=intensity or again.intensity)
        resized(ZscoredChannel(raw, known.intensity), target)
        unscaled.remove()
    if on_grid is not None:
        for z in range(target.shape[0]):
            planes = slice(z, z + 1)
            target[planes] = np.where(on_grid[planes], np.nan, target[planes])
        on_grid.shares.remove()
    target.settle()
    return known


def series_intensity(
    frames: Sequence[SourceChannel],
    scratch: VolumeFile,
    preparation: Preparation,
    *,
    memory_bytes: int,
) -> Intensity:
    """Return mean and deviation over all time points, as z-scores need them.

    ``frames``: of the same shape.
    ``scratch``: of that shape on the model grid; what is in it is lost.
    Raises UserError if a frame is damaged, constant or not finite.
    """
    known = [
        channel_statistics(frame)
        if preparation.order == "zscore_first"
        else prepare_channel(frame, scratch, preparation, memory_bytes=memory_bytes)
        for frame in frames
    ]
    found = [each.intensity for each in known]
    mean = fmean(each.mean for each in found)
    variance = fmean(each.std**2 + (each.mean - mean) ** 2 for each in found)
    return Intensity(mean, math.sqrt(variance))


@dataclass(frozen=True, slots=True)
class _Shares:
    """How much of each voxel was not recorded: 0 or 1, to be resized."""

    hidden: Hidden
    shape: tuple[int, int, int]

    def __getitem__(self, planes: slice) -> NDArray[np.float32]:
        return self.hidden[planes].astype(np.float32)


@dataclass(frozen=True, slots=True)
class _HiddenOnGrid:
    """The same on the model grid, decided."""

    shares: VolumeFile

    def __getitem__(self, planes: slice) -> NDArray[np.bool_]:
        hidden: NDArray[np.bool_] = self.shares[planes] > HIDDEN_FROM
        return hidden


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.stem}_{what}{path.suffix}")

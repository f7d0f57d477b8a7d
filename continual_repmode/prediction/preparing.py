"""A channel of an image brought onto the model grid, on disk and within a bound."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from continual_repmode.volumes.formats.npy import NpyVolume
from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.preparation import Preparation
from continual_repmode.volumes.source_channels import SourceChannel
from continual_repmode.volumes.stream_resizing import resize_stream
from continual_repmode.volumes.streamed import ZscoredChannel, channel_statistics
from continual_repmode.volumes.volume_file import VolumeFile

_AS_IT_IS = Intensity(0.0, 1.0)


def prepare_channel(
    source: SourceChannel,
    target: VolumeFile,
    preparation: Preparation,
    *,
    memory_bytes: int,
    progress: bool = False,
    intensity: Intensity | None = None,
) -> Intensity:
    """Z-score a channel and resize it, as for training, to the shape of a file.

    Parameters
    ----------
    source : SourceChannel
    target : VolumeFile
        Made again. Of the shape of ``source`` on the model grid.
    preparation : Preparation
    memory_bytes : int
        See :func:`continual_repmode.volumes.stream_resizing.resize_stream`.
    progress : bool
        Show progress bars, if stderr is a terminal.
    intensity : Intensity, optional
        Becomes 0 and 1; that of the channel itself unless given.

    Returns
    -------
    Intensity
        Undoes the z-score.

    Raises
    ------
    UserError
        If the channel is damaged, constant or not finite.
    """
    given = intensity
    intensity = given or channel_statistics(source, progress=progress)
    zscore_first = preparation.order == "zscore_first"
    raw = ZscoredChannel(source, intensity if zscore_first else _AS_IT_IS)
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
        unscaled = SourceChannel.whole(NpyVolume.open(resized.path), 0)
        intensity = given or channel_statistics(unscaled, progress=progress)
        target.create()
        resize_stream(
            ZscoredChannel(unscaled, intensity),
            target,
            preparation.resize,
            scratch=target.path.parent,
            memory_bytes=memory_bytes,
        )
        resized.remove()
    target.settle()
    return intensity


def series_intensity(
    frames: Sequence[SourceChannel],
    scratch: VolumeFile,
    preparation: Preparation,
    *,
    memory_bytes: int,
) -> Intensity:
    """Return mean and deviation over all time points, as z-scores need them.

    Parameters
    ----------
    frames : sequence of SourceChannel
        Of the same shape.
    scratch : VolumeFile
        Of that shape on the model grid; what is in it is lost.
    preparation : Preparation
    memory_bytes : int
        As for :func:`prepare_channel`.

    Raises
    ------
    UserError
        If a frame is damaged, constant or not finite.
    """
    found = [
        channel_statistics(frame)
        if preparation.order == "zscore_first"
        else prepare_channel(frame, scratch, preparation, memory_bytes=memory_bytes)
        for frame in frames
    ]
    mean = fmean(each.mean for each in found)
    variance = fmean(each.std**2 + (each.mean - mean) ** 2 for each in found)
    return Intensity(mean, math.sqrt(variance))


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}_raw{path.suffix}")

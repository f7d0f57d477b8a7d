"""A channel of an image brought onto the model grid, on disk and within a bound."""

from pathlib import Path

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

    Returns
    -------
    Intensity
        Undoes the z-score.

    Raises
    ------
    UserError
        If the channel is damaged, constant or not finite.
    """
    intensity = channel_statistics(source, progress=progress)
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
        intensity = channel_statistics(unscaled, progress=progress)
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


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}_raw{path.suffix}")

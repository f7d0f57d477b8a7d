"""Volumes read a few planes at a time: their statistics and normalized planes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.volumes.normalization import Intensity, check_range
from continual_repmode.volumes.progress import byte_bar
from continual_repmode.volumes.source_channels import SourceChannel

_BLOCK_BYTES = 64_000_000


class PlaneSource(Protocol):
    """Gives the planes of a volume as float32: an array, a volume file, a channel."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (Z, Y, X)."""
        ...

    def __getitem__(self, planes: slice, /) -> NDArray[np.float32]:
        """Return some planes (z, Y, X); ``planes`` has both ends and no step."""
        ...


@dataclass(frozen=True, slots=True)
class ZscoredChannel:
    """The z-score of a channel of an image file, plane by plane.

    Attributes
    ----------
    source : SourceChannel
    intensity : Intensity
        Raw intensities that become 0 and 1; see :func:`channel_statistics`.
    """

    source: SourceChannel
    intensity: Intensity

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (Z, Y, X)."""
        return self.source.shape

    def __getitem__(self, planes: slice) -> NDArray[np.float32]:
        """Return some planes, z-scored; see :class:`PlaneSource`."""
        raw = self.source.read(planes)
        mean, std = self.intensity.mean, self.intensity.std
        zscored = np.empty(raw.shape, np.float32)
        for plane, raw_plane in zip(zscored, raw, strict=True):
            exact = raw_plane.astype(np.float64)  # camera counts may have large offsets
            exact -= mean
            exact /= std
            plane[:] = exact
        return zscored


def channel_statistics(source: SourceChannel, *, progress: bool = False) -> Intensity:
    """Return mean and deviation of a channel, without holding it in memory.

    Parameters
    ----------
    source : SourceChannel
    progress : bool
        Show a progress bar, if stderr is a terminal.

    Returns
    -------
    Intensity
        In raw intensities; population deviation, in float64, as exact as that of
        :func:`continual_repmode.volumes.normalization.zscore`.

    Raises
    ------
    UserError
        If the channel is constant or holds NaN or infinite values.
    """
    total = _Moments()
    volume = source.volume
    num_bytes = math.prod(source.shape) * volume.dtype.itemsize
    with byte_bar(f"measuring {volume.path.name}", num_bytes, shown=progress) as bar:
        for block in _blocks(source):
            for plane in block:
                total.add(plane)
            bar.update(block.nbytes)
    try:
        check_range(total.num_bad, total.low, total.high)
    except UserError as error:
        raise UserError(f"{source.label}: {error}") from error
    return total.intensity()


@dataclass(slots=True)
class _Moments:
    """Count, mean and sum of squared deviations of planes, merged as Chan et al. do.

    Means are taken from ``origin``, some intensity of the volume, lest a large offset
    of the camera costs digits.
    """

    origin: float | None = None
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    num_bad: int = 0

    def add(self, plane: NDArray[Any]) -> None:
        """Take in a plane of raw intensities."""
        values = plane.astype(np.float64)
        bad = int(np.count_nonzero(~np.isfinite(values)))
        self.num_bad += bad
        if bad:
            return
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        if self.origin is None:
            self.origin = float(values.flat[0])
        values -= self.origin
        mean = float(values.mean())
        values -= mean
        count = self.count + values.size
        shift = mean - self.mean
        self.squares += float(np.vdot(values, values))
        self.squares += shift * shift * self.count * values.size / count
        self.mean += shift * values.size / count
        self.count = count

    def intensity(self) -> Intensity:
        """Return mean and population deviation."""
        assert self.origin is not None, "nothing was added"
        std = math.sqrt(self.squares / self.count)
        return Intensity(self.origin + self.mean, std)


def _blocks(source: SourceChannel) -> Iterator[NDArray[Any]]:
    """Yield the planes of a channel, as many at a time as have about 64 MB."""
    num_z, num_y, num_x = source.shape
    step = max(1, _BLOCK_BYTES // (num_y * num_x * source.volume.dtype.itemsize))
    for start in range(0, num_z, step):
        yield source.read(slice(start, start + step))

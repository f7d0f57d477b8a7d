"""Volumes read a few planes at a time: their statistics and normalized planes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.stopping import stop_if_told
from continual_repmode.volumes.normalization import Intensity, check_range
from continual_repmode.volumes.padding import (
    EdgeScan,
    Padding,
    padding_mask,
    padding_values,
)
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


class Hidden(Protocol):
    """Says where planes of a volume have no recorded voxels: an array, or a file."""

    def __getitem__(self, planes: slice, /) -> NDArray[np.bool_]:
        """Return some planes (z, Y, X); ``planes`` has both ends and no step."""
        ...


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """What is known of a channel after it was read once."""

    #: Mean and deviation of what was recorded.
    intensity: Intensity
    padding: Padding | None = None
    #: Where nothing was recorded; None if all was.
    hidden: Hidden | None = None


@dataclass(frozen=True, slots=True)
class HiddenChannel:
    """Where a channel of an image file is padding, or its light was not recorded."""

    source: SourceChannel
    #: Of its padding.
    values: tuple[float, ...]
    #: Where its light was not recorded.
    beside: Hidden | None

    def __getitem__(self, planes: slice) -> NDArray[np.bool_]:
        """Return some planes; see :class:`Hidden`."""
        return self.of(self.source.read(planes), planes)

    def of(self, raw: NDArray[Any], planes: slice) -> NDArray[np.bool_]:
        """Return the same for planes that were read already."""
        mask = np.stack([padding_mask(plane, self.values) for plane in raw])
        return mask if self.beside is None else mask | self.beside[planes]


@dataclass(frozen=True, slots=True)
class ZscoredChannel:
    """The z-score of a channel of an image file, plane by plane."""

    source: SourceChannel
    #: Raw intensities that become 0 and 1; see :func:`channel_statistics`.
    intensity: Intensity
    #: Voxels that become ``filled``, as nothing was recorded there.
    hidden: Hidden | None = None
    filled: float = 0.0

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
        if self.hidden is not None:
            zscored[self.hidden[planes]] = self.filled
        return zscored


def channel_statistics(
    source: SourceChannel,
    *,
    strict: bool = False,
    beside: Hidden | None = None,
    progress: bool = False,
) -> ChannelStatistics:
    """Return mean, deviation and padding of a channel, not holding it in memory.

    ``strict``: it is fluorescence; see
        :func:`continual_repmode.volumes.padding.padding_values`.
    ``beside``: voxels that count for nothing already, as its light was not recorded
        there.
    Returns: in raw intensities; population deviation, in float64, as exact as that of
        :func:`continual_repmode.volumes.normalization.zscore`.
    Raises UserError if the channel is constant or holds NaN or infinite values.
    """
    total, edges, padding = _Moments(), EdgeScan(), None
    for _, block in _blocks(source, progress):
        for plane in block:
            edges.add(plane)
            total.add(plane)
    values = padding_values(
        _Planes(source), strict=strict, candidates=edges.candidates()
    )
    hidden = HiddenChannel(source, values, beside)
    if values or beside is not None:
        recorded, own, size = _Moments(), 0, 0
        for planes, block in _blocks(source, progress):
            for plane, mask in zip(block, hidden.of(block, planes), strict=True):
                own += int(np.count_nonzero(padding_mask(plane, values)))
                size += mask.size
                recorded.add(plane[~mask])
        if not recorded.count and not recorded.num_bad and beside is not None:
            raise UserError(f"{source.label}: nothing of it was recorded")
        total = recorded if recorded.count or recorded.num_bad else total
        padding = Padding(values, own / size) if values else None
    try:
        check_range(total.num_bad, total.low, total.high)
    except UserError as error:
        raise UserError(f"{source.label}: {error}") from error
    used = hidden if values or beside is not None else None
    return ChannelStatistics(total.intensity(), padding, used)


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
        """Take in a plane of raw intensities, or some of its voxels."""
        values = plane.astype(np.float64)
        if not values.size:
            return
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


@dataclass(frozen=True, slots=True)
class _Planes:
    """The planes of a channel, one at a time."""

    source: SourceChannel

    def __len__(self) -> int:
        return self.source.shape[0]

    def __getitem__(self, index: int) -> NDArray[Any]:
        plane: NDArray[Any]
        (plane,) = self.source.read(slice(index, index + 1))
        return plane


def _blocks(
    source: SourceChannel, progress: bool
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield the planes of a channel, as many at a time as have about 64 MB."""
    num_z, num_y, num_x = source.shape
    num_bytes = math.prod(source.shape) * source.volume.dtype.itemsize
    step = max(1, _BLOCK_BYTES // (num_y * num_x * source.volume.dtype.itemsize))
    doing = f"measuring {source.volume.path.name}"
    with byte_bar(doing, num_bytes, shown=progress) as bar:
        for start in range(0, num_z, step):
            planes = slice(start, min(start + step, num_z))
            stop_if_told()
            block = source.read(planes)
            yield planes, block
            bar.update(block.nbytes)

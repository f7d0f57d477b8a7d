"""The planes that windows still need, in a buffer that moves through the volume."""

from collections.abc import Sequence

import torch
from torch import Tensor

from continual_repmode.inference.bands import Band
from continual_repmode.inference.memory import READ_PLANES
from continual_repmode.inference.volume_ends import VolumeSink, VolumeSource
from continual_repmode.inference.windows import Size3


class MovingPlanes:
    """Consecutive planes of a rectangle.

    Parameters
    ----------
    shape : (int, int, int, int)
        Channels, planes, rows and columns.
    device : torch.device
    """

    def __init__(self, shape: Sequence[int], device: torch.device) -> None:
        self._planes = torch.zeros(*shape, device=device)
        self.first = 0
        """Where in the volume the first plane lies."""

    def between(self, begin: int, end: int) -> Tensor:
        """Return planes of the volume (C, end - begin, Y, X), as a view."""
        return self._planes[:, begin - self.first : end - self.first]

    def move_to(self, z: int) -> None:
        """Drop the planes before ``z``; as many follow at the end, all zero."""
        step, depth = z - self.first, self._planes.shape[1]
        if step == 0:
            return
        for at in range(step, depth, step):  # source and destination never overlap
            moved = self._planes[:, at : at + step]
            self._planes[:, at - step : at - step + moved.shape[1]] = moved
        self._planes[:, max(0, depth - step) :] = 0
        self.first = z


class SignalSlab:
    """The signal that the current windows of a band see.

    Parameters
    ----------
    source : VolumeSource
    band : Band
    depth : int
        Planes that the windows of a batch extend over.
    device : torch.device
    """

    def __init__(
        self, source: VolumeSource, band: Band, depth: int, device: torch.device
    ) -> None:
        self._source, self._band = source, band
        y, x = band.y.span, band.x.span
        shape = (1, depth, y.stop - y.start, x.stop - x.start)
        self._planes = MovingPlanes(shape, device)
        self._end = 0

    def windows(self, corners: Sequence[Size3]) -> Tensor:
        """Return the windows (B, 1, z, y, x) at corners of rising Z."""
        depth, height, width = self._band.grid.sides
        self._planes.move_to(corners[0][0])
        self._read_up_to(corners[-1][0] + depth)
        windows = []
        for z, y, x in corners:
            top, left = y - self._band.y.span.start, x - self._band.x.span.start
            planes = self._planes.between(z, z + depth)
            windows.append(planes[:, :, top : top + height, left : left + width])
        return torch.stack(windows)

    def _read_up_to(self, end: int) -> None:
        while self._end < end:
            begin, self._end = self._end, min(end, self._end + READ_PLANES)
            box = (slice(begin, self._end), self._band.y.span, self._band.x.span)
            self._planes.between(begin, self._end)[0] = self._source.read(box)


class PredictionSlab:
    """The weighted sums of predictions of a band, until no further window adds to them.

    Parameters
    ----------
    sink : VolumeSink
    band : Band
    depth : int
        Planes that the windows of a batch extend over.
    channels : int
        Of the prediction.
    device : torch.device
    """

    def __init__(
        self,
        sink: VolumeSink,
        band: Band,
        depth: int,
        channels: int,
        device: torch.device,
    ) -> None:
        self._sink, self._band = sink, band
        self._rows, self._columns = band.y.voxels, band.x.voxels
        y, x = self._rows, self._columns
        shape = (channels, depth, y.stop - y.start, x.stop - x.start)
        self._sums = MovingPlanes(shape, device)
        self._weights = band.grid.weights(device)
        self._weight_sums = band.grid.weight_sums(device)

    def add(self, corner: Size3, predicted: Tensor) -> None:
        """Add the prediction (C, z, y, x) of a window, as far as it is in the band."""
        z, y, x = corner
        depth, height, width = self._band.grid.sides
        rows, row_weights = _overlap(y, height, self._rows)
        columns, column_weights = _overlap(x, width, self._columns)
        weights = self._weights[:, row_weights, column_weights]
        planes = self._sums.between(z, z + depth)
        for summed, channel in zip(planes, predicted, strict=True):
            part = channel[:, row_weights, column_weights]
            summed[:, rows, columns] += weights * part

    def finish(self, end: int) -> None:
        """Hand over the planes before ``end``, which no further window touches."""
        begin = self._sums.first
        if begin == end:
            return
        box = (slice(begin, end), self._rows, self._columns)
        block = self._sums.between(begin, end)
        z, y, x = (
            summed[part] for summed, part in zip(self._weight_sums, box, strict=True)
        )
        block /= z[:, None, None]
        block /= y[:, None]
        block /= x
        self._sink.write(box, block)
        self._sums.move_to(end)


def _overlap(start: int, side: int, voxels: slice) -> tuple[slice, slice]:
    """Return what a window and a part share, seen from the part and the window."""
    begin, end = max(start, voxels.start), min(start + side, voxels.stop)
    return (
        slice(begin - voxels.start, end - voxels.start),
        slice(begin - start, end - start),
    )

"""Predict a volume of any size from overlapping windows of a fixed one.

Windows are predicted one batch after the other and added, with Gaussian weights, to an
array that is as large as the volume: in memory, or mapped from a file. In the end it is
divided by the sum of the weights. So the network and a batch of windows are all that
must be in memory, however large the volume is.

A signal may be NaN where nothing was recorded. The network is shown 0 there, the mean
of a z-score; windows of nothing else are left out; and the prediction is NaN there too.
"""

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from continual_repmode.errors import UserError
from continual_repmode.inference.windows import (
    DEFAULT_OVERLAP,
    Box,
    Overlap,
    WindowGrid,
)
from continual_repmode.volumes.volume import DEFAULT_WINDOW, Size3

Predict = Callable[[Tensor], Tensor]
"""Maps windows (B, 1, z, y, x) to predictions (B, C, z, y, x)."""

_log = logging.getLogger(__name__)


class Volume(Protocol):
    """A volume in parts: a tensor, an array, a memory map, or a file behind them."""

    def __getitem__(self, box: Any, /) -> Any:
        """Return the voxels within a box, as tensor or array."""

    def __setitem__(self, box: Any, values: Any, /) -> None:
        """Replace the voxels within a box."""


def predict_volume(
    predict: Predict,
    volume: Tensor,
    *,
    window: Sequence[int] = DEFAULT_WINDOW,
    overlap: Overlap = DEFAULT_OVERLAP,
    batch_size: int = 1,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Tensor:
    """Predict a volume that is in memory.

    Parameters
    ----------
    predict : callable
        Maps windows (B, 1, z, y, x) to predictions (B, C, z, y, x); a network must be
        in evaluation mode already, or its statistics would depend on the batch.
    volume : Tensor, shape (Z, Y, X) or (1, Z, Y, X)
        The z-scored signal.
    window, overlap, batch_size, progress
        As for :func:`predict_into`.
    device : torch.device or str, optional
        Where ``predict`` runs; by default where the volume is.

    Returns
    -------
    Tensor of float32
        On the device of ``volume``. Of its shape where ``predict`` gives one channel,
        else of shape (C, Z, Y, X).

    Raises
    ------
    UserError
        As for :func:`predict_into`, or if the volume has another shape.
    """
    shape = tuple(volume.shape)
    if volume.ndim not in (3, 4) or shape[:-3] not in ((), (1,)) or 0 in shape:
        raise UserError(
            f"volume: expected shape (Z, Y, X) or (1, Z, Y, X), got {shape}"
        )
    signal = volume.reshape(shape[-3:])
    sums: list[Tensor] = []

    def make(channels: int) -> Tensor:
        sums.append(torch.zeros(channels, *signal.shape, device=volume.device))
        return sums[0]

    predict_into(
        predict,
        signal,
        make,
        WindowGrid.over(signal.shape, window, overlap),
        batch_size=batch_size,
        device=volume.device if device is None else device,
        progress=progress,
    )
    return sums[0].reshape(shape) if len(sums[0]) == 1 else sums[0]


@torch.no_grad()
def predict_into(
    predict: Predict,
    signal: Volume,
    make: Callable[[int], Volume],
    grid: WindowGrid,
    *,
    batch_size: int = 1,
    device: torch.device | str = "cpu",
    progress: bool | str = False,
) -> None:
    """Predict a volume into an array.

    Every voxel is the sum over its windows in the same order for every batch size, so
    that changes no bit, as far as ``predict`` itself computes a window identically in
    every batch.

    Parameters
    ----------
    predict : callable
        As for :func:`predict_volume`.
    signal : Tensor, ndarray, memory map or similar, shape (Z, Y, X)
        The z-scored signal.
    make : callable
        Called once, with the number C of channels; returns where the prediction goes:
        an array of float32, shape (C, Z, Y, X), of zeros.
    grid : WindowGrid
        The windows.
    batch_size : int
        Windows per call of ``predict`` at most; changes speed and memory only. Halved
        for the rest of the run when the device has no memory left.
    device : torch.device or str
        Where ``predict`` runs.
    progress : bool or str
        Whether to show a bar of the windows with rate and time left, on terminals; a
        text stands before it.

    Raises
    ------
    UserError
        If an argument is out of range, ``predict`` changes the shape, or a window does
        not fit into the memory of the device.
    """
    device = torch.device(device)
    windows = _Windows(predict, signal, grid, grid.check_batch_size(batch_size), device)
    weights = grid.weights(device)
    prediction: Volume | None = None
    with _window_bar(grid.num_windows, progress) as bar:
        for corner, predicted in windows:
            if predicted is not None:
                if prediction is None:
                    prediction = make(len(predicted))
                box = (slice(None), *grid.box(corner))
                _add(prediction, box, weights * predicted)
            bar.update()
    if prediction is None:
        raise UserError(
            "the signal is NaN everywhere: there is nothing to predict from"
        )
    _divide(prediction, grid)
    if windows.hid_some:
        _hide(prediction, signal, grid.shape[0])


def check_prediction(predicted: Tensor, windows: Tensor) -> None:
    """Raise a :class:`UserError` if the prediction does not fit the windows."""
    found, given = tuple(predicted.shape), tuple(windows.shape)
    same = (found[:1], found[2:]) == (given[:1], given[2:])
    if not same or found[1] < 1:
        raise UserError(
            f"predict returned shape {found} for windows of shape {given}; "
            "they must be equal but for the number of channels"
        )


def _add(volume: Volume, box: Any, values: Tensor) -> None:
    part = volume[box]
    if isinstance(part, Tensor):
        part += values.to(part.device)
    else:
        part += values.cpu().numpy()
        volume[box] = part


def _divide(volume: Volume, grid: WindowGrid) -> None:
    """Divide sums over windows by the sums of their weights, plane by plane."""
    sums_z, sums_y, sums_x = grid.weight_sums(torch.device("cpu"))
    for z, sum_z in enumerate(sums_z):
        part = volume[:, z]
        in_memory = isinstance(part, Tensor)
        plane = part if in_memory else torch.from_numpy(part)
        for sums in (sum_z, sums_y[:, None], sums_x):
            plane /= sums.to(plane.device)
        if not in_memory:
            volume[:, z] = plane.numpy()


def _hide(volume: Volume, signal: Volume, num_planes: int) -> None:
    """Make a prediction NaN where its signal is, plane by plane."""
    for z in range(num_planes):
        hidden = torch.as_tensor(signal[z]).isnan()
        part = volume[:, z]
        if isinstance(part, Tensor):
            part.masked_fill_(hidden.to(part.device), torch.nan)
        else:
            part[:, hidden.cpu().numpy()] = np.nan
            volume[:, z] = part


def _window_bar(num_windows: int, progress: bool | str) -> "tqdm[NoReturn]":
    """Return a bar with rate and time left, on terminals only."""
    return tqdm(
        desc=progress if isinstance(progress, str) else "predicting",
        total=num_windows,
        unit="window",
        disable=None if progress else True,
    )


class _Windows:
    """Predicts windows one after the other, as many at a time as the device can.

    Iterating yields the corner and the prediction (C, z, y, x) of each; None for those
    where nothing was recorded.
    """

    def __init__(
        self,
        predict: Predict,
        signal: Volume,
        grid: WindowGrid,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self._predict, self._signal, self._grid = predict, signal, grid
        self._batch_size, self._device = batch_size, device
        self.hid_some = False

    def __iter__(self) -> Iterator[tuple[Size3, Tensor | None]]:
        corners = list(itertools.product(*self._grid.starts))
        batch: list[tuple[Size3, Tensor]] = []
        for number, corner in enumerate(corners, start=1):
            window = self._read(self._grid.box(corner))
            if window is None:
                yield corner, None
            else:
                batch.append((corner, window))
            while len(batch) >= self._batch_size or (batch and number == len(corners)):
                predicted = self._first_of([window for _, window in batch])
                places = [corner for corner, _ in batch]
                yield from zip(places, predicted, strict=False)
                batch = batch[len(predicted) :]

    def _first_of(self, read: Sequence[Tensor]) -> Tensor:
        """Predict the windows of a batch, or the first of them: (B, C, z, y, x)."""
        while True:
            windows = torch.stack(list(read[: self._batch_size]))
            try:
                predicted = self._predict(windows)
            except torch.OutOfMemoryError:
                self._halve(windows)
                continue
            check_prediction(predicted, windows)
            return predicted

    def _read(self, box: Box) -> Tensor | None:
        """Return a window (1, z, y, x) on the device; None if nothing was recorded."""
        voxels = torch.as_tensor(self._signal[box])
        hidden = voxels.isnan()
        if hidden.any():
            self.hid_some = True
            if hidden.all():
                return None
            voxels = voxels.masked_fill(hidden, 0)
        return voxels.to(self._device, torch.float32)[None]

    def _halve(self, windows: Tensor) -> None:
        sides = list(windows.shape[2:])
        if len(windows) == 1:
            raise UserError(
                f"window={sides} with batch_size=1: {self._device} has too little free "
                "memory; use a smaller window, or free memory there"
            ) from None
        self._batch_size = len(windows) // 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # blocks cut for the larger batch are of no use
        _log.warning(
            "%s has too little free memory for %d windows of %s at a time; going on "
            "with %d",
            self._device,
            len(windows),
            sides,
            self._batch_size,
        )

"""Predict a volume of any size in bounded memory, from a source to a sink.

How a volume passes through::

    for each band                       one, unless memory is tight
        for each batch of windows       by Z, then Y, then X
            read the planes that come into reach
            predict the windows, add them up with their weights
            hand over the planes that no further window touches

Every voxel is the sum over its windows in the same order however the volume is cut, the
windows are batched, and the planes come and go: such choices change no bit, as far as
``predict`` itself computes a window alike in every batch.
"""

import contextlib
import logging
from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from tqdm import tqdm

from continual_repmode.errors import UserError
from continual_repmode.inference.allocation import Predict, check_prediction
from continual_repmode.inference.bands import Band, uncut
from continual_repmode.inference.heap import large_blocks_returned
from continual_repmode.inference.memory import plan_within
from continual_repmode.inference.slab import PredictionSlab, SignalSlab
from continual_repmode.inference.volume_ends import VolumeSink, VolumeSource
from continual_repmode.inference.windows import (
    DEFAULT_OVERLAP,
    Overlap,
    Size3,
    WindowGrid,
)

_log = logging.getLogger(__name__)


@torch.no_grad()
def predict_stream(
    predict: Predict,
    source: VolumeSource,
    sink: VolumeSink,
    *,
    window: Sequence[int] = (32, 128, 128),
    overlap: Overlap = DEFAULT_OVERLAP,
    batch_size: int = 1,
    memory: int | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> None:
    """Predict a volume by overlapping windows with Gaussian weights.

    Parameters
    ----------
    predict : callable
        Maps windows (B, 1, z, y, x) to predictions (B, C, z, y, x); a network must be
        in evaluation mode already, or its statistics would depend on the batch.
    source : VolumeSource
        The z-scored signal.
    sink : VolumeSink
        Takes the prediction.
    window : sequence of int
        Sides (z, y, x) in voxels, cut down to the volume where they exceed it.
    overlap : float or sequence of float
        Share of a window that the next one covers again at least, from 0 to below 1:
        for all axes, or for each of (Z, Y, X). The paper has 0.5.
    batch_size : int
        Windows per call of ``predict`` at most; changes speed and memory only. Halved
        for the rest of the run when the device has no memory left.
    memory : int, optional
        Bytes to stay within (see :mod:`continual_repmode.inference.memory`): the volume
        is then cut into bands and the batch reduced as necessary.
    device : torch.device or str
        Where ``predict`` runs and its results are summed.
    progress : bool
        Whether to show a bar of the windows with rate and time left, on terminals.

    Raises
    ------
    UserError
        If an argument is out of range, ``predict`` changes the shape, or a window does
        not fit into ``memory`` or the device.
    """
    grid = WindowGrid.over(source.shape, window, overlap)
    batch_size = grid.check_batch_size(batch_size)
    device = torch.device(device)
    with contextlib.ExitStack() as stack:
        if memory is None:
            cutting, batch_size = uncut(grid), batch_size
        else:
            stack.enter_context(large_blocks_returned())
            plan = plan_within(
                memory, predict, grid, batch_size=batch_size, device=device
            )
            cutting, batch_size = plan.cutting, plan.batch_size
            _log.info(
                "predicting %d windows, %d at a time, in %d bands; needs about %.0f MB",
                cutting.num_windows,
                batch_size,
                len(list(cutting.bands)),
                plan.num_bytes / 1e6,
            )
        bar = stack.enter_context(_window_bar(cutting.num_windows, shown=progress))
        windows = _WindowPredictor(predict, batch_size, device)
        for band in cutting.bands:
            try:
                _BandRun(band, source, sink, windows).run(bar)
            except torch.OutOfMemoryError as error:
                raise UserError(
                    f"memory={memory}: {device} has too little free memory for the "
                    "planes beside the windows; give less than is free, and the volume "
                    "is cut into narrower bands"
                ) from error


def _window_bar(num_windows: int, *, shown: bool) -> "tqdm[NoReturn]":
    """Return a bar with rate and time left, on terminals only."""
    return tqdm(
        desc="predicting",
        total=num_windows,
        unit="window",
        disable=None if shown else True,
    )


class _WindowPredictor:
    """Predicts as many windows at a time as the device has room for.

    Parameters
    ----------
    predict : callable
    batch_size : int
        To begin with.
    device : torch.device
    """

    def __init__(self, predict: Predict, batch_size: int, device: torch.device) -> None:
        self._predict = predict
        self.batch_size = batch_size
        self.device = device

    def first_of(self, corners: Sequence[Size3], signal: SignalSlab) -> Tensor:
        """Predict the first windows of some, up to a batch: (B, C, z, y, x)."""
        while True:
            windows = signal.windows(corners[: self.batch_size])
            try:
                predicted = self._predict(windows)
            except torch.OutOfMemoryError:
                self._halve(windows)
                continue
            if isinstance(predicted, FakeTensor):
                raise UserError(
                    "predict kept tensors from the memory estimate, which hold no "
                    "values; call it on a small window before"
                )
            check_prediction(predicted, windows)
            return predicted

    def _halve(self, windows: Tensor) -> None:
        sides = list(windows.shape[2:])
        if len(windows) == 1:
            raise UserError(
                f"window={sides} with batch_size=1: {self.device} has too little free "
                "memory; use a smaller window, or free memory there"
            ) from None
        self.batch_size = len(windows) // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # blocks cut for the larger batch are of no use
        _log.warning(
            "%s has too little free memory for %d windows of %s at a time; going on "
            "with %d",
            self.device,
            len(windows),
            sides,
            self.batch_size,
        )


class _BandRun:
    """The prediction of one band.

    Parameters
    ----------
    band : Band
    source : VolumeSource
    sink : VolumeSink
    windows : _WindowPredictor
    """

    def __init__(
        self,
        band: Band,
        source: VolumeSource,
        sink: VolumeSink,
        windows: _WindowPredictor,
    ) -> None:
        self._band, self._sink, self._windows = band, sink, windows
        self._depth = band.depth(windows.batch_size)
        self._signal = SignalSlab(source, band, self._depth, windows.device)
        self._prediction: PredictionSlab | None = None

    def run(self, bar: "tqdm[NoReturn]") -> None:
        """Predict all windows of the band, batch by batch."""
        band, done = self._band, 0
        while done < band.num_windows:
            num_predicted = self._predict_from(done)
            done += num_predicted
            bar.update(num_predicted)
            assert self._prediction is not None
            more = done < band.num_windows
            self._prediction.finish(
                band.corner(done)[0] if more else band.grid.shape[0]
            )

    def _predict_from(self, begin: int) -> int:
        """Predict the next windows and return how many they were."""
        end = min(begin + self._windows.batch_size, self._band.num_windows)
        corners = [self._band.corner(index) for index in range(begin, end)]
        predicted = self._windows.first_of(corners, self._signal)
        if self._prediction is None:
            self._prediction = PredictionSlab(
                self._sink,
                self._band,
                self._depth,
                predicted.shape[1],
                self._windows.device,
            )
        for corner, window in zip(corners, predicted, strict=False):
            self._prediction.add(corner, window)
        return len(predicted)

"""What a prediction will take, known before it starts."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from continual_repmode.data.disk import format_bytes
from continual_repmode.data.resampling import ResizeMethod
from continual_repmode.data.stream_resizing import least_resize_bytes, resize_stream
from continual_repmode.errors import UserError
from continual_repmode.inference.memory import Plan, plan_within
from continual_repmode.inference.windows import Overlap, Size3, WindowGrid
from continual_repmode.measuring import synchronize
from continual_repmode.prediction.bounds import (
    memory_in_use,
    memory_left,
    resizing_memory,
    statistics_bytes,
    window_memory,
)
from continual_repmode.prediction.model import TaskPredictor

_LONG_S = 10.0
"""Work that takes less is timed twice, as the first time prepares things."""

_RESIZING_VOXEL_BYTES = 12
"""Of the old and the new volume, where all of both is held."""

_SAMPLE, _SAMPLE_RESIZED = (16, 64, 64), (16, 160, 160)
"""Shapes between which resizing is timed."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What predicting some tasks of one image will take.

    Attributes
    ----------
    window : (int, int, int)
        Sides of the windows, cut down to the image.
    num_windows : int
        Per task; those across bands as often as they are predicted.
    num_bands : int
    memory_bytes : int
        Of the whole process; on a CUDA device, of that device.
    seconds : float
    """

    window: Size3
    num_windows: int
    num_bands: int
    memory_bytes: int
    seconds: float

    def __str__(self) -> str:
        bands = f" in {self.num_bands} bands" if self.num_bands > 1 else ""
        window = " x ".join(map(str, self.window))
        return (
            f"{self.num_windows} windows of {window}{bands}, "
            f"{format_bytes(self.memory_bytes)} of memory, "
            f"about {format_seconds(self.seconds)}"
        )


class Estimator:
    """Estimates images of one model, timing each size of window once.

    Parameters
    ----------
    predictor : TaskPredictor
        Of one task, which stands for all.
    device : torch.device
    memory : int
        Bytes that the process may take.
    window, overlap, batch_size
        As for :func:`continual_repmode.inference.streaming.predict_stream`.
    resize : {"paper", "fast"}
    """

    def __init__(
        self,
        predictor: TaskPredictor,
        device: torch.device,
        *,
        memory: int,
        window: Size3,
        overlap: Overlap,
        batch_size: int,
        resize: ResizeMethod,
    ) -> None:
        self._predictor, self._device = predictor, device
        self._memory, self._batch_size = memory, batch_size
        self._window, self._overlap, self._resize = window, overlap, resize
        self._plans: dict[Size3, Plan] = {}
        self._window_s: dict[Size3, float] = {}
        self._voxel_s: float | None = None

    def estimate(
        self, source: Size3, grid: Size3, written: Size3, num_tasks: int
    ) -> Estimate:
        """Estimate one image.

        Parameters
        ----------
        source, grid, written : (int, int, int)
            Shapes (z, y, x) of what is read, on the model grid, and of what is written.
        num_tasks : int

        Raises
        ------
        UserError
            If the memory does not suffice.
        """
        plan = self.plan(grid)
        steps = [(source, grid), *[(grid, written)] * num_tasks]
        resized = sum(math.prod(new) for old, new in steps if old != new)
        window_s = self._window_seconds(plan.cutting.grid.sides)
        self._check(source, steps)
        beside = max(
            statistics_bytes(source), *(self._resizing_bytes(*s) for s in steps)
        )
        num_bytes = plan.num_bytes
        if self._device.type == "cpu":
            num_bytes = memory_in_use() + max(plan.num_bytes, beside)
        return Estimate(
            window=plan.cutting.grid.sides,
            num_windows=plan.cutting.num_windows,
            num_bands=len(list(plan.cutting.bands)),
            memory_bytes=num_bytes,
            seconds=num_tasks * plan.cutting.num_windows * window_s
            + (resized * self._resizing_seconds() if resized else 0),
        )

    def plan(self, grid: Size3) -> Plan:
        """Return how a volume of a shape is cut and its windows are batched."""
        if grid not in self._plans:
            windows = WindowGrid.over(grid, self._window, self._overlap)
            self._plans[grid] = plan_within(
                window_memory(self._memory, self._device),
                self._predictor,
                windows,
                batch_size=windows.check_batch_size(self._batch_size),
                device=self._device,
            )
        return self._plans[grid]

    def _resizing_bytes(self, old: Size3, new: Size3) -> int:
        """Return about what resizing will take, at least what it must have."""
        everything = _RESIZING_VOXEL_BYTES * (math.prod(old) + math.prod(new))
        most = min(resizing_memory(self._memory), everything)
        return max(most, least_resize_bytes(old, new, self._resize))

    def _check(self, source: Size3, steps: Sequence[tuple[Size3, Size3]]) -> None:
        """Raise if reading and resizing need more than is left."""
        resizing = (least_resize_bytes(*step, self._resize) for step in steps)
        lacking = max(statistics_bytes(source), *resizing) - memory_left(self._memory)
        if lacking > 0:
            raise UserError(
                f"memory={format_bytes(self._memory)}: planes of this size need "
                f"{format_bytes(self._memory + lacking)}; allow so much"
            )

    def _window_seconds(self, sides: Size3) -> float:
        """Return how long the network takes for one window, measured once."""
        if sides not in self._window_s:
            window = torch.zeros(1, 1, *sides, device=self._device)

            def predict() -> None:
                self._predictor(window)
                synchronize()

            self._window_s[sides] = _seconds(predict)
        return self._window_s[sides]

    def _resizing_seconds(self) -> float:
        """Return how long resizing takes for one new voxel, measured once."""
        if self._voxel_s is None:
            source = _Sample()
            target = np.empty(_SAMPLE_RESIZED, np.float32)
            seconds = _seconds(lambda: resize_stream(source, target, self._resize))
            self._voxel_s = seconds / target.size
        return self._voxel_s


class _Sample:
    """Planes to time resizing with."""

    shape: Size3 = _SAMPLE

    def read(self, planes: slice) -> NDArray[np.float32]:
        return np.ones(_SAMPLE, np.float32)[planes]


def format_seconds(seconds: float) -> str:
    """Return a time as people say it.

    >>> format_seconds(4000)
    '1 h 7 min'
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _seconds(work: Callable[[], None]) -> float:
    """Return how long some work takes, the second time unless the first was long."""
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        if seconds > _LONG_S:
            break
    return seconds

"""What a prediction will take, known before it starts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from continual_repmode.errors import UserError
from continual_repmode.files import format_bytes
from continual_repmode.inference.memory import WindowCost, measure_window, seconds_of
from continual_repmode.inference.windows import WindowGrid
from continual_repmode.measuring import resident_bytes
from continual_repmode.metrics.further import BYTES_PER_VOXEL
from continual_repmode.prediction.bounds import (
    RESERVE_BYTES,
    WRITING_BYTES,
    memory_left,
    resizing_memory,
    statistics_bytes,
)
from continual_repmode.prediction.setup import Setup
from continual_repmode.volumes.stream_resizing import least_resize_bytes, resize_stream
from continual_repmode.volumes.volume import Size3

_RESIZING_VOXEL_BYTES = 12
"""Of the old and the new volume, where all of both is held."""

_COMPARING_BYTES = 150_000_000
"""Two volumes compared block by block, and deviations with errors."""

_SAMPLE, _SAMPLE_RESIZED = (16, 64, 64), (16, 160, 160)
"""Shapes between which resizing is timed."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What predicting some tasks of one image will take."""

    #: Sides of the windows, cut down to the image.
    window: Size3
    #: Per task.
    num_windows: int
    #: Of the whole process; on a CUDA device, of that device.
    memory_bytes: int
    seconds: float
    #: How often each window is predicted: by orientations and models.
    answers: int = 1
    #: The most that the process has while the network is at work.
    network_bytes: int = 0
    #: What reading, preparing and writing must have, and what they take if they can.
    least_file_bytes: int = 0
    file_bytes: int = 0

    def __str__(self) -> str:
        window = " x ".join(map(str, self.window))
        often = f", each predicted {self.answers} times" if self.answers > 1 else ""
        return (
            f"{self.num_windows} windows of {window}{often}, "
            f"{format_bytes(self.memory_bytes)} of memory, "
            f"about {format_seconds(self.seconds)}"
        )


class Estimator:
    """Estimates images of one model, timing each size of window once.

    ``setup``: its first task stands for all.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._device, self._memory = setup.device, setup.memory
        self._predictor = setup.predictor(setup.tasks[0])
        self._costs: dict[tuple[Size3, int], WindowCost] = {}
        self._voxel_s: float | None = None

    def estimate(
        self,
        source: Size3,
        grid: Size3,
        written: Size3,
        num_tasks: int,
        *,
        deviations: bool = False,
        compared: bool = False,
    ) -> Estimate:
        """Estimate one image.

        ``source``, ``grid``, ``written``: shapes (z, y, x) of what is read, on the
            model grid, and of what is written.
        ``deviations``: each task has two channels.
        ``compared``: there is a target to compare with.
        Raises UserError if the memory does not suffice.
        """
        windows = WindowGrid.over(grid, self._setup.window, self._setup.overlap)
        steps = [(source, grid), *[(grid, written)] * num_tasks * (1 + deviations)]
        measuring = 0
        if compared and self._setup.metrics:
            measuring = BYTES_PER_VOXEL * math.prod(grid)
            self._check_measuring(measuring)
        self._check(source, steps)
        cost = self._cost(windows)
        resized = sum(math.prod(new) for old, new in steps if old != new)
        beside = max(
            measuring,
            statistics_bytes(source),
            *(self._resizing_bytes(*s) for s in steps),
        )
        num_bytes, network_bytes = cost.peak_bytes or 0, resident_bytes()
        if self._device.type == "cpu":
            network_bytes = max(num_bytes, network_bytes)
            num_bytes = RESERVE_BYTES + max(num_bytes, resident_bytes() + beside)
        least = max(
            measuring,
            _COMPARING_BYTES if compared else 0,
            statistics_bytes(source),
            *(least_resize_bytes(*step) + WRITING_BYTES for step in steps),
        )
        return Estimate(
            window=windows.sides,
            num_windows=windows.num_windows,
            memory_bytes=num_bytes,
            seconds=num_tasks * windows.num_windows * cost.seconds
            + (resized * self._resizing_seconds() if resized else 0),
            answers=self._setup.num_answers,
            network_bytes=network_bytes,
            least_file_bytes=least,
            file_bytes=max(least, beside),
        )

    def _cost(self, windows: WindowGrid) -> WindowCost:
        """Return what a batch of windows takes, measured once."""
        sides, batch_size = (
            windows.sides,
            windows.check_batch_size(self._setup.batch_size),
        )
        if (sides, batch_size) not in self._costs:
            self._check_window(sides, self._rough_bytes(sides, batch_size))
            cost = measure_window(self._predictor, sides, batch_size, self._device)
            self._check_window(sides, cost.peak_bytes)
            self._costs[sides, batch_size] = cost
        return self._costs[sides, batch_size]

    def _rough_bytes(self, sides: Size3, batch_size: int) -> int:
        """Return about what a batch will take, from one window of half its sides.

        So that what is far too large is refused without taking the memory.
        """
        z, y, x = (-(-side // 2) for side in sides)
        for _ in range(2):  # the first time, libraries take some memory for good
            before = resident_bytes()
            peak = measure_window(
                self._predictor, (z, y, x), 1, self._device
            ).peak_bytes
        scale = batch_size * math.prod(sides) / (z * y * x)
        return before + int(scale * ((peak or before) - before))

    def _check_window(self, sides: Size3, num_bytes: int | None) -> None:
        """Raise if predicting takes more memory than the process may have."""
        needed = (num_bytes or 0) + RESERVE_BYTES
        if self._device.type == "cpu" and needed > self._memory:
            raise UserError(
                f"memory={format_bytes(self._memory)}: predicting windows of "
                f"{list(sides)} needs about {format_bytes(needed)}; use a smaller "
                "--window, or increase --memory to that"
            )

    def _resizing_bytes(self, old: Size3, new: Size3) -> int:
        """Return about what resizing will take, at least what it must have."""
        everything = _RESIZING_VOXEL_BYTES * (math.prod(old) + math.prod(new))
        most = min(resizing_memory(self._memory), everything)
        return max(most, least_resize_bytes(old, new))

    def _check(self, source: Size3, steps: Sequence[tuple[Size3, Size3]]) -> None:
        """Raise if reading and resizing need more than is left."""
        resizing = (least_resize_bytes(*step) for step in steps)
        lacking = max(statistics_bytes(source), *resizing) - memory_left(self._memory)
        if lacking > 0:
            raise UserError(
                f"memory={format_bytes(self._memory)}: planes of this size need "
                f"{format_bytes(self._memory + lacking)}; increase --memory to that"
            )

    def _check_measuring(self, num_bytes: int) -> None:
        """Raise if comparing whole volumes takes more memory than is left."""
        lacking = num_bytes - memory_left(self._memory)
        if lacking > 0:
            raise UserError(
                f"memory={format_bytes(self._memory)}: --metrics compares whole "
                f"volumes and needs {format_bytes(self._memory + lacking)}; leave it "
                "out, or increase --memory to that"
            )

    def _resizing_seconds(self) -> float:
        """Return how long resizing takes for one new voxel, measured once."""
        if self._voxel_s is None:
            sample = np.ones(_SAMPLE, np.float32)
            resized = np.empty(_SAMPLE_RESIZED, np.float32)
            with TemporaryDirectory() as folder:
                seconds = seconds_of(
                    lambda: resize_stream(
                        sample,
                        resized,
                        self._setup.preparation.resize,
                        scratch=Path(folder),
                    )
                )
            self._voxel_s = seconds / resized.size
        return self._voxel_s


def format_seconds(seconds: float) -> str:
    """Return a time as people say it.

    >>> format_seconds(4000)
    '1 h 7 min'
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"

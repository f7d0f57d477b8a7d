"""How much memory a prediction needs, known before it starts and kept within a bound.

Counted are the planes and windows that are held here and what ``predict`` allocates.
Not counted are what exists before (the network, a volume in memory), what the sink
keeps, pages of mapped files, which the system takes back when it wants, and libraries:
the first estimate in a process makes PyTorch import about 80 MB of its own.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from continual_repmode.errors import UserError
from continual_repmode.inference.allocation import Allocation, Predict, allocation_of
from continual_repmode.inference.bands import (
    Cutting,
    Stretch,
    fewest_windows,
    stretches,
    uncut,
)
from continual_repmode.inference.windows import DEFAULT_OVERLAP, Overlap, WindowGrid

READ_PLANES = 4
"""Planes read from a source at a time."""

_READING_BYTES = 12
"""Per voxel read at a time: as it is stored (up to 8 bytes) and as float32."""

_MARGIN_FACTOR, _MARGIN_BYTES = 1.05, 8_000_000
"""What is not seen: code and small buffers of libraries, holes between blocks.

Measured on plain U-Nets (widths 4 to 32, windows of 16x64x64 and 32x128x128, 1 and 2
threads, CPU): between 2 and 8 MB more than was seen, of 7 to 211 MB.
"""

_ACCEPTABLE_REPEATS = 1.1
"""Factor of windows predicted that a larger batch is worth."""

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True)
class Plan:
    """How a volume is to be predicted.

    Attributes
    ----------
    cutting : Cutting
        The bands.
    batch_size : int
        Windows per call of ``predict``.
    num_bytes : int
        The memory this is expected to need.
    """

    cutting: Cutting
    batch_size: int
    num_bytes: int


def memory_needed(
    predict: Predict,
    shape: Sequence[int],
    *,
    window: Sequence[int] = (32, 128, 128),
    overlap: Overlap = DEFAULT_OVERLAP,
    batch_size: int = 1,
    device: torch.device | str = "cpu",
) -> int:
    """Estimate the memory for predicting a volume that is not cut into bands.

    Parameters
    ----------
    predict : callable
        As for :func:`~continual_repmode.inference.streaming.predict_stream`.
    shape : sequence of int
        Sides (Z, Y, X) of the volume.
    window, overlap, batch_size, device
        As for :func:`~continual_repmode.inference.streaming.predict_stream`.

    Returns
    -------
    int
        Bytes, on top of what is in memory already.
    """
    grid = WindowGrid.over(shape, window, overlap)
    batch_size = grid.check_batch_size(batch_size)
    allocation = allocation_of(predict, grid.sides, batch_size, torch.device(device))
    return _needed(uncut(grid), batch_size, allocation)


def plan_within(
    memory: int,
    predict: Predict,
    grid: WindowGrid,
    *,
    batch_size: int,
    device: torch.device,
) -> Plan:
    """Choose bands and a batch size so that the estimate stays within a bound.

    Chosen is the largest batch for which the cuts cost at most a tenth more windows; if
    they always cost more, the batch for which they cost least.

    Parameters
    ----------
    memory : int
        The bound in bytes.
    predict, grid, device
        What is to be predicted, and where.
    batch_size : int
        The largest batch.

    Raises
    ------
    UserError
        If not even single windows in the narrowest bands stay within the bound.
    """
    batch_size = grid.check_batch_size(batch_size)
    allocation = allocation_of(predict, grid.sides, batch_size, device)
    rows, columns = _ways_to_cut(grid, 1), _ways_to_cut(grid, 2)
    best: Plan | None = None
    for size in range(batch_size, 0, -1):
        plan = _least_cut(memory, grid, size, allocation, rows, columns)
        if plan is None:
            continue
        repeats = plan.cutting.num_windows / grid.num_windows
        if repeats <= _ACCEPTABLE_REPEATS:
            return plan
        if best is None or plan.cutting.num_windows < best.cutting.num_windows:
            best = plan
    if best is None:
        least = _needed(Cutting(grid, rows[0], columns[0]), 1, allocation)
        raise UserError(
            f"memory={memory / 1e6:.0f}MB: predicting windows of {list(grid.sides)} "
            f"one by one needs about {least / 1e6:.0f} MB; use a smaller window, or "
            "allow more memory"
        )
    return best


def parse_bytes(text: str | int) -> int:
    """Read an amount of memory.

    Parameters
    ----------
    text : str or int
        Such as ``"2GB"`` (2e9), ``"500MB"``, ``"1.5GiB"`` (1.5 * 2**30), or bytes.

    Returns
    -------
    int
        Bytes, at least 1.

    Raises
    ------
    UserError
        If it is no such amount.

    Examples
    --------
    >>> parse_bytes("1.5GiB")
    1610612736
    """
    pattern = r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(I?))?B?\s*"
    match = re.fullmatch(pattern, str(text).upper(), flags=re.ASCII)
    num_bytes = 0
    if match is not None:
        base = 1024 if match[3] else 1000
        num_bytes = int(float(match[1]) * base ** _POWERS[match[2] or ""])
    if num_bytes < 1:
        raise UserError(f"memory={text}: use an amount such as 2GB, 500MB or 1.5GiB")
    return num_bytes


def _ways_to_cut(grid: WindowGrid, axis: int) -> list[tuple[Stretch, ...]]:
    """Return the ways to cut an axis, from the finest to not at all."""
    counts = range(fewest_windows(grid, axis), len(grid.starts[axis]) + 1)
    return [stretches(grid, axis, count) for count in counts]


def _least_cut(
    memory: int,
    grid: WindowGrid,
    batch_size: int,
    allocation: Allocation,
    rows: Sequence[tuple[Stretch, ...]],
    columns: Sequence[tuple[Stretch, ...]],
) -> Plan | None:
    """Return the plan within the bound that predicts fewest windows, if there is one.

    For each way to cut Y the way to cut X follows by bisection: fewer cuts, more bytes.
    """
    plans: list[Plan] = []
    for y in rows:

        def needed(x: tuple[Stretch, ...], y: tuple[Stretch, ...] = y) -> int:
            return _needed(Cutting(grid, y, x), batch_size, allocation)

        num_fitting = bisect_right(columns, memory, key=needed)
        if num_fitting:
            x = columns[num_fitting - 1]
            plans.append(Plan(Cutting(grid, y, x), batch_size, needed(x)))
    return min(plans, key=lambda plan: plan.cutting.num_windows, default=None)


def _needed(cutting: Cutting, batch_size: int, allocation: Allocation) -> int:
    """Return the bytes for one band at a time."""
    z, y, x = cutting.grid.sides
    depth, read, written = cutting.slab_size(batch_size)
    slabs = 4 * depth * (read + allocation.channels * written)
    reading = _READING_BYTES * min(READ_PLANES, depth) * read
    windows = 4 * z * y * x * (batch_size + 2)  # with weights, and weighted prediction
    own = slabs + reading + windows
    seen = own + allocation.num_bytes(batch_size)
    return int(_MARGIN_FACTOR * seen) + _MARGIN_BYTES

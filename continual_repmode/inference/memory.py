"""How much memory a prediction needs: what the network takes for a batch of windows.

Nothing else grows with the volume, as :mod:`continual_repmode.inference.tiled` keeps
one batch of windows in memory at a time.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from continual_repmode.errors import UserError
from continual_repmode.inference.tiled import Predict, check_prediction
from continual_repmode.measuring import peak_while, synchronize
from continual_repmode.volumes.volume import Size3

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}

_LONG_S = 10.0
"""Work that takes less is done twice, as the first time prepares things."""


@dataclass(frozen=True, slots=True)
class WindowCost:
    """What predicting one batch of windows takes, measured."""

    #: The peak memory of this process meanwhile, with what it had before; on a CUDA
    #: device, the most that tensors took there. None where it cannot be measured: of a
    #: process, only Linux reports it.
    peak_bytes: int | None
    #: Per window.
    seconds: float


@torch.no_grad()
def measure_window(
    predict: Predict, sides: Size3, batch_size: int, device: torch.device
) -> WindowCost:
    """Predict windows of zeros, and say what that took.

    ``predict``: maps windows (B, 1, z, y, x) to predictions (B, C, z, y, x).
    Raises UserError if ``predict`` changes the shape, or the device lacks the memory.
    """
    seconds = 0.0
    windows = torch.zeros(batch_size, 1, *sides, device=device)

    def once() -> None:
        check_prediction(predict(windows), windows)
        synchronize()

    def work() -> None:
        nonlocal seconds
        seconds = seconds_of(once)

    try:
        peak = peak_while(work, device)
    except torch.OutOfMemoryError:
        raise UserError(
            f"window={list(sides)} with batch_size={batch_size}: {device} has too "
            "little free memory; use a smaller window or batch"
        ) from None
    return WindowCost(peak, seconds / batch_size)


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long some work takes, the second time unless the first was long."""
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        if seconds > _LONG_S:
            break
    return seconds


def parse_bytes(text: str | int) -> int:
    """Read an amount of memory.

    ``text``: such as ``"2GB"`` (2e9), ``"500MB"``, ``"1.5GiB"`` (1.5 * 2**30), or
        bytes.
    Returns: bytes, at least 1.
    Raises UserError if it is no such amount.

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

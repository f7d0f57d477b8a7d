"""How the intensities of a volume are distributed.

All statistics are taken plane by plane, so that memory for one plane is enough.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CENTRAL = 0.9999
"""Gray levels are counted without the brightest and darkest hot pixels."""
_NUM_SAMPLED = 1_000_000
"""Voxels whose distinct values are counted where there is no table of all values."""
_TOP_SHARE = 0.01
"""The maximum is a pile-up if it holds more voxels than the rest of this top share of
the range: clipped sensors and look-up tables cut the histogram off like that, whatever
their number of bits."""


@dataclass(frozen=True, slots=True)
class Intensities:
    """How the values of a channel are distributed.

    The attributes, but ``num_finite``, are those of
    :class:`continual_repmode.manifests.checks.facts.ChannelFacts`.
    """

    num_finite: int
    minimum: float
    maximum: float
    mean: float
    std: float
    saturated: float
    at_minimum: float
    num_levels: int


def measure_intensities(raw: NDArray[Any]) -> Intensities:
    """Measure a volume of real numbers.

    ``raw``: (Z, Y, X); integers of up to 16 bits are measured exactly, by counting each
        value; the ``num_levels`` of others are those of a million voxels.
    """
    if raw.dtype.kind in "bui" and raw.dtype.itemsize <= 2:
        return _of_table(raw)
    return _of_voxels(raw)


def _of_table(raw: NDArray[Any]) -> Intensities:
    """Measure integers of up to 16 bits exactly, by counting each value."""
    kind = np.dtype(np.uint8) if raw.dtype.kind == "b" else raw.dtype
    limits = np.iinfo(kind)
    counts = np.zeros(limits.max - limits.min + 1, np.int64)
    for plane in raw:
        shifted = plane.ravel().astype(np.intp) - limits.min
        counts += np.bincount(shifted, minlength=len(counts))
    values = np.flatnonzero(counts)
    counts = counts[values]
    values = values + limits.min
    mean = float((values * counts).sum() / raw.size)
    std = math.sqrt(float((counts * (values - mean) ** 2).sum() / raw.size))
    low, high = float(values[0]), float(values[-1])
    near_top = int(counts[values > high - _TOP_SHARE * (high - low)].sum())
    at_maximum = int(counts[-1])
    piled = _piles_up(raw.dtype, low, high, at_maximum, near_top - at_maximum)
    return Intensities(
        num_finite=raw.size,
        minimum=low,
        maximum=high,
        mean=mean,
        std=std,
        saturated=at_maximum / raw.size if piled else 0.0,
        at_minimum=float(counts[0] / raw.size),
        num_levels=_central_levels(counts),
    )


def _central_levels(counts: NDArray[np.int64]) -> int:
    """Return how many values, given their counts in order, are not in the tails."""
    tail = (1 - _CENTRAL) * counts.sum()
    below = np.cumsum(counts)
    above = np.cumsum(counts[::-1])[::-1]
    return int(((below > tail) & (above > tail)).sum())


def _piles_up(
    dtype: np.dtype[Any], low: float, high: float, at_maximum: int, just_below: int
) -> bool:
    """Return whether voxels pile up at the maximum; see ``saturated``."""
    if high == low or at_maximum == 1:
        return False
    if dtype.kind == "f":
        return at_maximum > just_below
    if dtype.kind != "b" and high == float(np.iinfo(dtype).max):
        return True
    return high - low >= 1 / _TOP_SHARE and at_maximum > just_below


def _of_voxels(raw: NDArray[Any]) -> Intensities:
    """Measure floats and wide integers in two passes, their levels on a sample."""
    low, high, num_finite = math.inf, -math.inf, 0
    for plane in raw:
        finite = plane[np.isfinite(plane)]
        num_finite += finite.size
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if not num_finite:
        return Intensities(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
    unit = max(abs(low), abs(high)) or 1.0  # squares of huge values overflow
    top = high - _TOP_SHARE * (high / unit - low / unit) * unit
    step = math.ceil(raw.size / _NUM_SAMPLED)
    mean, squares, count = 0.0, 0.0, 0
    at_minimum = at_maximum = near_top = 0
    sampled = []
    for plane in raw:
        values = np.ascontiguousarray(plane).ravel()
        sampled.append(values[::step])
        values = values[np.isfinite(values)].astype(np.float64)
        if not values.size:
            continue
        at_minimum += int(np.count_nonzero(values == low))
        at_maximum += int(np.count_nonzero(values == high))
        near_top += int(np.count_nonzero(values > top))
        values /= unit
        offset = float(values.mean()) - mean
        squares += float(((values - values.mean()) ** 2).sum())
        squares += offset**2 * count * values.size / (count + values.size)
        count += values.size
        mean += offset * values.size / count
    piled = _piles_up(raw.dtype, low, high, at_maximum, near_top - at_maximum)
    sample = np.concatenate(sampled)
    _, counts = np.unique(sample[np.isfinite(sample)], return_counts=True)
    return Intensities(
        num_finite=num_finite,
        minimum=low,
        maximum=high,
        mean=mean * unit,
        std=math.sqrt(squares / count) * unit,
        saturated=at_maximum / num_finite if piled else 0.0,
        at_minimum=at_minimum / num_finite,
        num_levels=_central_levels(counts),
    )

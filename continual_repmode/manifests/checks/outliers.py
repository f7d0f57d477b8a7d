"""Images that differ from the others of their task."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from continual_repmode.manifests.checks.checked_pair import (
    CheckedChannel,
    CheckedPair,
    Finding,
    Severity,
)
from continual_repmode.manifests.checks.facts import ChannelFacts

_Item = TypeVar("_Item")

LEAST_IMAGES = 5
"""Fewer images of a task say nothing about what is usual for it."""
FAR = 6.0
"""Distance from the median, in robust standard deviations, of an outlier. Intensities
in a task have long tails; six leaves out what a normal distribution never shows."""
SAME_VOXEL = 0.02
"""Relative difference of two voxel sizes that may be rounding."""
OTHER_VOXEL = 1.5
"""Ratio of two voxel sizes that is rather a wrong unit or scale than another zoom."""
USUALLY_MATCHED = 0.8
"""Share of the pairs of a task whose light and target are found to match, from which
on the others are suspicious."""


@dataclass(frozen=True, slots=True)
class _Quantity:
    """Something to compare between the images of a task."""

    code: str
    value: Callable[[ChannelFacts], float]
    #: Compare ratios; images where it is not positive are left out.
    logarithmic: bool
    #: Differences of a few times this are never outliers (of the logarithm if
    #: ``logarithmic``).
    least_spread: float
    message: str
    remedy: str

    def on_scale(self, value: float) -> float:
        """Return what is compared."""
        return math.log(value) if self.logarithmic else value


_QUANTITIES = (
    _Quantity(
        "intensity-outlier",
        lambda facts: facts.mean,
        True,
        0.1,
        "mean intensity {value:.4g}, usually {usual:.4g} in task {task}",
        "look at its exposure and staining, or leave it out",
    ),
    _Quantity(
        "contrast-outlier",
        lambda facts: facts.std,
        True,
        0.1,
        "contrast (standard deviation) {value:.4g}, usually {usual:.4g} in task {task}",
        "look at its exposure and staining, or leave it out",
    ),
    _Quantity(
        "sharpness-outlier",
        lambda facts: facts.sharpness,
        True,
        0.1,
        "sharpness {value:.3g}, usually {usual:.3g} in task {task}",
        "look whether it is blurred (less) or noisy (more), or leave it out",
    ),
    _Quantity(
        "focus-outlier",
        lambda facts: facts.focus,
        False,
        0.05,
        "fine detail lies at {value:.0%} of the depth, usually {usual:.0%} in task "
        "{task}",
        "look whether its stack is out of focus or upside down, or leave it out",
    ),
)


def compare(pairs: Sequence[CheckedPair]) -> Iterator[Finding]:
    """Yield what sets pairs apart from the others of their task."""
    tasks: dict[str, list[CheckedPair]] = defaultdict(list)
    for pair in pairs:
        tasks[pair.task].append(pair)
    for alike in tasks.values():
        yield from _voxel_sizes(alike)
        yield from _unmatched(alike)
        measured = [pair.channels() for pair in alike if pair.facts]
        for channels in zip(*measured, strict=True):  # first all lights, then targets
            yield from _types(channels)
            for quantity in _QUANTITIES:
                yield from _outliers(quantity, channels)


def _outliers(
    quantity: _Quantity, channels: Sequence[CheckedChannel]
) -> Iterator[Finding]:
    """Yield the channels that lie far from the median of those of their type."""
    types: dict[str, list[tuple[CheckedChannel, float]]] = defaultdict(list)
    for channel in channels:
        value = quantity.value(channel.facts)
        if not channel.facts.is_constant and (value > 0 or not quantity.logarithmic):
            types[channel.facts.dtype].append((channel, value))
    for alike in types.values():
        if len(alike) < LEAST_IMAGES:
            continue
        values = [quantity.on_scale(value) for _, value in alike]
        median = statistics.median(values)
        deviation = statistics.median(abs(value - median) for value in values)
        spread = max(1.4826 * deviation, quantity.least_spread)
        usual = statistics.median(value for _, value in alike)
        for (channel, value), compared in zip(alike, values, strict=True):
            if abs(compared - median) > FAR * spread:
                message = quantity.message.format(
                    value=value, usual=usual, task=channel.pair.task
                )
                yield channel.finding(
                    "warning", quantity.code, message, quantity.remedy
                )


def _types(channels: Sequence[CheckedChannel]) -> Iterator[Finding]:
    """Yield the channels of another type than most."""
    usual = _most_common([channel.facts.dtype for channel in channels])
    for channel in channels:
        if channel.facts.dtype != usual:
            yield channel.finding(
                "note",
                "mixed-types",
                f"{channel.facts.dtype}, others of task {channel.pair.task} {usual}",
                "see that it was not converted with a loss",
            )


def _voxel_sizes(pairs: Sequence[CheckedPair]) -> Iterator[Finding]:
    """Yield the pairs of other voxels than most."""
    usual = _most_common([pair.voxel_size_um for pair in pairs])
    for pair in pairs:
        ratio = max(
            max(one / other, other / one)
            for one, other in zip(pair.voxel_size_um, usual, strict=True)
        )
        if ratio <= 1 + SAME_VOXEL:
            continue
        severity: Severity = "warning" if ratio > OTHER_VOXEL else "note"
        yield Finding(
            severity,
            "mixed-voxel-sizes",
            pair.place,
            "",
            f"voxels of {_micrometres(pair.voxel_size_um)}, others of task "
            f"{pair.task} of {_micrometres(usual)}",
            "if the file is wrong, fill the columns voxel_size_z_um, _y_um and _x_um",
        )


def _unmatched(pairs: Sequence[CheckedPair]) -> Iterator[Finding]:
    """Yield the pairs that show no common structure, in a task where most do."""
    compared = [pair for pair in pairs if pair.facts and pair.facts.shift_confidence]
    unmatched = [
        pair for pair in compared if pair.facts and pair.facts.shift_yx_px is None
    ]
    if len(compared) < LEAST_IMAGES:
        return
    if len(unmatched) > (1 - USUALLY_MATCHED) * len(compared):
        return
    for pair in unmatched:
        yield Finding(
            "warning",
            "no-common-structure",
            pair.place,
            f"{pair.signal_channel} and {pair.target_channel}",
            f"light and target do not match at any shift; in task {pair.task} "
            f"{len(compared) - len(unmatched)} of {len(compared)} pairs match",
            "see whether they show the same field, or leave it out",
        )


def _most_common(items: Sequence[_Item]) -> _Item:
    """Return the most frequent item, of several the first."""
    (item, _), *_ = Counter(items).most_common(1)
    return item


def _micrometres(voxel_size_um: Sequence[float]) -> str:
    return " x ".join(f"{side:.3g}" for side in voxel_size_um) + " µm"

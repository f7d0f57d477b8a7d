"""Which shifts between light and target the data check finds, and what it invents.

Pairs that lie on each other are shifted by known numbers of pixels; pairs that do not
belong together are other fields, or a target that is mirrored or moved by half a field.
Generated pairs of all twelve structures, and real ones where their folder is there.
"""

import math
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Settings
from benchmarks.records import Measurement, Spread
from continual_repmode.manifests.checks.findings import LEAST_SHIFT_PX
from continual_repmode.manifests.checks.registration import register
from continual_repmode.synthetic import simulate_field
from continual_repmode.tasks import TASKS
from continual_repmode.volumes.opening import open_volume

REAL = Path(__file__).parents[2] / "shared" / "data"
"""Real pairs, in a folder next to the checkout; without it they are left out."""
_DNA = "fnet-dna/run_170622_174530_whole_cropped_{}.tif"
_CELL = "allen-cell-tuba1b/AICS-12_881_cell1_bf_fluor.ome.tif"
_FIELDS = (
    "allen-fov-tuba1b/AICS-12_881_bf_seg.ome.tif",
    "allen-fov-sec61b/AICS-10_5_5_bf_seg.ome.tif",
)
SHIFTS = ((0, 0), (6, 0), (0, 6), (12, 0), (0, -12), (8, -8), (0, 20), (-30, 0))
NEAR_PX = 4.0
"""A shift within so many pixels of the true one counts as found."""

Volume = NDArray[Any]


def measure(settings: Settings) -> list[Measurement]:
    """Count what is found, kind by kind."""
    rows = _counted(
        "generated, 24x128x128",
        _generated(TASKS[:1] if settings.quick else TASKS, 1 if settings.quick else 2),
    )
    if not settings.quick and REAL.is_dir():
        rows += _counted("real, fluorescence and masks", _real())
    return rows


def shifted(light: Volume, target: Volume, y: int, x: int) -> tuple[Volume, Volume]:
    """Cut a pair so that the target lies ``y`` down and ``x`` right of its light."""
    height, width = light.shape[1:]

    def cut(volume: Volume, y: int, x: int) -> Volume:
        rows = slice(max(y, 0), height + min(y, 0))
        return volume[:, rows, max(x, 0) : width + min(x, 0)]

    return cut(light, y, x), cut(target, -y, -x)


def _counted(
    case: str, pairs: Iterator[tuple[Volume, Volume, tuple[int, int] | None]]
) -> list[Measurement]:
    """Return the share of shifts found and of wrong answers."""
    counts: Counter[str] = Counter()
    for light, target, truth in pairs:
        found = register(light, target).shift_yx_px
        kind = "stranger" if truth is None else "moved" if any(truth) else "registered"
        counts[kind] += 1
        if found is None:
            continue
        if truth is None:
            counts["matched"] += 1
        elif math.dist(found, truth) <= NEAR_PX:
            counts[f"{kind} found"] += 1
        elif kind == "moved" or math.hypot(*found) >= LEAST_SHIFT_PX:
            counts[f"{kind} wrong"] += 1
    rows = [
        ("shifted pairs", "told with the right shift", "moved found", "moved"),
        ("shifted pairs", "told with another shift", "moved wrong", "moved"),
        ("registered pairs", "told to be shifted", "registered wrong", "registered"),
        ("unrelated pairs", "told to match somewhere", "matched", "stranger"),
    ]
    return [
        Measurement(
            f"{case}: {counts[all_]} {whose}",
            what,
            Spread.of([counts[some]]),
            "pairs",
            note=f"of {counts[all_]}",
        )
        for whose, what, some, all_ in rows
    ]


def _generated(
    tasks: tuple[str, ...], num_fields: int
) -> Iterator[tuple[Volume, Volume, tuple[int, int] | None]]:
    """Yield pairs with their shift, None for such as do not belong together."""
    for field, (index, task) in product(range(num_fields), enumerate(tasks)):
        light, target = simulate_field([field, index], (24, 160, 160), task)
        middle = np.s_[:, 16:144, 16:144]
        for y, x in ((0, 0), (6, -3), (-12, 10)):
            moved = target[:, 16 - y : 144 - y, 16 - x : 144 - x]
            yield light[middle], moved, (y, x)
        _, other = simulate_field([field, index, 1], (24, 128, 128), task)
        yield light[middle], other, None
        yield light[middle], target[middle][:, ::-1], None


def _real() -> Iterator[tuple[Volume, Volume, tuple[int, int] | None]]:
    for light, target in _real_pairs():
        for y, x in SHIFTS:
            yield *shifted(light, target, y, x), (y, x)
        height, width = light.shape[1:]
        yield light, target[:, ::-1], None
        yield light, target[:, :, ::-1], None
        yield light, target[:, ::-1, ::-1], None
        for by in ((height // 2, 0), (0, width // 2), (height // 2, width // 2)):
            yield light, np.roll(target, by, (1, 2)), None


def _real_pairs() -> Iterator[tuple[Volume, Volume]]:
    light, dna = (open_volume(REAL / _DNA.format(end)) for end in ("light", "nuc"))
    yield light.read_channel(0), dna.read_channel(0)
    for name in (_CELL, *_FIELDS):
        volume = open_volume(REAL / name)
        for channel in range(1, 4):
            yield volume.read_channel(0), volume.read_channel(channel)
    cells = open_volume(REAL / "raj-fish" / "trans001.tiff").read_channel(0)
    yield cells, open_volume(REAL / "raj-fish" / "dapi001.tiff").read_channel(0)[:5]

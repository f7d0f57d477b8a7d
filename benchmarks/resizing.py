"""How the two ways of resizing differ: in time, in what they keep, in their noise.

``paper`` and ``fast`` are timed in turn on a stack of the size of the Allen
collection's raw images, and compared on generated cells with raw voxels of
0.324 x 0.108 x 0.108 um.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Settings, alternate
from benchmarks.records import Measurement, Spread
from continual_repmode.synthetic.field import simulate_field
from continual_repmode.volumes.normalization import zscore
from continual_repmode.volumes.resampling import resample, resize

RAW_UM, GRID_UM = (0.324, 0.108, 0.108), (0.29, 0.29, 0.29)
TASKS = ("dna", "nuclear_envelope", "mitochondria")


def measure(settings: Settings) -> list[Measurement]:
    """Measure the times, then the differences."""
    return measure_times(settings) + [
        row
        for task in (TASKS[:1] if settings.quick else TASKS)
        for row in measure_differences(task, 48 if settings.quick else 320)
    ]


def measure_times(settings: Settings) -> list[Measurement]:
    """Time both ways on a stack of noise."""
    raw, grid = ((65, 624, 924), (65, 232, 344))
    if settings.quick:
        raw, grid = (8, 64, 64), (8, 24, 24)
    noise = np.random.default_rng(0).standard_normal(raw).astype(np.float32)
    timed = alternate(
        {
            "paper": partial(resize, noise, grid, "paper"),
            "fast": partial(resize, noise, grid, "fast"),
        },
        settings.rounds_or(3),
        "resizing",
    )
    compared = (timed["fast"].over(timed["paper"], "paper"),)
    case = f"{'x'.join(map(str, raw))} to {'x'.join(map(str, grid))}"
    return [
        Measurement(
            case,
            f"resize={way}",
            timed[way].spread,
            "s",
            comparisons=compared if way == "fast" else (),
        )
        for way in timed
    ]


def measure_differences(task: str, side: int) -> list[Measurement]:
    """Compare both ways on one field of generated cells, in units of its z-score."""
    light, target = simulate_field([0], (96, side, side), task, RAW_UM[2])
    rows = []
    for channel, volume in {"light": light, "target": target}.items():
        paper, fast = resample_both(volume[::3])
        rms = float(np.sqrt(np.mean((paper - fast) ** 2)))
        correlation = np.corrcoef(paper.ravel(), fast.ravel())[0, 1]
        rows.append(
            Measurement(
                f"{task}, {channel}",
                "fast minus paper",
                Spread.of([rms]),
                "rms, z-scores",
                note=f"r = {correlation:.3f}; standard deviations {fast.std():.2f} "
                f"and {paper.std():.2f}",
            )
        )
    return rows


def resample_both(
    raw: NDArray[np.uint16],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a z-scored channel on the model grid, resized in both ways."""
    normalized, _ = zscore(raw)
    paper = resample(normalized, RAW_UM, GRID_UM, "paper")
    fast = resample(normalized, RAW_UM, GRID_UM, "fast")
    return paper.astype(np.float64), fast.astype(np.float64)

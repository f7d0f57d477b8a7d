"""How the two ways of resizing differ: in time, in what they keep, in their noise.

Times ``paper`` and ``fast`` in turn on a stack of 65 x 624 x 924 voxels (the size of
the Allen collection's raw images), and compares their results on generated cells seen
with raw voxels of 0.324 x 0.108 x 0.108 um.

    python benchmarks/resizing.py
"""

import json
import os
import platform
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from continual_repmode.data.normalization import zscore
from continual_repmode.data.resampling import resample, resize
from continual_repmode.data.synthetic.field import simulate_field

RAW_SHAPE, GRID_SHAPE = (65, 624, 924), (65, 232, 344)
RAW_UM, GRID_UM = (0.324, 0.108, 0.108), (0.29, 0.29, 0.29)
ROUNDS = 3
RESULTS = Path(__file__).parent / "results"

Volume = NDArray[np.float32]


def seconds(volume: Volume) -> dict[str, list[float]]:
    """Time both methods in turn."""
    times: dict[str, list[float]] = {"paper": [], "fast": []}
    for _ in tqdm(range(ROUNDS), desc="timing", unit="round"):
        for method, taken in times.items():
            began = time.perf_counter()
            resize(volume, GRID_SHAPE, method)  # type: ignore[arg-type]
            taken.append(time.perf_counter() - began)
    return times


def differences(raw: NDArray[np.uint16]) -> dict[str, float]:
    """Compare both on one channel, in units of its z-score."""
    normalized, _ = zscore(raw)
    paper = resample(normalized, RAW_UM, GRID_UM, "paper").astype(np.float64)
    fast = resample(normalized, RAW_UM, GRID_UM, "fast").astype(np.float64)
    return {
        "rms_difference": float(np.sqrt(np.mean((paper - fast) ** 2))),
        "correlation": float(np.corrcoef(paper.ravel(), fast.ravel())[0, 1]),
        "std_paper": float(paper.std()),
        "std_fast": float(fast.std()),
    }


def main() -> None:
    noise = np.random.default_rng(0).standard_normal(RAW_SHAPE).astype(np.float32)
    times = seconds(noise)
    compared = {}
    for task in tqdm(("dna", "nuclear_envelope", "mitochondria"), desc="comparing"):
        light, target = simulate_field([0], (96, 320, 320), task, 0.108)
        compared[f"{task}, light"] = differences(light[::3])
        compared[f"{task}, target"] = differences(target[::3])
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"numpy": np.__version__, "torch": torch.__version__},
        "threads": torch.get_num_threads(),
        "seconds_65x624x924": {
            method: {"median": statistics.median(taken), "all": taken}
            for method, taken in times.items()
        },
        "paper_over_fast": statistics.median(
            slow / quick
            for slow, quick in zip(times["paper"], times["fast"], strict=True)
        ),
        "difference": compared,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "resizing.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

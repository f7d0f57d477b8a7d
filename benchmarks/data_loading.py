"""How fast, and in how much memory, training patches come from prepared volumes.

Writes prepared volumes of the size of the Allen collection (65 x 232 x 344 voxels,
float16) until they fill ``--gigabytes``, then, all in one run:

1. draws 32 x 128 x 128 patch pairs in two processes from volumes that the operating
   system has in memory, alternating with the same volumes as float32 arrays of the
   process, and reports pairs per second of both and their ratio;
2. reads one patch pair of every volume through two loader processes and records the
   largest resident memory of each, at a tenth of the volumes and at all of them.

    python benchmarks/data_loading.py --gigabytes 20 --folder prepared
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from continual_repmode.data.collection import Intensity, LoadedPair
from continual_repmode.data.dataset import PatchDataset
from continual_repmode.data.store import PreparedArray, PreparedStore

SHAPE = (65, 232, 344)
PATCH = (32, 128, 128)
NUM_PROCESSES = 2
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class StoredPair:
    """A pair of prepared volumes on disk."""

    signal: PreparedArray
    target: PreparedArray
    name: str = "pair"
    task: str = "dna"

    def load(self) -> LoadedPair:
        return LoadedPair(
            self.signal.open(),
            self.target.open(),
            self.signal.intensity,
            self.target.intensity,
        )


@dataclass(frozen=True)
class MemoryPair:
    """The same pair as float32 arrays of this process."""

    loaded: LoadedPair
    name: str = "pair"
    task: str = "dna"

    def load(self) -> LoadedPair:
        return self.loaded


def write_volumes(store: PreparedStore, num_pairs: int) -> list[StoredPair]:
    """Write what is not there yet; noise that differs from volume to volume."""
    noise = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float16)

    def stored(index: int, channel: str) -> PreparedArray:
        recipe = {"benchmark": "data_loading", "index": index, "channel": channel}
        shifted = np.roll(noise, index, axis=2)
        return store.find(recipe) or store.save(
            recipe, shifted, Intensity(0.0, 1.0), f"{channel} {index}"
        )

    return [
        StoredPair(stored(index, "signal"), stored(index, "target"))
        for index in tqdm(range(num_pairs), desc="writing volumes", unit="pair")
    ]


def loader_memory(pairs: list[StoredPair]) -> int:
    """Return the peak resident bytes of the larger loader, over one epoch."""
    loader = DataLoader(
        PatchDataset(pairs, PATCH),
        batch_size=8,
        num_workers=NUM_PROCESSES,
        multiprocessing_context="spawn",
        collate_fn=_peak_memory,
    )
    return max(tqdm(loader, desc=f"reading {len(pairs)} pairs", unit="batch"))


def _peak_memory(batch: list[object]) -> int:
    """Stand in for stacking the batch: tell the peak memory of the loader process."""
    del batch
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def pairs_per_second(pairs: list[StoredPair], in_memory: bool, draws: int) -> float:
    """Draw patch pairs in two processes at once; return their joint rate."""
    context = get_context("spawn")
    ready, rates = context.Barrier(NUM_PROCESSES), context.SimpleQueue()
    processes = [
        context.Process(target=_draw, args=(pairs, in_memory, draws, ready, rates))
        for _ in range(NUM_PROCESSES)
    ]
    for process in processes:
        process.start()
    total = sum(rates.get() for _ in processes)
    for process in processes:
        process.join()
    return total


def _draw(
    pairs: list[StoredPair], in_memory: bool, draws: int, ready: Barrier, rates: Any
) -> None:
    """Put the pairs per second of this process into ``rates``."""
    torch.set_num_threads(1)
    chosen = [_in_memory(pair) for pair in pairs] if in_memory else pairs
    dataset = PatchDataset(chosen, PATCH)
    for pair in pairs:  # warm: all of it in the operating system's memory
        pair.signal.path.read_bytes()
        pair.target.path.read_bytes()
    for index in range(len(pairs)):
        dataset[index]
    ready.wait()  # or one would still be loading while the other is timed
    began = time.perf_counter()
    for index in range(draws):
        dataset[index % len(pairs)]
    rates.put(draws / (time.perf_counter() - began))


def _in_memory(pair: StoredPair) -> MemoryPair:
    loaded = pair.load()
    return MemoryPair(
        LoadedPair(
            np.array(loaded.signal, np.float32),
            np.array(loaded.target, np.float32),
            loaded.signal_intensity,
            loaded.target_intensity,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=2000)
    chosen = parser.parse_args()

    pair_bytes = 2 * int(np.prod(SHAPE)) * 2
    num_pairs = max(20, round(chosen.gigabytes * 1e9 / pair_bytes))
    pairs = write_volumes(PreparedStore(chosen.folder), num_pairs)
    warm = pairs[:60]
    rates: dict[str, list[float]] = {"prepared": [], "in_memory": []}
    for _ in tqdm(range(chosen.rounds), desc="drawing patches", unit="round"):
        rates["prepared"].append(pairs_per_second(warm, False, chosen.draws))
        rates["in_memory"].append(pairs_per_second(warm, True, chosen.draws))
    memory = {
        "tenth": loader_memory(pairs[: num_pairs // 10]),
        "all": loader_memory(pairs),
    }
    ratios = [a / b for a, b in zip(rates["prepared"], rates["in_memory"], strict=True)]
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
        "volumes_gb": num_pairs * pair_bytes / 1e9,
        "loader_peak_mb": {name: value / 1e6 for name, value in memory.items()},
        "pairs_per_s": {name: _spread(values) for name, values in rates.items()},
        "prepared_over_in_memory": _spread(ratios),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "data_loading.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
    }


if __name__ == "__main__":
    sys.exit(main())

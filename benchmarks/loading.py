"""How fast, and in how much memory, training patches come from prepared volumes.

Volumes of the size of the Allen collection (65 x 232 x 344 voxels, float16) are
written until they fill ``--gigabytes``. Patch pairs of 32 x 128 x 128 are drawn in two
processes from volumes that the operating system has in memory, in turn with the same
volumes as float32 arrays of the process. Then one patch pair of every volume is read
through two loader processes, from a tenth of the volumes and from all.
"""

import time
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from threading import Barrier
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from benchmarks.harness import Settings, alternate
from benchmarks.records import Comparison, Measurement, Spread
from continual_repmode.data.collection import LoadedPair
from continual_repmode.data.dataset import PatchDataset
from continual_repmode.measuring import peak_resident_bytes
from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.store import PreparedArray, PreparedStore

SHAPE = (65, 232, 344)
PATCH = (32, 128, 128)
NUM_PROCESSES = 2
NUM_WARM = 60
PREPARED, IN_MEMORY = "prepared volumes on disk", "float32 arrays in memory"


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


def measure(settings: Settings) -> list[Measurement]:
    """Measure the rate of both and the memory of the loader processes."""
    pair_bytes = 2 * int(np.prod(SHAPE)) * 2
    num_pairs = round(settings.gigabytes * 1e9 / pair_bytes)
    num_pairs = 2 if settings.quick else max(20, num_pairs)
    pairs = write_volumes(PreparedStore(settings.folder), num_pairs)
    draws = 20 if settings.quick else 1000
    drawn = alternate(
        {
            what: partial(pairs_per_second, pairs[:NUM_WARM], what, draws)
            for what in (PREPARED, IN_MEMORY)
        },
        settings.rounds_or(3),
        "drawing patches",
        warm_up=0,
    )
    rates = {what: timed.results for what, timed in drawn.items()}
    case = f"{num_pairs * pair_bytes / 1e9:.3g} GB prepared"
    ratio = Spread.ratio(rates[PREPARED], rates[IN_MEMORY])
    over = (Comparison(f"rate over {IN_MEMORY}", ratio),)
    return [
        Measurement(
            f"{case}, two processes",
            what,
            Spread.of(rate),
            "patch pairs/s",
            comparisons=over if what == PREPARED else (),
        )
        for what, rate in rates.items()
    ] + measure_memory(pairs, case)


def measure_memory(pairs: list[StoredPair], case: str) -> list[Measurement]:
    """Show that loader processes take no more for more volumes."""
    shares = {"a tenth": pairs[: max(1, len(pairs) // 10)], "all": pairs}
    return [
        Measurement(
            case,
            f"loader process, {share} of the volumes",
            None,
            "",
            loader_memory(chosen),
            note="memory of the whole process",
        )
        for share, chosen in shares.items()
    ]


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


def loader_memory(pairs: list[StoredPair]) -> int | None:
    """Return the peak resident bytes of the larger loader, over one epoch."""
    loader = DataLoader(
        PatchDataset(pairs, PATCH),
        batch_size=8,
        num_workers=NUM_PROCESSES,
        multiprocessing_context="spawn",
        collate_fn=_peak_memory,
    )
    bar = tqdm(loader, desc=f"reading {len(pairs)} pairs", unit="batch")
    return max(bar) or None


def _peak_memory(batch: list[object]) -> int:
    """Stand in for stacking the batch: tell the peak memory of the loader process."""
    del batch
    return peak_resident_bytes() or 0


def pairs_per_second(pairs: list[StoredPair], what: str, draws: int) -> float:
    """Draw patch pairs in two processes at once; return their joint rate."""
    context = get_context("spawn")
    ready, rates = context.Barrier(NUM_PROCESSES), context.SimpleQueue()
    processes = [
        context.Process(
            target=_draw, args=(pairs, what == IN_MEMORY, draws, ready, rates)
        )
        for _ in range(NUM_PROCESSES)
    ]
    for process in processes:
        process.start()
    total = sum(float(rates.get()) for _ in processes)
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

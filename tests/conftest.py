"""Fixtures for the whole suite: one thread per process, and a tiny data source."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side
os.environ.setdefault("MPLBACKEND", "agg")

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from continual_repmode.data.collection import Intensity, LoadedPair

SHAPE = (8, 16, 16)


@dataclass(frozen=True)
class TinyPair:
    """A smooth random light volume whose target is a task-dependent contrast of it."""

    name: str
    task: str
    seed: int

    def load(self) -> LoadedPair:
        from scipy.ndimage import gaussian_filter

        rng = np.random.default_rng(self.seed)
        light = gaussian_filter(rng.standard_normal(SHAPE), 1.0)
        blurred = gaussian_filter(light, 1.5)
        target = {"dna": blurred, "nucleolus": light - blurred}.get(self.task, -light)
        return LoadedPair(
            _zscore(light), _zscore(target), Intensity(100.0, 5.0), Intensity(20.0, 2.0)
        )


@dataclass(frozen=True)
class TinyCollection:
    """A few pairs of every task, made in memory."""

    tasks: tuple[str, ...]
    voxel_size_um: tuple[float, float, float] = (0.29, 0.29, 0.29)

    def pairs(self, task: str, split: str) -> Sequence[TinyPair]:
        first = 1000 * self.tasks.index(task) + {"train": 0, "valid": 100}.get(
            split, 200
        )
        count = {"train": 4, "valid": 1, "test": 2}[split]
        return [TinyPair(f"{task}-{split}-{i}", task, first + i) for i in range(count)]


def _zscore(volume: np.ndarray) -> np.ndarray:
    return ((volume - volume.mean()) / volume.std()).astype(np.float32)


@pytest.fixture
def tiny_collection() -> TinyCollection:
    return TinyCollection(("dna", "nuclear_envelope", "nucleolus", "cell_membrane"))

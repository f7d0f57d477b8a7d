"""What less overlap of the prediction windows costs in error and saves in time.

A small network learns four structures from generated cells (once: the run is kept in
the folder of ``--folder``), then predicts new, larger fields with ever less overlap,
and with larger windows than the patches it was trained on.
"""

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.harness import Settings
from benchmarks.records import Comparison, Measurement, Spread
from continual_repmode.data.normalization import zscore
from continual_repmode.data.synthetic.field import simulate_field
from continual_repmode.inference.tiled import predict_volume
from continual_repmode.models import load_model, reparameterize
from continual_repmode.models.spatial import Size3

TASKS = ("actin_filament", "dna", "microtubule", "nuclear_envelope")
FIELD: Size3 = (40, 176, 176)
PATCH: Size3 = (16, 64, 64)
OVERLAPS = (0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0)
LARGER_WINDOWS: tuple[Size3, ...] = ((16, 128, 128), (16, 176, 176), (32, 64, 64))
PAPER_OVERLAP = 0.5
SEED = 1000
"""Of the fields to predict; training uses those of seed 0."""

SETTINGS = [
    "data.shape=[32,128,128]",
    "data.num_train=12",
    "data.num_valid=1",
    "data.num_test=2",
    f"data.patch_size={list(PATCH)}",
    "model.depth=3",
    "train.epochs=40",
    "train.validate_every=20",
]


@dataclass(frozen=True)
class Grid:
    """A window and how much of it the next one covers again."""

    window: Size3
    overlap: float


def measure(settings: Settings) -> list[Measurement]:
    """Measure every overlap, then larger windows."""
    net = load_model(trained_model(settings))
    fields = [make_field(index, task) for index, task in enumerate(TASKS)]
    grids = [Grid(PATCH, overlap) for overlap in OVERLAPS]
    grids += [Grid(window, 0.25) for window in LARGER_WINDOWS]
    errors: dict[Grid, list[float]] = {grid: [] for grid in grids}
    seconds: dict[Grid, list[float]] = {grid: [] for grid in grids}
    runs = list(itertools.product(zip(TASKS, fields, strict=True), grids))
    for (task, (signal, target)), grid in tqdm(runs, desc="overlap", unit="volume"):
        plain = reparameterize(net, task)
        began = time.perf_counter()
        predicted = predict_volume(
            plain, signal, window=grid.window, overlap=grid.overlap
        )
        seconds[grid].append(time.perf_counter() - began)
        errors[grid].append(float((predicted - target).square().mean()))
    reference = Grid(PATCH, PAPER_OVERLAP)
    return [
        Measurement(
            f"window {'x'.join(map(str, grid.window))}",
            f"overlap {grid.overlap:g}",
            Spread.of(seconds[grid]),
            "s",
            comparisons=tuple(
                _compare(
                    errors[grid], errors[reference], seconds[grid], seconds[reference]
                )
            ),
        )
        for grid in grids
    ]


def trained_model(settings: Settings) -> Path:
    """Return the file of the network, training it first if it is not there."""
    folder = settings.folder / "overlap-run"
    if not list(folder.glob("checkpoints/*.safetensors")):
        settings.folder.mkdir(parents=True, exist_ok=True)
        scenario = settings.folder / "four_structures.yaml"
        scenario.write_text(f"experiences: [[{', '.join(TASKS)}]]\n", encoding="utf-8")
        command = [sys.executable, "-m", "continual_repmode", "run"]
        command += [f"scenario={scenario}", *SETTINGS, f"hydra.run.dir={folder}"]
        subprocess.run(command, check=True)
    return max(folder.glob("checkpoints/*.safetensors"))


def make_field(index: int, task: str) -> tuple[Tensor, Tensor]:
    """Return new cells, light and one structure, each z-scored, shape (Z, Y, X)."""
    light, fluorescence = simulate_field([SEED, index], FIELD, task)
    return (
        torch.from_numpy(zscore(light)[0]),
        torch.from_numpy(zscore(fluorescence)[0]),
    )


def _compare(
    errors: list[float],
    paper_errors: list[float],
    seconds: list[float],
    paper_seconds: list[float],
) -> Iterator[Comparison]:
    """Compare with the paper's overlap at the same window as in training."""
    name = f"overlap {PAPER_OVERLAP:g}"
    yield Comparison(f"time over {name}", Spread.ratio(seconds, paper_seconds))
    change = Spread.of(
        100 * (error / paper - 1)
        for error, paper in zip(errors, paper_errors, strict=True)
    )
    yield Comparison(f"change of test MSE from {name}", change, "%")

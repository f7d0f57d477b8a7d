"""What less overlap of the prediction windows costs in error and saves in time.

A small network learns four structures from generated cells (once: the run is kept in
the folder of ``--folder``), then predicts new, larger fields with ever less overlap,
and with larger windows than the patches it was trained on.
"""

import itertools
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.harness import Settings
from benchmarks.records import Comparison, Measurement, Spread
from continual_repmode.inference.tiled import predict_volume
from continual_repmode.inference.windows import FAST_OVERLAP, Overlap
from continual_repmode.models import deploy, load_model
from continual_repmode.models.spatial import Size3
from continual_repmode.synthetic.field import simulate_field
from continual_repmode.volumes.normalization import zscore

PAPER_OVERLAP = 0.5
OVERLAPS: tuple[Overlap, ...] = (
    PAPER_OVERLAP,
    0.375,
    0.25,
    0.0,
    (0.5, 0.25, 0.25),
    (0.5, 0.125, 0.125),
)
FIELD_SEED = 1000
"""Of the fields to predict; training uses those of seed 0."""


@dataclass(frozen=True)
class Setup:
    """What is learned and predicted.

    Attributes
    ----------
    tasks : tuple of str
    field, patch : (int, int, int)
        Sides (Z, Y, X) of the volumes to predict and of the training patches.
    larger_windows : tuple of (int, int, int)
    training : tuple of str
        Further settings of ``continual-repmode run``.
    """

    tasks: tuple[str, ...]
    field: Size3
    patch: Size3
    larger_windows: tuple[Size3, ...]
    training: tuple[str, ...]


FULL = Setup(
    tasks=("actin_filament", "dna", "microtubule", "nuclear_envelope"),
    field=(40, 232, 344),
    patch=(16, 64, 64),
    larger_windows=((16, 128, 128), (16, 232, 344), (32, 64, 64)),
    training=(
        "data.shape=[32,128,128]",
        "data.num_train=12",
        "data.num_valid=1",
        "data.num_test=2",
        "model.depth=3",
        "train.epochs=40",
        "train.validate_every=20",
    ),
)

QUICK = Setup(
    tasks=("dna",),
    field=(16, 32, 32),
    patch=(8, 16, 16),
    larger_windows=((8, 32, 32),),
    training=(
        "data.shape=[8,16,16]",
        "data.num_train=1",
        "data.num_valid=1",
        "data.num_test=1",
        "model.width=2",
        "train.epochs=1",
    ),
)


@dataclass(frozen=True)
class Grid:
    """A window and how much of it the next one covers again."""

    window: Size3
    overlap: Overlap


def measure(settings: Settings) -> list[Measurement]:
    """Measure every overlap, then larger windows."""
    setup = QUICK if settings.quick else FULL
    net = load_model(trained_model(setup, settings.folder))
    fields = [make_field(setup, task) for task in setup.tasks]
    grids = [Grid(setup.patch, overlap) for overlap in OVERLAPS]
    grids += [Grid(window, FAST_OVERLAP) for window in setup.larger_windows]
    errors: dict[Grid, list[float]] = {grid: [] for grid in grids}
    seconds: dict[Grid, list[float]] = {grid: [] for grid in grids}
    volumes = zip(setup.tasks, fields, strict=True)
    runs = list(itertools.product(volumes, grids))
    for (task, (signal, target)), grid in tqdm(runs, desc="overlap", unit="volume"):
        plain = deploy(net, task)
        began = time.perf_counter()
        predicted = predict_volume(
            plain, signal, window=grid.window, overlap=grid.overlap
        )
        seconds[grid].append(time.perf_counter() - began)
        errors[grid].append(float((predicted - target).square().mean()))
    paper = Grid(setup.patch, PAPER_OVERLAP)
    return [
        Measurement(
            f"window {'x'.join(map(str, grid.window))}",
            f"overlap {grid.overlap}",
            Spread.of(seconds[grid]),
            "s",
            comparisons=(
                _time_over(seconds[grid], seconds[paper]),
                _change_of_error(errors[grid], errors[paper]),
            ),
        )
        for grid in grids
    ]


def trained_model(setup: Setup, folder: Path) -> Path:
    """Return the file of the network, training it first if it is not there."""
    run = folder / f"overlap-{'-'.join(setup.tasks)}"
    model = run / "checkpoints" / "experience_0.safetensors"
    if not model.exists():
        folder.mkdir(parents=True, exist_ok=True)
        scenario = folder / "overlap_scenario.yaml"
        tasks = ", ".join(setup.tasks)
        scenario.write_text(f"experiences: [[{tasks}]]\n", encoding="utf-8")
        command = [sys.executable, "-m", "continual_repmode", "run"]
        command += [f"scenario={scenario}", f"data.patch_size={list(setup.patch)}"]
        command += [*setup.training, f"hydra.run.dir={run}"]
        subprocess.run(command, check=True)
    return model


def make_field(setup: Setup, task: str) -> tuple[Tensor, Tensor]:
    """Return new cells, light and one structure, each z-scored, shape (Z, Y, X)."""
    seed = [FIELD_SEED, setup.tasks.index(task)]
    light, fluorescence = simulate_field(seed, setup.field, task)
    return (
        torch.from_numpy(zscore(light)[0]),
        torch.from_numpy(zscore(fluorescence)[0]),
    )


def _time_over(seconds: list[float], paper: list[float]) -> Comparison:
    ratio = Spread.ratio(seconds, paper)
    return Comparison(f"time over overlap {PAPER_OVERLAP:g}", ratio)


def _change_of_error(errors: list[float], paper: list[float]) -> Comparison:
    changes = (100 * (a / b - 1) for a, b in zip(errors, paper, strict=True))
    name = f"change of test MSE from overlap {PAPER_OVERLAP:g}"
    return Comparison(name, Spread.of(changes), "%")

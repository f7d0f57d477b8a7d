"""A lab: a small trained model, and a few pairs of two structures of its own."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import gaussian_filter

from continual_repmode.data.collection import LoadedPair
from continual_repmode.extending import ExtensionSettings
from continual_repmode.models import ModelCard, RepModeUNet, TaskCard, save_model
from continual_repmode.scenario import Scenario
from continual_repmode.training.strategy import RepMode
from continual_repmode.training.streams import build_benchmark
from continual_repmode.volumes.normalization import Intensity

OLD = ("dna", "nuclear_envelope")
SHAPE = (8, 24, 24)
SPLITS = ("train", "train", "train", "train", "valid", "test")
CARD = ModelCard(
    voxel_size_um=(0.29, 0.29, 0.29),
    resize="fast",
    order="zscore_first",
    window=(4, 16, 16),
    tasks={task: TaskCard(target_mean=100.0 + k) for k, task in enumerate(OLD)},
)


@dataclass(frozen=True)
class Lab:
    """Where the files of the lab are."""

    model: Path
    manifest: Path


def structure(task: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Light, and a fluorescence that is a contrast of it, in camera counts."""
    rng = np.random.default_rng(seed)
    light = gaussian_filter(rng.standard_normal(SHAPE), 1.0)
    blurred = gaussian_filter(light, 1.5)
    contrast = {"dna": blurred, "lysosome": light - blurred}.get(task, -light)
    volumes = (light / light.std(), contrast / contrast.std())
    return tuple((1000 + 100 * v).astype(np.uint16) for v in volumes)


@dataclass(frozen=True)
class OldPair:
    name: str
    task: str
    seed: int

    def load(self) -> LoadedPair:
        light, target = (
            ((v - v.mean()) / v.std()).astype(np.float32)
            for v in structure(self.task, self.seed)
        )
        return LoadedPair(light, target, Intensity(0.0, 1.0), Intensity(0.0, 1.0))


class OldData:
    """What the model was trained on; the lab does not have it."""

    tasks = OLD
    voxel_size_um = (0.29, 0.29, 0.29)

    def pairs(self, task, split):
        first = 100 * OLD.index(task) + {"train": 0, "valid": 50, "test": 60}[split]
        count = 4 if split == "train" else 1
        return [OldPair(f"{task}{first + k}", task, first + k) for k in range(count)]


def write_manifest(path: Path, tasks: dict[str, tuple[str, ...]]) -> Path:
    """Write one two-channel TIFF per image and a row for each."""
    rows = []
    for number, (task, splits) in enumerate(tasks.items()):
        for k, split in enumerate(splits):
            light, target = structure(task, 1000 * (number + 1) + k)
            file = path.parent / f"{task}{k}.ome.tif"
            tifffile.imwrite(
                file,
                np.stack([light, target]),
                metadata={
                    "axes": "CZYX",
                    "Channel": {"Name": ["Bright", "EGFP"]},
                    **{f"PhysicalSize{axis}": 0.29 for axis in "XYZ"},
                    **{f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"},
                },
            )
            row = {"task": task, "path": file.name, "channel_signal": "Bright"}
            rows.append({**row, "channel_target": "EGFP", "split": split})
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Lab:
    """Train a model of two structures for seconds; write pairs of two others."""
    folder = tmp_path_factory.mktemp("lab")
    stream = Scenario(name="old", experiences=[list(OLD)])
    benchmark = build_benchmark(stream, data=OldData(), patch_size=(4, 16, 16))
    torch.manual_seed(0)
    net = RepModeUNet(OLD, width=2, depth=1)
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    RepMode(
        model=net, optimizer=adam, train_mb_size=4, train_epochs=30, window=(4, 16, 16)
    ).train(benchmark.train_stream[0])
    save_model(net, folder / "base.safetensors", CARD)
    tasks = {"lysosome": SPLITS, "peroxisome": ("train", "train", "valid", "test")}
    return Lab(folder / "base.safetensors", write_manifest(folder / "lab.csv", tasks))


@pytest.fixture
def settings() -> Callable[..., ExtensionSettings]:
    """Settings for extensions of seconds."""

    def make(**chosen) -> ExtensionSettings:
        quick = {"epochs": 6, "image_curve": (), "device": "cpu"}
        return ExtensionSettings(**{**quick, **chosen})

    return make

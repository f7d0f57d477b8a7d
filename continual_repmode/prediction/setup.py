"""What all images of a call share, checked and complete."""

import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from continual_repmode.errors import UserError
from continual_repmode.inference.windows import WindowGrid, overlap_per_axis
from continual_repmode.metrics.further import choose_metrics
from continual_repmode.metrics.regression import Metric
from continual_repmode.prediction.bounds import default_memory, memory_left
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.runtime import resolve_device
from continual_repmode.trained_model import (
    TaskPredictor,
    TrainedModel,
    format_um,
)
from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.preparation import (
    VOXEL_RANGE_UM,
    Preparation,
    VoxelSizeUm,
    is_voxel_length,
)
from continual_repmode.volumes.volume import Size3

_GPU_BATCH_SIZE = 8
"""More windows at once are hardly faster; a CPU is fastest with one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """Model and options, with what follows from the two.

    Attributes
    ----------
    options : PredictOptions
        As given; what they leave to defaults is in the other attributes.
    intensities : mapping of str to Intensity
        Task -> what undoes the z-score; empty where z-scores are written.
    metrics : tuple of Metric
        To compare with targets by, beside those that are always there.
    """

    model: TrainedModel
    options: PredictOptions
    preparation: Preparation
    tasks: tuple[str, ...]
    intensities: Mapping[str, Intensity]
    window: Size3
    overlap: tuple[float, float, float]
    batch_size: int
    memory: int
    device: torch.device
    metrics: tuple[Metric, ...]

    @classmethod
    def of(cls, model: TrainedModel, options: PredictOptions) -> "Setup":
        """Check the options against the model.

        Raises
        ------
        UserError
            If a task is unknown, the model lacks what an option needs, or a value is
            out of range.
        """
        net = model.net
        if (net.in_channels, net.out_channels) != (1, 1):
            raise UserError(
                f"{model.name}: maps {net.in_channels} channels to {net.out_channels}; "
                "only networks from one channel to one can predict files"
            )
        model.check_finite()
        check_voxel_size("--voxel-size", options.voxel_size_um)
        check_voxel_size("--model-voxel-size", options.model_voxel_size_um)
        tasks = model.choose_tasks(options.tasks)
        device = resolve_device(options.device)
        model = model.with_voxel_size(options.model_voxel_size_um, "--model-voxel-size")
        window = options.window or model.window
        overlap = model.overlap if options.overlap is None else options.overlap
        WindowGrid.over((1, 1, 1), window, overlap)  # refuses what is out of range
        batch_size = options.batch_size
        if batch_size is None:
            batch_size = 1 if device.type == "cpu" else _GPU_BATCH_SIZE
        elif batch_size < 1:
            raise UserError(f"batch_size={batch_size}: use 1 or more")
        if options.memory is not None:
            memory_left(options.memory)
        to_target = options.intensity == "target"
        return cls(
            model=model,
            options=options,
            preparation=model.preparation(),
            tasks=tasks,
            intensities={t: model.target_intensity(t) for t in tasks if to_target},
            window=window,
            overlap=overlap_per_axis(overlap),
            batch_size=batch_size,
            memory=options.memory or default_memory(),
            device=device,
            metrics=choose_metrics(options.metrics, "--metrics "),
        )

    def __reduce__(self) -> Any:
        """Pickle the name of the model file, which each process reads once."""
        if self.model.path is None:
            return super().__reduce__()
        path, options = self.model.path, pickle.dumps(self.options)
        return _setup_again, (path, self.model.sha256, options)

    @property
    def blank(self) -> float:
        """What is written where nothing was recorded."""
        return math.nan if self.options.padding == "nan" else 0.0

    def predictor(self, task: str) -> TaskPredictor:
        """Return what predicts windows of a task."""
        return self.model.predictor(task, self.options.precision, self.device)


@lru_cache(maxsize=1)
def _setup_again(path: Path, sha256: str, options: bytes) -> Setup:
    """Read the model and check the options where the work is done."""
    model = TrainedModel.load(path)
    if model.sha256 != sha256:
        raise UserError(f"{path}: has changed since the command was given; repeat it")
    return Setup.of(model, pickle.loads(options))


def check_voxel_size(option: str, size_um: VoxelSizeUm | None) -> None:
    """Refuse what cannot be the voxel size of an image.

    Raises
    ------
    UserError
        Naming the option.
    """
    if size_um is not None and not all(map(is_voxel_length, size_um)):
        shortest, longest = VOXEL_RANGE_UM
        raise UserError(
            f"{option} {format_um(size_um)}: use micrometres, from {shortest:g} to "
            f"{longest:g}"
        )

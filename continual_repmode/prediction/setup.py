"""What all images of a call share, checked and complete."""

import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from continual_repmode.errors import UserError
from continual_repmode.inference.projection import Projection
from continual_repmode.inference.symmetries import NUM_SYMMETRIES, Ensemble
from continual_repmode.inference.tiled import Predict
from continual_repmode.inference.windows import WindowGrid, overlap_per_axis
from continual_repmode.metrics.further import choose_metrics
from continual_repmode.metrics.regression import Metric
from continual_repmode.prediction.bounds import default_memory, memory_left
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.precision import choose_precision
from continual_repmode.runtime import resolve_device
from continual_repmode.trained_model import Precision, TrainedModel, format_um
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
    """Model and options, with what follows from the two."""

    model: TrainedModel
    #: As given; what they leave to defaults is in the other attributes.
    options: PredictOptions
    #: Of the network.
    precision: Precision
    preparation: Preparation
    tasks: tuple[str, ...]
    #: Task -> what undoes the z-score; empty where z-scores are written.
    intensities: Mapping[str, Intensity]
    window: Size3
    overlap: tuple[float, float, float]
    batch_size: int
    memory: int
    device: torch.device
    #: To compare with targets by, beside those that are always there.
    metrics: tuple[Metric, ...]
    #: Whose predictions are averaged with those of ``model``.
    others: tuple[TrainedModel, ...] = ()

    @classmethod
    def of(cls, model: TrainedModel, options: PredictOptions) -> "Setup":
        """Check the options against the model.

        Raises UserError if a task is unknown, the model lacks what an option needs, or
            a value is out of range.
        """
        _check_network(model)
        check_voxel_size("--voxel-size", options.voxel_size_um)
        check_voxel_size("--model-voxel-size", options.model_voxel_size_um)
        tasks = model.choose_tasks(options.tasks)
        _check_kinds(model, tasks)
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
        others, precision = _others(model, options, tasks), options.precision
        if precision == "auto":
            precision = choose_precision((model, *others), tasks, device)
        to_target = options.intensity == "target"
        return cls(
            model=model,
            options=options,
            precision=precision,
            preparation=model.preparation(),
            tasks=tasks,
            intensities={t: model.target_intensity(t) for t in tasks if to_target},
            window=window,
            overlap=overlap_per_axis(overlap),
            batch_size=batch_size,
            memory=options.memory or default_memory(),
            device=device,
            metrics=choose_metrics(options.metrics, "--metrics "),
            others=others,
        )

    def __reduce__(self) -> Any:
        """Pickle the name of the model file, which each process reads once."""
        if self.model.path is None:
            return super().__reduce__()
        sha256 = tuple(model.sha256 for model in (self.model, *self.others))
        options = replace(self.options, precision=self.precision)
        return _setup_again, (self.model.path, sha256, pickle.dumps(options))

    @property
    def blank(self) -> float:
        """What is written where nothing was recorded."""
        return math.nan if self.options.padding == "nan" else 0.0

    @property
    def projection(self) -> Projection | None:
        """How the predicted stacks become planes; None where stacks are written."""
        return self.model.card.task(self.tasks[0]).target_kind

    @property
    def num_answers(self) -> int:
        """How often each window is predicted, by all models."""
        each = NUM_SYMMETRIES if self.options.uncertainty else 1
        return each * (1 + len(self.others))

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Those of an output: the tasks and, if asked for, the deviation of each."""
        deviations = self.tasks if self.options.uncertainty else ()
        return (*self.tasks, *map(deviation_name, deviations))

    def predictor(self, task: str) -> Predict:
        """Return what predicts windows of a task; a second channel is the deviation."""
        networks = [
            model.predictor(task, self.precision, self.device)
            for model in (self.model, *self.others)
        ]
        if self.num_answers == 1:
            return networks[0]
        spread = self.options.uncertainty
        return Ensemble(networks, symmetric=spread, deviation=spread)


def _check_kinds(model: TrainedModel, tasks: Sequence[str]) -> None:
    """Refuse tasks that cannot be in one file: stacks and projections."""
    first, *others = tasks
    kinds = {task: model.card.task(task).target_kind for task in tasks}
    for task in others:
        if kinds[task] != kinds[first]:
            raise UserError(
                f"tasks={','.join(tasks)}: {first} is predicted as "
                f"{kinds[first] or 'a stack'}, {task} as {kinds[task] or 'a stack'}; "
                "predict them into different folders (--tasks, --out)"
            )


def deviation_name(task: str) -> str:
    """Return what the channel of a task's uncertainty is called."""
    return f"{task}_std"


def _check_network(model: TrainedModel) -> None:
    net = model.net
    if (net.in_channels, net.out_channels) != (1, 1):
        raise UserError(
            f"{model.name}: maps {net.in_channels} channels to {net.out_channels}; "
            "only networks from one channel to one can predict files"
        )
    model.check_finite()


def _others(
    model: TrainedModel, options: PredictOptions, tasks: Sequence[str]
) -> tuple[TrainedModel, ...]:
    """Open the other models of an ensemble; refuse those that do not fit."""
    found = [model]
    for path in options.ensemble:
        other = TrainedModel.load(path).with_voxel_size(
            options.model_voxel_size_um, "--model-voxel-size"
        )
        _check_network(other)
        other.choose_tasks(tasks)
        if other.preparation() != model.preparation():
            raise UserError(
                f"--ensemble {path}: takes images prepared in another way (voxel size "
                f"{format_um(other.preparation().voxel_size_um)} um, "
                f"{other.preparation().order}) than {model.name}; predict with each"
            )
        if any(other.sha256 == known.sha256 for known in found):
            raise UserError(f"--ensemble {path}: is given twice; leave one out")
        found.append(other)
    return tuple(found[1:])


@lru_cache(maxsize=1)
def _setup_again(path: Path, sha256: tuple[str, ...], options: bytes) -> Setup:
    """Read the models and check the options where the work is done."""
    setup = Setup.of(TrainedModel.load(path), pickle.loads(options))
    models = (setup.model, *setup.others)
    if tuple(model.sha256 for model in models) != sha256:
        raise UserError(f"{path}: has changed since the command was given; repeat it")
    return setup


def check_voxel_size(option: str, size_um: VoxelSizeUm | None) -> None:
    """Refuse what cannot be the voxel size of an image.

    Raises UserError: naming the option.
    """
    if size_um is not None and not all(map(is_voxel_length, size_um)):
        shortest, longest = VOXEL_RANGE_UM
        raise UserError(
            f"{option} {format_um(size_um)}: use micrometres, from {shortest:g} to "
            f"{longest:g}"
        )

"""Predict an image that is in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.inference.projection import project_answers
from continual_repmode.inference.tiled import predict_volume
from continual_repmode.inference.windows import Overlap
from continual_repmode.prediction.options import Blank, PredictOptions, Unit
from continual_repmode.prediction.setup import Setup, deviation_name
from continual_repmode.trained_model import Precision, TrainedModel
from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.padding import hidden_voxels
from continual_repmode.volumes.preparation import VoxelSizeUm
from continual_repmode.volumes.resampling import resize
from continual_repmode.volumes.volume import Size3


def predict_array(
    model: str | Path | TrainedModel,
    volume: NDArray[Any],
    voxel_size_um: Sequence[float],
    tasks: str | Sequence[str] = "all",
    *,
    intensity: Unit = "zscore",
    padding: Blank = "nan",
    window: Size3 | None = None,
    overlap: Overlap | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: Precision | Literal["auto"] = "float32",
    model_voxel_size_um: VoxelSizeUm | None = None,
    uncertainty: bool = False,
    ensemble: Sequence[str | Path] = (),
    progress: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """Predict structures from a volume of transmitted light.

    Parameters
    ----------
    model : str, Path or TrainedModel
        A model file, or ``TrainedModel(net, card)`` for a network in memory.
    volume : ndarray, shape (Z, Y, X)
        Raw intensities of any integer or floating type.
    voxel_size_um : sequence of float
        Its voxel size (z, y, x) in micrometres.
    tasks : str or sequence of str
        Names, or ``"all"``.
    intensity, padding, window, overlap, batch_size, device, precision, uncertainty,
    ensemble, progress
        See :class:`continual_repmode.prediction.options.PredictOptions`.
    model_voxel_size_um : tuple of float, optional
        Voxel size (z, y, x) of the model grid, if the card lacks it.

    Returns
    -------
    dict of str to ndarray of float32, shape (Z, Y, X)
        Task -> prediction on the grid of ``volume``, as z-score unless asked otherwise;
        one plane of it (1, Y, X) where the task predicts projections; with
        ``uncertainty`` also the standard deviation, under ``<task>_std``.

    Raises
    ------
    UserError
        If the volume is no image, is constant or not finite, a task is unknown, an
        option is out of range, or nothing tells the voxel size of the model grid.
    """
    if volume.ndim != 3 or 0 in volume.shape:
        raise UserError(f"volume: expected shape (Z, Y, X), got {volume.shape}")
    chosen = PredictOptions(
        tasks=tasks if isinstance(tasks, str) else tuple(tasks),
        intensity=intensity,
        padding=padding,
        window=window,
        overlap=overlap,
        batch_size=batch_size,
        device=device,
        precision=precision,
        model_voxel_size_um=model_voxel_size_um,
        uncertainty=uncertainty,
        ensemble=tuple(ensemble),
        progress=progress,
    )
    setup = Setup.of(TrainedModel.opened(model), chosen)
    z, y, x = voxel_size_um
    found = hidden_voxels(volume)
    hidden = found and found[1]
    signal, _ = setup.preparation.apply(volume, (z, y, x), hidden)
    light = torch.from_numpy(np.ascontiguousarray(signal, np.float32))
    found_by = {t: _predict(setup, t, light, volume.shape) for t in setup.tasks}
    predicted = {task: volumes[0] for task, volumes in found_by.items()}
    for task, (_, *deviation) in found_by.items():
        predicted |= {deviation_name(task): volume for volume in deviation}
    if hidden is not None:
        if setup.projection is not None:
            hidden = np.logical_and.reduce(hidden, axis=0, keepdims=True)
        for prediction in predicted.values():
            prediction[hidden] = setup.blank
    return predicted


def _predict(
    setup: Setup, task: str, light: Tensor, shape: tuple[int, ...]
) -> list[NDArray[np.float32]]:
    """Predict one task on the grid of the volume, and its deviation if asked for."""
    predicted = predict_volume(
        setup.predictor(task),
        light,
        window=setup.window,
        overlap=setup.overlap,
        batch_size=setup.batch_size,
        device=setup.device,
        progress=setup.options.progress,
    ).reshape(-1, *light.shape)
    if setup.projection is not None:
        predicted = project_answers(predicted, setup.projection)
        light, shape = predicted[:1], (1, *shape[1:])
    known = predicted.masked_fill(predicted.isnan() & light.isnan(), 0).numpy()
    found = [resize(volume, shape, setup.preparation.resize) for volume in known]
    intensity = setup.intensities.get(task, Intensity(0.0, 1.0))
    found[0] = found[0] * np.float32(intensity.std) + np.float32(intensity.mean)
    found[1:] = [np.maximum(v, 0) * np.float32(intensity.std) for v in found[1:]]
    return found

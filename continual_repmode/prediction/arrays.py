"""Predict an image that is in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.inference.tiled import predict_volume
from continual_repmode.models.model_card import ModelCard
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.prediction.model import TrainedModel
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.setup import Setup
from continual_repmode.volumes.resampling import resize


def predict_array(
    net: TaskNetwork,
    card: ModelCard,
    volume: NDArray[Any],
    voxel_size_um: Sequence[float],
    tasks: str | Sequence[str] = "all",
    **options: Any,
) -> dict[str, NDArray[np.float32]]:
    """Predict structures from a volume of transmitted light.

    Parameters
    ----------
    net : TaskNetwork
        As :func:`continual_repmode.load_model` gives it.
    card : ModelCard
        As :func:`continual_repmode.models.model_file.read_card` gives it; it says how
        the volume comes onto the model grid.
    volume : ndarray, shape (Z, Y, X)
        Raw intensities of any integer or floating type.
    voxel_size_um : sequence of float
        Its voxel size (z, y, x) in micrometres.
    tasks : str or sequence of str
        Names, or ``"all"``.
    **options
        ``intensity``, ``window``, ``overlap``, ``batch_size``, ``device``,
        ``precision``, ``model_voxel_size_um`` and ``progress``; see
        :class:`continual_repmode.prediction.PredictOptions`.

    Returns
    -------
    dict of str to ndarray of float32, shape (Z, Y, X)
        Task -> prediction on the grid of ``volume``, as z-score unless asked otherwise.

    Raises
    ------
    UserError
        If the volume is no image, is constant or not finite, a task is unknown, or the
        card does not tell the voxel size of the model grid.
    """
    if volume.ndim != 3 or 0 in volume.shape:
        raise UserError(f"volume: expected shape (Z, Y, X), got {volume.shape}")
    chosen = PredictOptions(tasks=_names(tasks), **options)
    setup = Setup.of(TrainedModel(net, card, "network", ""), chosen)
    z, y, x = voxel_size_um
    signal, _ = setup.preparation.apply(volume, (z, y, x))
    light = torch.from_numpy(np.ascontiguousarray(signal, np.float32))
    return {task: _predict(setup, task, light, volume.shape) for task in setup.tasks}


def _predict(
    setup: Setup, task: str, light: Tensor, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Predict one task and bring it onto the grid of the volume."""
    predicted = predict_volume(
        setup.predictor(task),
        light,
        window=setup.window,
        overlap=setup.overlap,
        batch_size=setup.batch_size,
        device=setup.device,
        progress=setup.progress,
    )
    resized = resize(predicted.numpy(), shape, setup.preparation.resize)
    intensity = setup.intensities.get(task)
    if intensity is not None:
        resized = resized * np.float32(intensity.std) + np.float32(intensity.mean)
    return resized


def _names(tasks: str | Sequence[str]) -> str | tuple[str, ...]:
    return tasks if isinstance(tasks, str) else tuple(tasks)

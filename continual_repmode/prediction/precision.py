"""Whether a network may predict in bfloat16: ``--precision auto``."""

import logging
import math
from collections.abc import Sequence
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from continual_repmode.results import RunFolder
from continual_repmode.runtime import computes_bf16
from continual_repmode.synthetic import simulate_field
from continual_repmode.trained_model import Precision, TrainedModel

LARGEST_CHANGE = 0.005
"""Of the test MSE of a task, as a share of it."""

_PROBE = (16, 64, 64)
_OF_AN_IMAGE = (32, 128, 128)
_TASK = "dna"  # its light shows a whole cell, as that of any other structure

_log = logging.getLogger(__name__)


def choose_precision(
    models: Sequence[TrainedModel], tasks: Sequence[str], device: torch.device
) -> Precision:
    """Return bfloat16 where it is fast and hardly changes what the models reach.

    Fast: the device has instructions for it, which is asked of the device. Hardly
    changed: by less than 0.5 % of the test MSE, for every task. Where a model lies in
    the folder of its run, with a test image of the task (``samples/``), the middle of
    that image is predicted in both precisions and compared with its target. Elsewhere,
    a small field of generated cells is, and the mean squared distance of the two must
    be below that share of the test MSE in the model file: an error that does not depend
    on that of the network adds so much to it. The choice depends on models, tasks, test
    images and processor only, and is logged.
    """
    if not computes_bf16(device):
        return _chosen("float32", f"{device} has no instructions for bfloat16")
    worst, worst_change = "", 0.0
    for model in models:
        for task in tasks:
            change, on = _change_on_test_image(model, task, device), "a test image"
            if change is None:
                mse = (model.card.task(task).metrics or {}).get("mse")
                if not mse:
                    return _chosen("float32", f"{model.name} has no test MSE of {task}")
                change = _distance(model, task, device) / mse
                on = "generated cells, as the model has no samples/ beside it"
            if change >= worst_change:
                worst_change = change
                worst = f"{task} by about {change:.2%} (on {on})"
    if worst_change < LARGEST_CHANGE:
        return _chosen("bfloat16", f"it changes the test MSE of {worst}")
    most = f"more than {LARGEST_CHANGE:.1%}"
    return _chosen("float32", f"bfloat16 changes the test MSE of {worst}, {most}")


def _change_on_test_image(
    model: TrainedModel, task: str, device: torch.device
) -> float | None:
    """Return by what share of it the MSE changes on the image that a run has kept.

    None where the model lies in no folder of a run, or that has no such image.
    """
    if model.path is None or model.card.task(task).target_kind is not None:
        return None
    for folder in (model.path.parent, model.path.parent.parent):
        try:
            with np.load(RunFolder(folder).samples / f"{task}.npz") as content:
                signal, target = (
                    _middle(model, content[name]) for name in ("signal", "target")
                )
        except (OSError, EOFError, KeyError, ValueError, BadZipFile):
            continue
        recorded = np.isfinite(target)
        if signal.shape == target.shape and recorded.any():
            exact, short = (
                np.square(volume[0, 0].cpu().numpy() - target)[recorded].mean()
                for volume in _in_both(model, task, signal, device)
            )
            return float(abs(short / exact - 1)) if exact else math.inf
    return None


def _middle(model: TrainedModel, volume: NDArray[Any]) -> NDArray[Any]:
    """Return the middle of a volume (Z, Y, X) as float32, of sides the network takes.

    Raises ValueError if it has another number of axes.
    """
    parts = []
    for size, most, window, part in zip(
        volume.shape, _OF_AN_IMAGE, model.window, model.net.divisor, strict=True
    ):
        side = min(size, most, window) // part * part
        parts.append(slice((size - side) // 2, (size + side) // 2))
    return np.asarray(volume[tuple(parts)], np.float32)


def _distance(model: TrainedModel, task: str, device: torch.device) -> float:
    """Return the mean squared distance of the predictions of generated cells."""
    z, y, x = (
        -(-min(most, side) // part) * part
        for most, side, part in zip(
            _PROBE, model.window, model.net.divisor, strict=True
        )
    )
    light, _ = simulate_field([0], (z, y, x), _TASK)
    signal = (light - light.mean()) / light.std()
    exact, short = _in_both(model, task, signal, device)
    return float((exact - short).square().mean())


def _in_both(
    model: TrainedModel, task: str, signal: NDArray[Any], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Predict a volume (Z, Y, X) in float32 and in bfloat16, shape (1, 1, Z, Y, X)."""
    window = torch.from_numpy(signal).to(device, torch.float32)[None, None]
    exact, short = (
        model.predictor(task, precision, device)(window)
        for precision in ("float32", "bfloat16")
    )
    return exact, short


def _chosen(precision: Precision, why: str) -> Precision:
    _log.warning("note: --precision auto: %s; %s", precision, why)
    return precision

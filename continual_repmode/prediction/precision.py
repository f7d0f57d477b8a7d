"""Whether a network may predict in bfloat16: ``--precision auto``."""

import logging
from collections.abc import Sequence

import torch

from continual_repmode.runtime import computes_bf16
from continual_repmode.synthetic import simulate_field
from continual_repmode.trained_model import Precision, TrainedModel

LARGEST_CHANGE = 0.005
"""Of the test MSE of a task, as a share of it."""

_PROBE = (16, 64, 64)
_TASK = "dna"  # its light shows a whole cell, as that of any other structure

_log = logging.getLogger(__name__)


def choose_precision(
    models: Sequence[TrainedModel], tasks: Sequence[str], device: torch.device
) -> Precision:
    """Return bfloat16 where it is fast and hardly changes what the models reach.

    Fast: the device has instructions for it, which is asked of the device. Hardly
    changed: a small field of generated cells is predicted in both precisions; their
    mean squared distance must be below 0.5 % of the test MSE in the model file, for
    every task. An error that does not depend on that of the network adds so much to it.
    The choice depends on models, tasks and processor only, and is logged.
    """
    if not computes_bf16(device):
        return _chosen("float32", f"{device} has no instructions for bfloat16")
    worst, worst_change = "", 0.0
    for model in models:
        for task in tasks:
            mse = (model.card.task(task).metrics or {}).get("mse")
            if not mse:
                return _chosen("float32", f"{model.name} has no test MSE of {task}")
            change = _distance(model, task, device) / mse
            if change >= worst_change:
                worst, worst_change = task, change
    said = f"changes the test MSE of {worst} by about {worst_change:.2%}"
    if worst_change < LARGEST_CHANGE:
        return _chosen("bfloat16", f"it {said}")
    return _chosen("float32", f"bfloat16 {said}, more than {LARGEST_CHANGE:.1%}")


def _distance(model: TrainedModel, task: str, device: torch.device) -> float:
    """Return the mean squared distance of the predictions in both precisions."""
    z, y, x = (
        -(-min(most, side) // part) * part
        for most, side, part in zip(
            _PROBE, model.window, model.net.divisor, strict=True
        )
    )
    light, _ = simulate_field([0], (z, y, x), _TASK)
    signal = torch.from_numpy((light - light.mean()) / light.std())
    window = signal.to(device, torch.float32)[None, None]
    exact, short = (
        model.predictor(task, precision, device)(window)
        for precision in ("float32", "bfloat16")
    )
    return float((exact - short).square().mean())


def _chosen(precision: Precision, why: str) -> Precision:
    _log.warning("note: --precision auto: %s; %s", precision, why)
    return precision

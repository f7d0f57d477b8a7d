"""MONAI's sliding windows; apart, because importing MONAI takes seconds."""

from collections.abc import Callable
from functools import partial

import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor

from benchmarks.networks import (
    TASK,
    VolumeCase,
    build_calibrated,
    light_volume,
    with_autocast,
)
from continual_repmode.inference.windows import FAST_OVERLAP
from continual_repmode.models.reparameterize import reparameterize
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.volumes.volume import DEFAULT_WINDOW


def prepare_monai(case: VolumeCase) -> Callable[[], Tensor]:
    """Build a network and return what predicts the volume, shape (Z, Y, X)."""
    net = build_calibrated(case.width, case.device)
    return partial(predict_monai, net, light_volume(case.shape).to(case.device))


@torch.no_grad()
def predict_monai(net: RepModeUNet, volume: Tensor) -> Tensor:
    """Do what our predictor does, at its window, overlap and weights."""
    plain = reparameterize(net, TASK)
    sides = zip(DEFAULT_WINDOW, volume.shape, strict=True)
    predicted = sliding_window_inference(
        volume[None, None],
        roi_size=[min(side) for side in sides],
        sw_batch_size=1,
        predictor=with_autocast(plain, volume.device),
        overlap=FAST_OVERLAP,
        mode="gaussian",
        sigma_scale=1 / 8,
    )
    assert isinstance(predicted, Tensor)
    return predicted[0, 0]

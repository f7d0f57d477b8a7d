"""Networks with random parameters, made to predict something, and what they predict."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.records import Comparison, Spread
from benchmarks.steps import autocast_of
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.models.spatial import Size3
from continual_repmode.models.task_norm import TaskNorm
from continual_repmode.synthetic.field import simulate_field
from continual_repmode.tasks import TASKS
from continual_repmode.volumes.normalization import zscore

CALIBRATION_PATCH = (16, 32, 32)
TASK = TASKS.index("dna")


@dataclass(frozen=True)
class VolumeCase:
    """A network and the volume that it predicts.

    Attributes
    ----------
    width : int
    shape : (int, int, int)
        Sides (Z, Y, X) in voxels.
    device : torch.device
    """

    width: int
    shape: Size3
    device: torch.device

    def __str__(self) -> str:
        return f"width {self.width}, {'x'.join(map(str, self.shape))}"


def light_volume(shape: Size3) -> Tensor:
    """Return generated cells in transmitted light, z-scored, shape (Z, Y, X)."""
    light, _ = simulate_field([0], shape, "dna")
    return torch.from_numpy(zscore(light)[0])


def build_calibrated(width: int, device: torch.device) -> RepModeUNet:
    """Build a network of twelve tasks whose normalization fits its activations.

    Random parameters alone leave the running statistics at 0 and 1: activations would
    fade from layer to layer. A batch of generated cells, one patch per task, sets them.
    """
    torch.manual_seed(0)
    net = RepModeUNet(TASKS, width, depth=4)
    calibrate(net)
    return net.to(device).eval()


@torch.no_grad()
def calibrate(net: RepModeUNet) -> None:
    """Set the running statistics to those of one batch, a patch of every task."""
    num_tasks = len(net.task_names)
    z, y, x = CALIBRATION_PATCH
    field = light_volume((z, y, x * num_tasks))
    patches = torch.stack(field.chunk(num_tasks, dim=2))[:, None]
    norms = [module for module in net.modules() if isinstance(module, TaskNorm)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    net.train()
    net(patches, torch.arange(num_tasks))
    net.eval()
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


def with_autocast(
    predict: Callable[[Tensor], Tensor], device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Run a network in bfloat16 on CUDA; it returns float32 anywhere."""
    dtype = autocast_of(device)

    def run(windows: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            return predict(windows).float()

    return run


def compare_results(result: Tensor, reference: Tensor, name: str) -> list[Comparison]:
    """Return rms and largest deviation in percent of the reference's deviation."""
    difference = (result - reference).double().abs()
    unit = 100 / float(reference.double().std())
    return [
        Comparison(
            f"{kind} deviation from {name}", Spread.of([value * unit]), "% of std"
        )
        for kind, value in {
            "rms": float(difference.square().mean().sqrt()),
            "largest": float(difference.max()),
        }.items()
    ]

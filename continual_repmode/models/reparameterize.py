"""Turn one task of a RepMode network into a plain network.

This is structural re-parameterization: the experts of each block are merged for the
task (GatRep, Sec. 3.4) and batch
normalization is folded into the convolution before it, so what is left is an ordinary
U-Net of ``nn.Conv3d`` and ``nn.ConvTranspose3d`` that predicts the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import ConvUnit, UnitSpec, build_conv
from continual_repmode.models.mode_conv import MoDEBlock
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.models.task_norm import TaskNorm
from continual_repmode.models.unet3d import UNet3d


@torch.no_grad()
def reparameterize(net: RepModeUNet, task: str | int) -> UNet3d:
    """Return a plain U-Net that equals the network for one task.

    Parameters
    ----------
    net : RepModeUNet
        Is left as it is and shares no storage with the result.
    task : str or int
        Name or label of the task.

    Returns
    -------
    UNet3d
        In evaluation mode; ``plain(signal)`` equals ``net(signal, task_label)`` in
        evaluation mode up to rounding. Each convolution carries a bias where batch
        normalization was folded in, that is everywhere but in the output.

    Raises
    ------
    UserError
        If the network does not know the task, or its kernels depend on the image.
    """
    task = net.task_name(task)
    if net.gate_input == "features":
        raise UserError(
            f"task {task!r}: with gate_input 'features' every image has kernels of its "
            "own, which no plain network has; use deploy() or gate_input 'task'"
        )
    units = dict(net.unet.units())

    def fold(spec: UnitSpec) -> ConvUnit:
        unit = units[spec.name]
        assert isinstance(unit, MoDEBlock | ConvUnit)
        if isinstance(unit, MoDEBlock):
            kernel = unit.conv.merged_kernel(task)
        else:
            kernel = unit.conv.weight
        with torch.device("meta"):  # the values come from the network: draw none
            conv = build_conv(spec, kernel.shape[-1], bias=unit.norm is not None)
        conv = conv.to(kernel.dtype).to_empty(device=kernel.device)
        if unit.norm is None:
            conv.weight.copy_(kernel)
        else:
            _fold_norm(conv, kernel, unit.norm.of(task))
        return ConvUnit(conv, None, activate=unit.norm is not None)

    unet = net.unet
    return UNet3d(
        unet.width, unet.depth, unet.in_channels, unet.out_channels, unet.axes, fold
    ).eval()


class MergedTasks(nn.Module):
    """Several tasks of a network, each as a plain U-Net: many structures at once.

    Parameters
    ----------
    net : RepModeUNet
        Is left as it is.
    tasks : sequence of str or int, optional
        Names or labels of the K tasks; all of them by default.

    Attributes
    ----------
    networks : nn.ModuleList of UNet3d
        One per task; each takes the memory of a plain network.
    """

    def __init__(
        self, net: RepModeUNet, tasks: Sequence[str | int] | None = None
    ) -> None:
        super().__init__()
        chosen = net.task_names if tasks is None else tasks
        self.networks = nn.ModuleList(reparameterize(net, task) for task in chosen)
        self.eval()

    def forward(self, signal: Tensor) -> Tensor:
        """Map a signal (B, C_in, Z, Y, X) to predictions (B, K * C_out, Z, Y, X)."""
        return torch.cat([network(signal) for network in self.networks], dim=1)


def _fold_norm(
    conv: nn.Conv3d | nn.ConvTranspose3d, kernel: Tensor, norm: TaskNorm
) -> None:
    """Fill a convolution to equal ``norm`` (evaluation mode) after ``kernel``."""
    weight, bias, mean, variance = (t.double() for t in norm.effective_state().values())
    scale = weight / (variance + norm.eps).sqrt()
    out_axis = 1 if isinstance(conv, nn.ConvTranspose3d) else 0
    shape = [-1 if axis == out_axis else 1 for axis in range(5)]
    assert conv.bias is not None
    conv.weight.copy_(kernel.double() * scale.view(shape))
    conv.bias.copy_(bias - mean * scale)

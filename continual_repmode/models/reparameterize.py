"""Turn one task of a network into a plain network.

This is structural re-parameterization: the experts of each block are merged for the
task (GatRep, Sec. 3.4), or its parallel adapters with what they adapt, and batch
normalization is folded into the convolution before it, so what is left is an ordinary
U-Net of ``nn.Conv3d`` and ``nn.ConvTranspose3d`` that predicts the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import ConvUnit, UnitSpec, build_conv
from continual_repmode.models.methods.adaptable import AdaptableNetwork
from continual_repmode.models.mode_conv import MoDEBlock
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.models.task_norm import TaskNorm
from continual_repmode.models.unet3d import UNet3d


@torch.no_grad()
def reparameterize(net: RepModeUNet | AdaptableNetwork, task: str | int) -> UNet3d:
    """Return a plain U-Net that equals the network for one task.

    Parameters
    ----------
    net : RepModeUNet or AdaptableNetwork
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
        If the network does not know the task, or its kernels depend on the image, or
        the task has adapters that equal no kernel.
    """
    task = net.task_name(task)
    if isinstance(net, RepModeUNet):
        layers = _merged_layers(net, task)
    else:
        layers = _adapted_layers(net, task)

    def fold(spec: UnitSpec) -> ConvUnit:
        layer = layers[spec.name]
        biased = layer.norm is not None or layer.bias is not None
        with torch.device("meta"):  # the values come from the network: draw none
            conv = build_conv(spec, layer.kernel.shape[-1], bias=biased)
        conv = conv.to(layer.kernel.dtype).to_empty(device=layer.kernel.device)
        _fill(conv, layer)
        return ConvUnit(conv, None, activate=layer.norm is not None)

    return net.build_unet(fold).eval()


@dataclass(frozen=True)
class _Layer:
    """A convolution of one task, and the normalization after it."""

    kernel: Tensor
    bias: Tensor | None
    norm: TaskNorm | None


def _merged_layers(net: RepModeUNet, task: str) -> dict[str, _Layer]:
    if net.gate_input == "features":
        raise UserError(
            f"task {task!r}: with gate_input 'features' every image has kernels of its "
            "own, which no plain network has; use deploy() or gate_input 'task'"
        )
    layers = {}
    for name, unit in net.unet.units():
        assert isinstance(unit, MoDEBlock | ConvUnit)
        if isinstance(unit, MoDEBlock):
            kernel = unit.conv.merged_kernel(task)
        else:
            kernel = unit.kernel_of(task)
        norm = None if unit.norm is None else unit.norm.of(task)
        layers[name] = _Layer(kernel, None, norm)
    return layers


def _adapted_layers(net: AdaptableNetwork, task: str) -> dict[str, _Layer]:
    layers = {}
    for name, unit in net.units_of(task).items():
        norm = None if unit.norm is None else unit.norm.of(task)
        layers[name] = _Layer(unit.kernel_of(task), unit.conv_of(task).bias, norm)
    output = net.output_of(task)
    return layers | {"output": _Layer(output.weight, output.bias, None)}


class MergedTasks(nn.Module):
    """Several tasks of a network, each as a plain U-Net: many structures at once.

    ``net``: is left as it is.
    ``tasks``: names or labels of the K tasks; all of them by default.
    ``networks``: one per task; each takes the memory of a plain network.
    """

    def __init__(
        self,
        net: RepModeUNet | AdaptableNetwork,
        tasks: Sequence[str | int] | None = None,
    ) -> None:
        super().__init__()
        chosen = net.task_names if tasks is None else tasks
        self.networks = nn.ModuleList(reparameterize(net, task) for task in chosen)
        self.eval()

    def forward(self, signal: Tensor) -> Tensor:
        """Map a signal (B, C_in, Z, Y, X) to predictions (B, K * C_out, Z, Y, X)."""
        return torch.cat([network(signal) for network in self.networks], dim=1)


def _fill(conv: nn.Conv3d | nn.ConvTranspose3d, layer: _Layer) -> None:
    """Give a convolution the values that make it equal a layer in evaluation mode."""
    if layer.norm is None:
        conv.weight.copy_(layer.kernel)
        if conv.bias is not None and layer.bias is not None:
            conv.bias.copy_(layer.bias)
        return
    weight, bias, mean, variance = (
        tensor.double() for tensor in layer.norm.effective_state().values()
    )
    scale = weight / (variance + layer.norm.eps).sqrt()
    out_axis = 1 if isinstance(conv, nn.ConvTranspose3d) else 0
    shape = [-1 if axis == out_axis else 1 for axis in range(5)]
    assert conv.bias is not None
    conv.weight.copy_(layer.kernel.double() * scale.view(shape))
    if layer.bias is not None:
        mean = mean - layer.bias.double()
    conv.bias.copy_(bias - mean * scale)

"""DoDNet: the output head is generated per sample (Zhang et al., CVPR 2021).

"DoDNet: Learning to Segment Multi-Organ and Tumors from Multiple Partially Labeled
Datasets". Encoder and decoder do not know the task; a controller makes the kernels of a
tiny head from the bottleneck features and the task. Our adaptation: the shared
backbone, whose features follow an activation and so go to the controller and the head
as they are (a normalization and an activation precede both in the published network),
one output channel instead of two, and no output activation.

The kernels depend on the patch, so in a large volume each window has its own head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import (
    ConvUnit,
    UnitSpec,
    build_conv,
    plain_unit,
)
from continual_repmode.models.methods.task_linear import TaskLinear
from continual_repmode.models.model_config import KernelConfig
from continual_repmode.models.spatial import crop_like
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_network import Shape, TaskNetwork
from continual_repmode.tasks import TASKS

HIDDEN = 8
"""Channels of the head (the method's own choice, at any width of the U-Net)."""


def hidden_output(spec: UnitSpec) -> ConvUnit:
    """Build the output unit of a U-Net that ends in :data:`HIDDEN` channels.

    It is a 1x1x1 convolution with bias, which takes the place of the output convolution
    to the prediction.
    """
    return ConvUnit(build_conv(spec, kernel_size=1, bias=True), None, activate=False)


class DynamicHead(nn.Module):
    """Three 1x1x1 convolutions generated from the content and the task of a sample.

    A linear controller on ``[GAP(context) ; one-hot(task)]`` makes the values of
    convolutions of 8, 8 and C_out channels with biases, ReLU between them and nothing
    after the last: 153 values for one output channel, all weights first, then all
    biases.

    ``context_channels``: channels C of the features that the controller sees, those of
        the bottleneck.
    """

    def __init__(
        self, context_channels: int, tasks: Sequence[str], out_channels: int
    ) -> None:
        super().__init__()
        if out_channels < 1:
            raise UserError(f"out_channels {out_channels}: use a positive number")
        channels = (HIDDEN, HIDDEN, out_channels)
        self._sizes = [HIDDEN * outputs for outputs in channels] + list(channels)
        self.controller = TaskLinear(context_channels, sum(self._sizes), tasks)

    def forward(self, hidden: Tensor, context: Tensor, groups: TaskGroups) -> Tensor:
        """Predict from the hidden features of each sample.

        ``hidden``: (B, 8, Z, Y, X).
        ``context``: (B, C, Z', Y', X').
        ``groups``: the samples are sorted accordingly.
        Returns: (B, C_out, Z, Y, X).
        """
        values = self.controller(context.mean(dim=(2, 3, 4)), groups)
        parts = values.split(self._sizes, dim=1)
        weights, biases = parts[:3], parts[3:]
        # Convolutions of one voxel, each sample with its own kernel, are one batched
        # matrix product over the voxels.
        voxels = hidden.flatten(start_dim=2)
        for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            kernel = weight.unflatten(1, (-1, HIDDEN))
            voxels = torch.baddbmm(bias.unsqueeze(2), kernel, voxels)
            if index < 2:
                voxels = F.relu_(voxels)
        return voxels.view(len(hidden), voxels.shape[1], *hidden.shape[2:])


class DoDNet(TaskNetwork):
    """A plain U-Net with a generated head.

    ``task_names``: names of the base tasks; a task label is a position in it.
    ``kernel_size``: odd extent of the kernels.
    ``**shape``: ``width``, ``depth``, ``in_channels``, ``out_channels`` and ``axes``;
        see :class:`~continual_repmode.models.task_network.Shape`.
    """

    owned = ("column",)

    def __init__(
        self,
        task_names: Sequence[str] = TASKS,
        *,
        kernel_size: int = 5,
        **shape: Unpack[Shape],
    ) -> None:
        super().__init__(task_names, {"kernel_size": kernel_size}, **shape)
        self._kernel_size = kernel_size
        self.unet = self.build_unet(self._unit, HIDDEN)
        self._add_gates()
        self.head = DynamicHead(
            self.width << self.depth, self.task_names, self.out_channels
        )
        self.to(memory_format=torch.channels_last_3d)

    def run(self, signal: Tensor, groups: TaskGroups) -> Tensor:
        """Predict a batch that is sorted by task."""
        context, skips = self.unet.encode(self.unet.prepare(signal), groups)
        skips = self._gated(skips, groups)
        hidden = self.unet.output(self.unet.decode(context, skips, groups), groups)
        return crop_like(self.head(hidden, context, groups), signal)

    def _grow(self, name: str) -> None:  # type: ignore[override]  # has no options
        """Add one column of the controller and of each gate."""
        for module in self.modules():
            if isinstance(module, TaskLinear):
                module.add_task(name)

    def _add_gates(self) -> None:
        """Add parts by which the task acts before the head; here none."""

    def _gated(self, skips: list[Tensor], groups: TaskGroups) -> list[Tensor]:
        return skips

    def _unit(self, spec: UnitSpec) -> nn.Module:
        if spec.role == "output":
            return hidden_output(spec)
        return plain_unit(spec, self._kernel_size)


@dataclass(kw_only=True, slots=True)
class DoDNetConfig(KernelConfig):
    """The image and the task together generate the head."""

    network: ClassVar[type[TaskNetwork]] = DoDNet

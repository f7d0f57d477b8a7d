"""DoDNet's output head, whose kernels are generated for each sample."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import ConvUnit, UnitSpec, build_conv
from continual_repmode.models.methods.task_linear import TaskLinear
from continual_repmode.models.task_groups import TaskGroups

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

"""The convolutions of the U-Net as *units*: what each place asks for, and plain ones.

A unit is a module that is called as ``unit(features, groups)`` on a batch sorted by
task.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.spatial import Axes, per_axis
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_norm import TaskNorm

Role = Literal["conv", "down", "up", "output"]


@dataclass(frozen=True)
class UnitSpec:
    """What the topology needs at one place.

    Attributes
    ----------
    name : str
        Place in the network, such as ``encoder1.conv1`` or ``output``.
    role : {"conv", "down", "up", "output"}
        ``conv`` keeps the resolution, ``down`` halves it, ``up`` doubles it, ``output``
        makes the prediction (no normalization, no activation).
    in_channels, out_channels : int
    axes : {"ZYX", "YX"}
        Axes that kernels and strides extend over.
    """

    name: str
    role: Role
    in_channels: int
    out_channels: int
    axes: Axes


UnitFactory = Callable[[UnitSpec], nn.Module]
"""Builds the module for one place; it is called as ``module(features, groups)``."""


class ConvUnit(nn.Module):
    """An ordinary convolution, then normalization and ReLU where wanted.

    Parameters
    ----------
    conv : nn.Conv3d or nn.ConvTranspose3d
    norm : TaskNorm or None
    activate : bool
        Whether a ReLU follows.
    """

    def __init__(
        self,
        conv: nn.Conv3d | nn.ConvTranspose3d,
        norm: TaskNorm | None,
        *,
        activate: bool,
    ) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.activate = activate

    def forward(self, features: Tensor, groups: TaskGroups | None = None) -> Tensor:
        """Map features (B, I, Z, Y, X), sorted by task, to (B, O, Z', Y', X')."""
        features = self.conv(features)
        if self.norm is not None:
            features = self.norm(features, groups)
        return F.relu_(features) if self.activate else features


def build_conv(
    spec: UnitSpec, kernel_size: int, *, bias: bool = False
) -> nn.Conv3d | nn.ConvTranspose3d:
    """Build the ordinary convolution for a place.

    Parameters
    ----------
    spec : UnitSpec
    kernel_size : int
        Odd extent of ``conv`` and ``output`` kernels ('same' zero padding); sampling
        kernels always have extent and stride 2.
    bias : bool
    """
    channels = (spec.in_channels, spec.out_channels)
    two = per_axis(2, spec.axes)
    match spec.role:
        case "down":
            return nn.Conv3d(*channels, two, stride=two, bias=bias)
        case "up":
            return nn.ConvTranspose3d(*channels, two, stride=two, bias=bias)
        case "conv" | "output":
            if kernel_size < 1 or kernel_size % 2 == 0:
                raise UserError(f"kernel_size {kernel_size}: use an odd number")
            size = per_axis(kernel_size, spec.axes)
            return nn.Conv3d(*channels, size, padding="same", bias=bias)


def plain_unit(
    spec: UnitSpec,
    kernel_size: int = 5,
    bias: bool = False,
    own_norms: Sequence[str] = (),
) -> ConvUnit:
    """Build convolution, batch normalization and ReLU; the output is a convolution.

    Parameters
    ----------
    spec : UnitSpec
    kernel_size, bias
        See :func:`build_conv`.
    own_norms : sequence of str
        Tasks with batch normalization of their own; see
        :class:`~continual_repmode.models.task_norm.TaskNorm`.
    """
    last = spec.role == "output"
    norm = None if last else TaskNorm(spec.out_channels, own_norms)
    return ConvUnit(build_conv(spec, kernel_size, bias=bias), norm, activate=not last)

"""The convolutions of the U-Net as *units*: what each place asks for, and plain ones.

A unit is a module that is called as ``unit(features, groups)`` on a batch sorted by
task.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.adapters import (
    Adapter,
    ParallelAdapter,
    build_adapter,
)
from continual_repmode.models.convolution import SameConv3d
from continual_repmode.models.experts import build_expert, merge_parallel
from continual_repmode.models.spatial import Axes, per_axis
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_norm import TaskNorm

Role = Literal["conv", "down", "up", "output"]


@dataclass(frozen=True)
class UnitSpec:
    """What the topology needs at one place."""

    #: Place in the network, such as ``encoder1.conv1`` or ``output``.
    name: str
    #: ``conv`` keeps the resolution, ``down`` halves it, ``up`` doubles it, ``output``
    #: makes the prediction (no normalization, no activation).
    role: Role
    in_channels: int
    out_channels: int
    #: Axes that kernels and strides extend over.
    axes: Axes
    #: Of the resolution that it makes, 1 for the full one.
    level: int = 1


UnitFactory = Callable[[UnitSpec], nn.Module]
"""Builds the module for one place; it is called as ``module(features, groups)``."""


class ConvUnit(nn.Module):
    """An ordinary convolution, then normalization and ReLU where wanted.

    A task that is adapted to the unit (:meth:`adapt`) has children of its own in it:
    ``adapter_<task>``, or instead of the convolution ``head_<task>``.

    ``activate``: whether a ReLU follows.
    ``level``: of the resolution, 1 for the full one; kept as ``level``.
    """

    def __init__(
        self,
        conv: nn.Conv3d | nn.ConvTranspose3d,
        norm: TaskNorm | None,
        *,
        activate: bool,
        level: int = 1,
    ) -> None:
        super().__init__()
        self.level = level
        self.conv = conv
        self.norm = norm
        self.activate = activate

    def forward(self, features: Tensor, groups: TaskGroups | None = None) -> Tensor:
        """Map features (B, I, Z, Y, X), sorted by task, to (B, O, Z', Y', X')."""
        features = self._convolve(features, groups)
        if self.norm is not None:
            features = self.norm(features, groups)
        return F.relu_(features) if self.activate else features

    def conv_of(self, task: str) -> nn.Conv3d | nn.ConvTranspose3d:
        """Return the convolution that a task uses: its own one or the shared one."""
        own = self._modules.get(f"head_{task}")
        return own if isinstance(own, nn.Conv3d) else self.conv

    def adapter_of(self, task: str) -> Adapter | None:
        """Return the adapter of a task, if it has one."""
        own = self._modules.get(f"adapter_{task}")
        return own if isinstance(own, Adapter) else None

    def adapt(self, task: str, kind: str, axes: Axes, start: str | None) -> None:
        """Give a new task what it has to itself in this unit; all of it is trainable.

        That is batch normalization, and an adapter where the convolution keeps the
        resolution. Without normalization, which is where the prediction is made, it is
        a copy of the convolution instead.

        ``kind``: kind of the adapter; see :mod:`~continual_repmode.models.adapters`.
        ``axes``: axes that its kernels extend over.
        ``start``: task whose normalization, and whose adapter or convolution, are
            copied. If it has no adapter, or with None, the new one starts as identity.
            None: the normalization is the shared one, or the mean of those of all
            tasks.
        """
        if self.norm is None:
            head = copy.deepcopy(self.conv if start is None else self.conv_of(start))
            self.add_module(f"head_{task}", head.requires_grad_(True))
            return
        self.norm.add_private(task, self.training, None if start is None else [start])
        if not self.keeps_resolution:
            return
        adapter = None if start is None else copy.deepcopy(self.adapter_of(start))
        if adapter is None:
            channels = (self.conv.in_channels, self.conv.out_channels)
            adapter = build_adapter(kind, *channels, axes)
        if adapter is not None:
            self._give(task, adapter)

    def add_expert(self, task: str, kind: str, axes: Axes) -> None:
        """Give a new task an expert, added to the convolution, that starts at zero.

        ``kind``: see :func:`~continual_repmode.models.experts.build_expert`.
        ``axes``: axes that its kernel extends over.
        """
        channels = (self.conv.in_channels, self.conv.out_channels)
        expert = build_expert(kind, *channels, axes, self.level)
        self._give(task, ParallelAdapter(expert))

    def kernel_of(self, task: str) -> Tensor:
        """Return the kernel that a task uses, its adapter added; (O, I, kZ, kY, kX).

        Raises UserError if its adapter equals no kernel.
        """
        kernel, adapter = self.conv_of(task).weight, self.adapter_of(task)
        if adapter is None:
            return kernel
        if not isinstance(adapter, ParallelAdapter):
            raise UserError(
                f"task {task!r}: its adapters are of the kind 'grouped', which equal "
                "no kernel; use deploy()"
            )
        return merge_parallel(
            [kernel, adapter.kernel()], kernel.new_ones(2, len(kernel))
        )

    @property
    def keeps_resolution(self) -> bool:
        """Whether the convolution neither halves nor doubles it."""
        return all(side == 1 for side in self.conv.stride)

    def _give(self, task: str, adapter: Adapter) -> None:
        adapter.to(self.conv.weight).to(memory_format=torch.channels_last_3d)
        adapter.requires_grad_(True).train(self.training)
        self.add_module(f"adapter_{task}", adapter)

    def _convolve(self, features: Tensor, groups: TaskGroups | None) -> Tensor:
        tasks = [group.task for group in groups.groups] if groups is not None else []
        if groups is None or not any(map(self._is_adapted, tasks)):
            convolved: Tensor = self.conv(features)
            return convolved
        return groups.map(self._convolve_adapted, features)

    def _is_adapted(self, task: str) -> bool:
        return not {f"head_{task}", f"adapter_{task}"}.isdisjoint(self._modules)

    def _convolve_adapted(self, task: str, rows: Tensor) -> Tensor:
        convolved: Tensor = self.conv_of(task)(rows)
        adapter = self.adapter_of(task)
        if adapter is None:
            return convolved
        adapted: Tensor = adapter(rows, convolved)
        return adapted


def build_conv(
    spec: UnitSpec, kernel_size: int, *, bias: bool = False
) -> nn.Conv3d | nn.ConvTranspose3d:
    """Build the ordinary convolution for a place.

    ``kernel_size``: odd extent of ``conv`` and ``output`` kernels ('same' zero
        padding); sampling kernels always have extent and stride 2.
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
            return SameConv3d(*channels, size, bias=bias)


def plain_unit(
    spec: UnitSpec,
    kernel_size: int = 5,
    bias: bool = False,
    own_norms: Sequence[str] = (),
) -> ConvUnit:
    """Build convolution, batch normalization and ReLU; the output is a convolution.

    ``kernel_size``, ``bias``: see :func:`build_conv`.
    ``own_norms``: tasks with batch normalization of their own; see
        :class:`~continual_repmode.models.task_norm.TaskNorm`.
    """
    last = spec.role == "output"
    norm = None if last else TaskNorm(spec.out_channels, own_norms)
    conv = build_conv(spec, kernel_size, bias=bias)
    return ConvUnit(conv, norm, activate=not last, level=spec.level)

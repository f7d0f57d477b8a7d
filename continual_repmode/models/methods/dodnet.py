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
from torch import Tensor, nn

from continual_repmode.models.conv_units import UnitSpec, plain_unit
from continual_repmode.models.methods.dynamic_head import (
    HIDDEN,
    DynamicHead,
    hidden_output,
)
from continual_repmode.models.methods.task_linear import TaskLinear
from continual_repmode.models.model_config import KernelConfig
from continual_repmode.models.spatial import crop_like
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_network import Shape, TaskNetwork
from continual_repmode.tasks import TASKS


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

"""CondNet: the task enters as a constant channel (Dmitriev & Kaufman, CVPR 2019).

"Learning Multi-Class Segmentations From Single-Class Datasets": a task is mapped to one
number, and a constant feature map of it is concatenated to the input of convolutions;
conditioning the decoder did best there. Backbone, places and numbers are our adaptation
(the published hash values are unknown).

Away from the borders such a channel is a bias per output channel that is proportional
to the number: all tasks lie on one line. In training mode, batch normalization cancels
that bias in a batch of a single task, so batches should mix tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.checks import ABOVE_0, one_of, setting
from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import UnitSpec, plain_unit
from continual_repmode.models.methods.output_head import build_output, grow_output
from continual_repmode.models.methods.task_parts import PartedNetwork
from continual_repmode.models.model_config import HeadConfig
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_network import Shape, TaskNetwork
from continual_repmode.tasks import TASKS


class ConditionedUnit(nn.Module):
    """A plain unit with the number of the task as one more input channel, the last.

    ``spec``: what the topology asks for, without the further channel.
    ``numbers``: the number of each task; looked up at every call, so it may grow.
    """

    def __init__(
        self, spec: UnitSpec, kernel_size: int, numbers: Mapping[str, float]
    ) -> None:
        super().__init__()
        self.unit = plain_unit(
            replace(spec, in_channels=spec.in_channels + 1), kernel_size
        )
        self.numbers = numbers

    def forward(self, features: Tensor, groups: TaskGroups) -> Tensor:
        """Map features (B, I, Z, Y, X), sorted by task, to (B, O, Z, Y, X)."""
        one_channel = (0, 0, 0, 0, 0, 0, 0, 1)
        conditioned = groups.map(
            lambda task, rows: F.pad(rows, one_channel, value=self.numbers[task]),
            features,
        )
        result: Tensor = self.unit(conditioned, groups)
        return result


class CondNet(PartedNetwork):
    """A plain U-Net whose decoder is told the task by constant channels.

    ``task_names``: names of the S base tasks; a task label is a position in it.
    ``kernel_size``: odd extent of the kernels.
    ``head``: "shared" or "per_task"; one output convolution, or one for each task
        (unknown which one the paper ran; shared as published).
    ``where``: "all" or "first"; which convolutions of each decoder level get the
        channel: both (our adaptation) or the first.
    ``scale``: factor of the numbers (our adaptation).
    ``**shape``: ``width``, ``depth``, ``in_channels``, ``out_channels`` and ``axes``;
        see :class:`~continual_repmode.models.task_network.Shape`.
    """

    owned = ("head",)

    def __init__(
        self,
        task_names: Sequence[str] = TASKS,
        *,
        kernel_size: int = 5,
        head: str = "shared",
        where: str = "all",
        scale: float = 1.0,
        **shape: Unpack[Shape],
    ) -> None:
        super().__init__(
            task_names,
            {"kernel_size": kernel_size, "head": head, "where": where, "scale": scale},
            **shape,
        )
        if where not in ("all", "first"):
            raise UserError(f"where {where!r}: use 'all' or 'first'")
        self._kernel_size, self._head, self._scale = kernel_size, head, scale
        self._places = ("conv1",) if where == "first" else ("conv1", "conv2")
        self._num_base_tasks = len(self.task_names)
        self.numbers: dict[str, float] = {
            name: self._number(label) for label, name in enumerate(self.task_names)
        }
        self.unet = self.build_unet(self._unit)
        self.to(memory_format=torch.channels_last_3d)

    def run(self, signal: Tensor, groups: TaskGroups) -> Tensor:
        """Predict a batch that is sorted by task."""
        prediction: Tensor = self.unet(signal, groups)
        return prediction

    def _number(self, label: int) -> float:
        """Return H(l) = -1 + 2 l / (S - 1), times the scale (our adaptation).

        An added task continues the line with the same spacing, above 1. A network of
        one base task starts at 0 and continues in steps of 2.
        """
        if self._num_base_tasks == 1:
            return self._scale * 2.0 * label
        return self._scale * (2.0 * label / (self._num_base_tasks - 1) - 1.0)

    def _grow(  # type: ignore[override]  # names its option
        self, name: str, *, init: str
    ) -> None:
        grow_output(self.unet.output, name, init)
        self.numbers[name] = self._number(len(self.task_names))

    def _unit(self, spec: UnitSpec) -> nn.Module:
        if spec.role == "output":
            return build_output(spec, self._kernel_size, self._head, self.task_names)
        level, _, place = spec.name.partition(".")
        if level.startswith("decoder") and place in self._places:
            return ConditionedUnit(spec, self._kernel_size, self.numbers)
        return plain_unit(spec, self._kernel_size)


@dataclass(kw_only=True, slots=True)
class CondNetConfig(HeadConfig):
    """A constant channel in the decoder tells the task."""

    network: ClassVar[type[TaskNetwork]] = CondNet

    #: Which convolutions of a decoder level see it: all, or the first.
    where: str = setting("all", one_of("all", "first"))
    #: Factor of the channel: -1 for the first base task to 1 for the last, and on in
    #: equal steps for tasks that arrive later.
    scale: float = setting(1.0, ABOVE_0)

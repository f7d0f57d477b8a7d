"""Multi-Net: an independent plain U-Net per task; with two options, the fnet."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Unpack

from torch import Tensor

from continual_repmode.models.conv_units import ConvUnit, plain_unit
from continual_repmode.models.methods.adaptable import AdaptableNetwork
from continual_repmode.models.methods.task_parts import TaskParts
from continual_repmode.models.model_config import KernelConfig
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_network import Shape, TaskNetwork
from continual_repmode.models.unet3d import UNet3d, plain_units
from continual_repmode.tasks import TASKS


class MultiNet(AdaptableNetwork):
    """The individual networks that every other method is measured against (Table 1).

    Each network sees the images of its own task only, and only those whose tasks are in
    a batch are run. Trained on several tasks at once it gets batches of mixed tasks, as
    every method does: more steps per network than if each had its batches to itself, on
    fewer patches each, and all keep the weights of one epoch, that of the lowest mean
    validation error. ``strategy=individual`` with a task per experience trains one at a
    time, each to its own best epoch. Multi-Net of the paper is the label-free predictor
    of Ounkomol et al. (Nature Methods 2018), trained once per task. That predictor's
    public code (AllenCellModeling/pytorch_fnet) has the topology of this U-Net with
    3x3x3 kernels and biases before its batch normalization: ``kernel_size=3,
    bias=True`` gives this *fnet*. Which kernel size the paper used for its plain
    networks is unknown; the default, 5x5x5 without biases as in RepMode's code, is our
    adaptation.

    ``task_names``: names of the first tasks; a task label is a position in it.
    ``kernel_size``: odd extent of the kernels that keep the resolution.
    ``bias``: whether the convolutions, those for sampling included, have biases.
    ``**shape``: ``width``, ``depth``, ``in_channels``, ``out_channels`` and ``axes``;
        see :class:`~continual_repmode.models.task_network.Shape`.
    """

    owned = ("net", *AdaptableNetwork.owned)

    def __init__(
        self,
        task_names: Sequence[str] = TASKS,
        *,
        kernel_size: int = 5,
        bias: bool = False,
        **shape: Unpack[Shape],
    ) -> None:
        super().__init__(
            task_names, {"kernel_size": kernel_size, "bias": bias}, **shape
        )
        unit = partial(plain_unit, kernel_size=kernel_size, bias=bias)
        make = partial(self.build_unet, unit)
        self.nets = TaskParts("net", self.task_names, make)

    def run(self, signal: Tensor, groups: TaskGroups) -> Tensor:
        """Predict a batch that is sorted by task."""

        def predict(task: str, rows: Tensor) -> Tensor:
            prediction: Tensor = self.nets.of(task)(rows, groups.alone(task))
            return prediction

        return groups.map(predict, signal)

    def units_of(self, task: str) -> dict[str, ConvUnit]:
        """Return the units that a task passes, by their places in the U-Net."""
        net = self.nets.of(task)
        assert isinstance(net, UNet3d)
        return plain_units(net)

    def _grow_part(self, name: str, init: str) -> None:
        self.nets.add_task(name, init)

    def _use_part(self, name: str, init: str) -> None:
        self.nets.share(name, init)

    def _used_parts(self, task: str) -> set[str]:
        return {*super()._used_parts(task), self.nets.name_of(task)}


@dataclass(kw_only=True, slots=True)
class MultiNetConfig(KernelConfig):
    """One plain network per task."""

    network: ClassVar[type[TaskNetwork]] = MultiNet

    #: Give convolutions a bias before batch normalization.
    bias: bool = False


@dataclass(kw_only=True, slots=True)
class FNetConfig(MultiNetConfig):
    """The same as the published label-free predictor has it."""

    kernel_size: int = 3
    bias: bool = True

"""Multi-Head networks: shared layers first, then layers of each task's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from continual_repmode.checks import one_of, setting
from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import ConvUnit, UnitSpec, plain_unit
from continual_repmode.models.methods.adaptable import AdaptableNetwork
from continual_repmode.models.methods.heads import TaskHeads
from continual_repmode.models.methods.task_parts import FRESH, TaskParts
from continual_repmode.models.model_config import KernelConfig
from continual_repmode.models.spatial import crop_like
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_network import Shape, TaskNetwork
from continual_repmode.models.unet3d import UNet3d, plain_units
from continual_repmode.tasks import TASKS


class MultiHeadUNet(AdaptableNetwork):
    """A plain U-Net that ends in one part per task (Table 1).

    ``part="output"`` is Multi-Head (Las.): only the last convolution,
    ``head_<task>``, is per task. ``part="decoder"`` is Multi-Head (Dec.): all levels of
    the decoder and the last convolution are, ``decoder_<task>``. Only the parts of the
    tasks in a batch are run, and a sample's loss reaches no other part. That the
    decoders share the bottleneck beside the encoder, and the kernel size, are our
    adaptation: the paper does not say.

    ``task_names``: names of the first tasks; a task label is a position in it.
    ``part``: "decoder" or "output"; what every task has of its own.
    ``kernel_size``: odd extent of the kernels that keep the resolution.
    ``private_bn``: give every task batch normalization of its own in what is shared,
        from the start; tasks that are added have their own there too.
    ``**shape``: ``width``, ``depth``, ``in_channels``, ``out_channels`` and ``axes``;
        see :class:`~continual_repmode.models.task_network.Shape`.
    ``unet``: what is shared; with ``part="decoder"`` its decoder is empty.
    """

    owned = ("decoder", *AdaptableNetwork.owned)

    def __init__(
        self,
        task_names: Sequence[str] = TASKS,
        *,
        part: str = "decoder",
        kernel_size: int = 5,
        private_bn: bool = False,
        **shape: Unpack[Shape],
    ) -> None:
        options = {"part": part, "kernel_size": kernel_size, "private_bn": private_bn}
        super().__init__(task_names, options, **shape)
        if part not in ("decoder", "output"):
            raise UserError(f"part {part!r}: use 'decoder' or 'output'")
        self.private_bn = private_bn
        own_norms = self.task_names if private_bn else ()
        unit = partial(_unit_where, kernel_size=kernel_size)
        shared = partial(unit, own_norms=own_norms)
        self.parts: TaskParts
        if part == "decoder":
            places: tuple[str, ...] = ("encoder", "bottleneck")
            self.unet = self.build_unet(partial(shared, places=places))
            own = partial(unit, places=("decoder", "output"))
            self.parts = TaskParts(
                "decoder", self.task_names, partial(self.build_unet, own)
            )
        else:
            places = ("encoder", "bottleneck", "decoder")
            self.unet = self.build_unet(partial(shared, places=places))
            self.parts = TaskHeads(
                self.width, self.task_names, kernel_size, self.axes, self.out_channels
            )

    def run(self, signal: Tensor, groups: TaskGroups) -> Tensor:
        """Predict a batch that is sorted by task."""
        features, skips = self.unet.encode(self.unet.prepare(signal), groups)
        if isinstance(self.parts, TaskHeads):
            prediction = self.parts(self.unet.decode(features, skips, groups), groups)
        else:
            prediction = self._decode(features, skips, groups)
        return crop_like(prediction, signal)

    def units_of(self, task: str) -> dict[str, ConvUnit]:
        """Return the units that a task passes, by their places in the U-Net.

        Without the output where that is all that a task has of its own.
        """
        part = self.parts.of(task)
        own = plain_units(part) if isinstance(part, UNet3d) else {}
        return plain_units(self.unet) | own

    def output_of(self, task: str) -> nn.Conv3d | nn.ConvTranspose3d:
        """Return the convolution that makes the prediction of a task."""
        part = self.parts.of(task)
        return part if isinstance(part, nn.Conv3d) else super().output_of(task)

    def _grow_part(self, name: str, init: str) -> None:
        self.parts.add_task(name, init)
        if self.private_bn:
            like = None if init == FRESH else [init]
            for unit in plain_units(self.unet).values():
                assert unit.norm is not None
                unit.norm.add_private(name, self.training, like)

    def _use_part(self, name: str, init: str) -> None:
        if isinstance(self.parts, TaskHeads):
            self.parts.add_task(name, init)
        else:
            self.parts.share(name, init)

    def _used_parts(self, task: str) -> set[str]:
        return {*super()._used_parts(task), self.parts.name_of(task)}

    def _decode(
        self, features: Tensor, skips: list[Tensor], groups: TaskGroups
    ) -> Tensor:
        predictions = []
        for group in groups.groups:
            rows = slice(group.start, group.stop)
            decoder = self.parts.of(group.task)
            assert isinstance(decoder, UNet3d)
            alone = groups.alone(group.task)
            own = decoder.decode(features[rows], [skip[rows] for skip in skips], alone)
            predictions.append(decoder.output(own, alone))
        return torch.cat(predictions)


def _unit_where(
    spec: UnitSpec,
    kernel_size: int,
    places: tuple[str, ...],
    own_norms: Sequence[str] = (),
) -> nn.Module:
    """Build the plain unit where the name of the place starts so, else nothing."""
    if spec.name.startswith(places):
        return plain_unit(spec, kernel_size, own_norms=own_norms)
    return nn.Identity()


@dataclass(kw_only=True, slots=True)
class MultiHeadConfig(KernelConfig):
    """One network with a part for each task."""

    network: ClassVar[type[TaskNetwork]] = MultiHeadUNet

    #: What each task has of its own: decoder, or output (the last convolution).
    part: str = setting("decoder", one_of("decoder", "output"))
    #: Give every task batch normalization of its own in what is shared.
    private_bn: bool = False


@dataclass(kw_only=True, slots=True)
class MultiHeadOutputConfig(MultiHeadConfig):
    """One network with an output convolution for each task."""

    part: str = "output"

"""Multi-Head networks: shared layers first, then layers of each task's own."""

from collections.abc import Sequence
from functools import partial
from typing import Unpack

import torch
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import UnitSpec, plain_unit
from continual_repmode.models.methods.heads import TaskHeads
from continual_repmode.models.methods.task_parts import PartedNetwork, TaskParts
from continual_repmode.models.spatial import crop_like
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_network import Shape
from continual_repmode.models.unet3d import UNet3d
from continual_repmode.tasks import TASKS


class MultiHeadUNet(PartedNetwork):
    """A plain U-Net that ends in one part per task (Table 1).

    ``part="output"`` is Multi-Head (Las.): only the last convolution,
    ``head_<task>``, is per task. ``part="decoder"`` is Multi-Head (Dec.): all levels of
    the decoder and the last convolution are, ``decoder_<task>``. Only the parts of the
    tasks in a batch are run, and a sample's loss reaches no other part. That the
    decoders share the bottleneck beside the encoder, and the kernel size, are our
    adaptation: the paper does not say.

    Parameters
    ----------
    task_names : sequence of str
        Names of the first tasks; a task label is a position in it.
    part : {"decoder", "output"}
        What every task has of its own.
    kernel_size : int
        Odd extent of the kernels that keep the resolution.
    **shape
        ``width``, ``depth``, ``in_channels``, ``out_channels`` and ``axes``; see
        :class:`~continual_repmode.models.task_network.Shape`.

    Attributes
    ----------
    unet : UNet3d
        What is shared; with ``part="decoder"`` its decoder is empty.
    parts : TaskParts
        What is not.
    """

    owned = ("decoder", "head")

    def __init__(
        self,
        task_names: Sequence[str] = TASKS,
        *,
        part: str = "decoder",
        kernel_size: int = 5,
        **shape: Unpack[Shape],
    ) -> None:
        super().__init__(
            task_names, {"part": part, "kernel_size": kernel_size}, **shape
        )
        if part not in ("decoder", "output"):
            raise UserError(f"part {part!r}: use 'decoder' or 'output'")
        unit = partial(_unit_where, kernel_size=kernel_size)
        self.parts: TaskParts
        if part == "decoder":
            self.unet = self.build_unet(partial(unit, places=("encoder", "bottleneck")))
            own = partial(unit, places=("decoder", "output"))
            self.parts = TaskParts(
                "decoder", self.task_names, partial(self.build_unet, own)
            )
        else:
            shared = ("encoder", "bottleneck", "decoder")
            self.unet = self.build_unet(partial(unit, places=shared))
            self.parts = TaskHeads(
                self.width, self.task_names, kernel_size, self.axes, self.out_channels
            )

    def run(self, signal: Tensor, groups: TaskGroups) -> Tensor:
        """Predict a batch that is sorted by task."""
        features, skips = self.unet.encode(self.unet.prepare(signal))
        if isinstance(self.parts, TaskHeads):
            prediction = self.parts(self.unet.decode(features, skips), groups)
        else:
            prediction = self._decode(features, skips, groups)
        return crop_like(prediction, signal)

    def _grow(self, name: str, *, init: str) -> None:  # type: ignore[override]
        self.parts.add_task(name, init)

    def _decode(
        self, features: Tensor, skips: list[Tensor], groups: TaskGroups
    ) -> Tensor:
        predictions = []
        for group in groups.groups:
            rows = slice(group.start, group.stop)
            decoder = self.parts.of(group.task)
            assert isinstance(decoder, UNet3d)
            own = decoder.decode(features[rows], [skip[rows] for skip in skips])
            predictions.append(decoder.output(own))
        return torch.cat(predictions)


def _unit_where(spec: UnitSpec, kernel_size: int, places: tuple[str, ...]) -> nn.Module:
    """Build the plain unit where the name of the place starts so, else nothing."""
    if spec.name.startswith(places):
        return plain_unit(spec, kernel_size)
    return nn.Identity()

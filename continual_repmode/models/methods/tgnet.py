"""TGNet: DoDNet whose encoder and skips are gated by the task too.

Wu, Pang & Sowmya, "Tgnet: A Task-Guided Network Architecture for Multi-Organ and Tumour
Segmentation from Partially Labelled Datasets", ISBI 2022: task-guided residual blocks
and attention modules fuse features with the task and suppress unrelated ones. Its exact
layers are unknown; the blocks and gates here are our adaptation, built from what the
abstract and the paper (Sec. 4.2) say, on DoDNet's head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.models.conv_units import ConvUnit, UnitSpec, build_conv
from continual_repmode.models.methods.dodnet import DoDNet
from continual_repmode.models.methods.task_linear import TaskLinear
from continual_repmode.models.model_config import KernelConfig
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.models.task_norm import TaskNorm
from continual_repmode.models.unet3d import Bottleneck, EncoderLevel


class ChannelGate(nn.Module):
    """A factor in (0, 1) per channel, from the content and the task of a sample.

    That is ``sigmoid(W2 ReLU(W1 [GAP(features) ; one-hot(task)]))`` with biases and
    max(1, C // 4) hidden units (our adaptation).
    """

    def __init__(self, channels: int, tasks: Sequence[str]) -> None:
        super().__init__()
        hidden = max(1, channels // 4)
        self.squeeze = TaskLinear(channels, hidden, tasks)
        self.excite = nn.Linear(hidden, channels)

    def forward(self, features: Tensor, groups: TaskGroups) -> Tensor:
        """Return the factors, shape (B, C, 1, 1, 1), of features (B, C, Z, Y, X)."""
        hidden = F.relu(self.squeeze(features.mean(dim=(2, 3, 4)), groups))
        gate: Tensor = self.excite(hidden).sigmoid()
        return gate[:, :, None, None, None]


class GuidedBlock(nn.Module):
    """Two convolutions, gated by the task, with a shortcut (our adaptation).

    ``ReLU(g * v + shortcut(x))`` with ``v = conv2(conv1(x))`` and ``g`` the gate of
    ``v``; ``conv2`` and the shortcut end in batch normalization without activation.
    """

    def __init__(
        self, conv1: nn.Module, conv2: nn.Module, shortcut: nn.Module, gate: ChannelGate
    ) -> None:
        super().__init__()
        self.conv1 = conv1
        self.conv2 = conv2
        self.shortcut = shortcut
        self.gate = gate

    def forward(self, features: Tensor, groups: TaskGroups) -> Tensor:
        """Map features (B, I, Z, Y, X), sorted by task, to (B, O, Z, Y, X)."""
        refined: Tensor = self.conv2(self.conv1(features, groups), groups)
        guided = self.gate(refined, groups) * refined
        return F.relu_(guided + self.shortcut(features, groups))


class GuidedEncoderLevel(nn.Module):
    """A guided block at one resolution, then halve it."""

    def __init__(self, block: GuidedBlock, down: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.down = down

    def forward(self, features: Tensor, groups: TaskGroups) -> tuple[Tensor, Tensor]:
        """Return the features of this level (the skip) and those for the next one."""
        skip = self.block(features, groups)
        return skip, self.down(skip, groups)


class TGNet(DoDNet):
    """A DoDNet with guided encoder, bottleneck and skips; parameters as there."""

    def _add_gates(self) -> None:
        self._guide_levels()
        self.skip_gates = nn.ModuleList(
            ChannelGate(self.width << level, self.task_names)
            for level in range(self.depth)
        )

    def _gated(self, skips: list[Tensor], groups: TaskGroups) -> list[Tensor]:
        pairs = zip(self.skip_gates, skips, strict=True)
        return [gate(skip, groups) * skip for gate, skip in pairs]

    def _unit(self, spec: UnitSpec) -> nn.Module:
        level, _, place = spec.name.partition(".")
        if place == "conv2" and not level.startswith("decoder"):
            return self._linear_unit(spec, self._kernel_size)
        return super()._unit(spec)

    def _linear_unit(self, spec: UnitSpec, kernel_size: int) -> ConvUnit:
        norm = TaskNorm(spec.out_channels)
        return ConvUnit(build_conv(spec, kernel_size), norm, activate=False)

    def _guide_levels(self) -> None:
        """Put guided blocks in place of the encoder levels and the bottleneck."""
        below = self.in_channels
        for index in range(self.depth + 1):
            channels = self.width << index
            name = f"encoder{index + 1}" if index < self.depth else "bottleneck"
            level = self.unet.get_submodule(name)
            assert isinstance(level, EncoderLevel | Bottleneck)
            spec = UnitSpec(f"{name}.shortcut", "conv", below, channels, self.axes)
            shortcut = self._linear_unit(spec, kernel_size=1)
            gate = ChannelGate(channels, self.task_names)
            block = GuidedBlock(level.conv1, level.conv2, shortcut, gate)
            guided: nn.Module = block
            if isinstance(level, EncoderLevel):
                guided = GuidedEncoderLevel(block, level.down)
            self.unet.add_module(name, guided)
            below = channels


@dataclass(kw_only=True, slots=True)
class TGNetConfig(KernelConfig):
    """The same, with task-guided attention in the encoder and the skips."""

    network: ClassVar[type[TaskNetwork]] = TGNet

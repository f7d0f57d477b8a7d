"""PIPO-FAN: pyramid input, pyramid output, adaptive fusion; one head per task.

After Fang & Yan, "Multi-organ segmentation over partially labeled datasets with
multi-scale feature abstraction", IEEE TMI 2020.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.checks import at_least, setting
from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import (
    ConvUnit,
    UnitSpec,
    build_conv,
    plain_unit,
)
from continual_repmode.models.methods.heads import TaskHeads
from continual_repmode.models.methods.task_parts import PartedNetwork
from continual_repmode.models.model_config import KernelConfig
from continual_repmode.models.spatial import Axes, crop_like, per_axis
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_network import Shape, TaskNetwork
from continual_repmode.models.task_norm import TaskNorm
from continual_repmode.tasks import TASKS


class ResidualBlock(nn.Module):
    """R: BN-ReLU-conv3 twice and a shortcut (BN-ReLU-conv1 where the width changes)."""

    def __init__(self, in_channels: int, out_channels: int, axes: Axes) -> None:
        super().__init__()
        self.first = PreactivatedConv(in_channels, out_channels, 3, axes)
        self.second = PreactivatedConv(out_channels, out_channels, 3, axes)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = PreactivatedConv(in_channels, out_channels, 1, axes)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, I, Z, Y, X) to (B, O, Z, Y, X)."""
        refined: Tensor = self.second(self.first(features)) + self.shortcut(features)
        return refined


class PreactivatedConv(nn.Module):
    """Batch normalization, ReLU, then a convolution without bias.

    ``kernel_size``: odd extent, with 'same' zero padding.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, axes: Axes
    ) -> None:
        super().__init__()
        self.norm = TaskNorm(in_channels)
        spec = UnitSpec("preactivated", "conv", in_channels, out_channels, axes)
        self.conv = build_conv(spec, kernel_size)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, I, Z, Y, X) to (B, O, Z, Y, X)."""
        convolved: Tensor = self.conv(F.relu_(self.norm(features)))
        return convolved


class ScaleHead(nn.Module):
    """What predicts at one scale: BN-ReLU, then the 1x1x1 convolution of the task."""

    def __init__(
        self, in_channels: int, tasks: Sequence[str], out_channels: int, axes: Axes
    ) -> None:
        super().__init__()
        self.norm = TaskNorm(in_channels)
        self.conv = TaskHeads(in_channels, tasks, 1, axes, out_channels, bias=True)

    def forward(self, features: Tensor, groups: TaskGroups) -> Tensor:
        """Map features (B, I, Z, Y, X), sorted by task, to predictions."""
        prediction: Tensor = self.conv(F.relu_(self.norm(features)), groups)
        return prediction


class AdaptiveFusion(nn.Module):
    """Weigh the predictions of all scales by one scorer, per sample.

    The score of a prediction is the mean plus the maximum of its score map
    (BN-ReLU-conv1-BN-ReLU-conv3 to one channel) over the whole patch; the weights are
    the softmax of the scores over the scales.
    """

    def __init__(self, channels: int, axes: Axes) -> None:
        super().__init__()
        self.scorer = nn.Sequential(
            PreactivatedConv(channels, 1, 1, axes), PreactivatedConv(1, 1, 3, axes)
        )

    def forward(self, predictions: Sequence[Tensor]) -> Tensor:
        """Return the weighted sum of K predictions, each (B, C_out, Z, Y, X)."""
        weights = self.weights(predictions)[..., None, None, None, None]
        return (weights * torch.stack(tuple(predictions))).sum(0)

    def weights(self, predictions: Sequence[Tensor]) -> Tensor:
        """Return the weights of K predictions, shape (K, B), summing to 1 over K."""
        maps = self.scorer(torch.cat(tuple(predictions))).flatten(1)
        scores: Tensor = maps.mean(1) + maps.amax(1)
        return scores.view(len(predictions), -1).softmax(0)


def residual_chain(widths: Sequence[int], axes: Axes) -> nn.Sequential:
    """Make one residual block per change of width; none for a single width."""
    return nn.Sequential(*(ResidualBlock(a, b, axes) for a, b in pairwise(widths)))


class PipoFan(PartedNetwork):
    """A U-Net that sees the signal, and predicts, at every scale at once.

    The signal is averaged down to the scale of every level. One stem, the first level
    of the encoder, runs on all of them, and residual blocks bring each to the width
    that the encoder has at that scale, so that everything a level starts from has
    passed equally many convolutions. On the way out, residual blocks bring the
    bottleneck and every decoder level back to the stem's width; a head each predicts
    from them, and a scorer weighs the predictions, for every sample and patch. The
    task chooses the heads and nothing else.

    The original segments: it has one output channel per organ, a target-adaptive cross
    entropy and two stages of training. Our adaptation has one head per task in place of
    a channel, chosen before the fusion, the mean squared error (to which that loss
    reduces) and one stage: that of the fused prediction, plus ``deep_supervision``
    times the mean over the scales. The backbone's sampling, its 5x5x5 kernels and its
    channels stay; the residual blocks have 3x3x3 kernels. Batch normalization in the
    stem and in the fusion takes its statistics over all scales together, so that one
    set of running statistics can hold for all of them.

    ``task_names``: names of the first tasks; a task label is a position in it.
    ``width``: channels of the first level; each level below has twice as many.
    ``depth``: number of times the resolution is halved; there are ``depth + 1`` scales.
    ``kernel_size``: odd extent of the U-Net's own kernels that keep the resolution.
    ``deep_supervision``: weight of the loss of the single scales; 0 trains the fused
        prediction alone.
    ``**shape``: ``width``, ``depth``, ``in_channels``, ``out_channels`` and ``axes``;
        see :class:`~continual_repmode.models.task_network.Shape`.
    ``side_predictions``: (B, C_out, Z, Y, X); of every scale, finest first, in training
        mode unless ``deep_supervision`` is 0.
    """

    owned = ("head",)

    def __init__(
        self,
        task_names: Sequence[str] = TASKS,
        *,
        kernel_size: int = 5,
        deep_supervision: float = 1.0,
        **shape: Unpack[Shape],
    ) -> None:
        super().__init__(
            task_names,
            {"kernel_size": kernel_size, "deep_supervision": deep_supervision},
            **shape,
        )
        if not deep_supervision >= 0:
            raise UserError(f"deep_supervision {deep_supervision}: use 0 or more")
        self.side_weight = deep_supervision
        unit = partial(_backbone_unit, kernel_size=kernel_size)
        self.unet = self.build_unet(unit)
        widths = [self.width << level for level in range(self.depth + 1)]
        self.inward = nn.ModuleList(
            residual_chain(widths[:level], self.axes)
            for level in range(1, self.depth + 1)
        )
        self.outward = nn.ModuleList(
            residual_chain(widths[level::-1], self.axes)
            for level in range(self.depth + 1)
        )
        self.heads = nn.ModuleList(
            ScaleHead(self.width, self.task_names, self.out_channels, self.axes)
            for _ in widths
        )
        self.fusion = AdaptiveFusion(self.out_channels, self.axes)
        self.to(memory_format=torch.channels_last_3d)

    def run(self, signal: Tensor, groups: TaskGroups) -> Tensor:
        """Predict a batch that is sorted by task."""
        prepared = self.unet.prepare(signal)
        scales = self._features(self._stems(prepared))
        predictions = [
            F.interpolate(head(chain(f), groups), prepared.shape[2:], mode="trilinear")
            for f, chain, head in zip(scales, self.outward, self.heads, strict=True)
        ]
        supervised = self.training and self.side_weight > 0
        self.side_predictions = tuple(predictions) if supervised else ()
        fused: Tensor = self.fusion(predictions)
        return crop_like(fused, signal)

    def _grow(self, name: str, *, init: str) -> None:  # type: ignore[override]
        for head in self.heads:
            assert isinstance(head, ScaleHead)
            head.conv.add_task(name, init)

    def _stems(self, signal: Tensor) -> list[Tensor]:
        """Run the stem on the signal at every scale, finest first."""
        pyramid = [signal]
        for _ in range(self.depth):
            pyramid.append(F.avg_pool3d(pyramid[-1], per_axis(2, self.axes)))
        for name in ("encoder1.conv1", "encoder1.conv2"):
            unit = self.unet.get_submodule(name)
            assert isinstance(unit, ConvUnit)
            pyramid = _run_on_scales(unit, pyramid)
        return pyramid

    def _features(self, stems: list[Tensor]) -> list[Tensor]:
        """Return the features of decoder1, decoder2, ..., and the bottleneck."""
        level = self.unet.get_submodule
        equal = [
            chain(stem) for chain, stem in zip(self.inward, stems[1:], strict=True)
        ]
        skips, below = [stems[0]], level("encoder1.down")(stems[0])
        for i in range(2, self.depth + 1):
            joined = torch.cat([below, equal[i - 2]], dim=1)
            skip, below = level(f"encoder{i}")(joined, None)
            skips.append(skip)
        features = [self.unet.bottleneck(torch.cat([below, equal[-1]], dim=1), None)]
        for i in range(self.depth, 0, -1):
            features.append(level(f"decoder{i}")(features[-1], skips[i - 1], None))
        return features[::-1]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the predictions of the last batch, parts of a graph, out of copies."""
        return self.__dict__ | {"side_predictions": ()}


def _backbone_unit(spec: UnitSpec, kernel_size: int) -> nn.Module:
    """Double the input of each level but the first; leave the output to the heads."""
    if spec.role == "output":
        return nn.Identity()
    starts_level = spec.name.startswith(("encoder", "bottleneck"))
    if starts_level and spec.name.endswith("conv1") and spec.name != "encoder1.conv1":
        spec = replace(spec, in_channels=2 * spec.in_channels)
    return plain_unit(spec, kernel_size)


def _run_on_scales(unit: ConvUnit, maps: list[Tensor]) -> list[Tensor]:
    """Run a unit on maps (B, I, Z, Y, X) of several sizes, normalized as one.

    With statistics of its own for every scale in training, no running statistics would
    fit any of them in evaluation: averaging takes most of the signal's variance away.
    """
    maps = [unit.conv(features) for features in maps]
    voxels = [features.movedim(1, -1).flatten(1, 3) for features in maps]
    joint = torch.cat(voxels, dim=1).movedim(-1, 1)[..., None, None]  # (B, O, N, 1, 1)
    assert unit.norm is not None
    joint = F.relu_(unit.norm(joint))[..., 0, 0]
    parts = torch.split(joint, [part.shape[1] for part in voxels], dim=2)
    return [
        part.reshape(features.shape) for part, features in zip(parts, maps, strict=True)
    ]


@dataclass(kw_only=True, slots=True)
class PipoFanConfig(KernelConfig):
    """Pyramids of inputs and outputs, fused adaptively."""

    network: ClassVar[type[TaskNetwork]] = PipoFan

    #: Weight of the loss of the single scales, added to that of their fusion; 0: none.
    deep_supervision: float = setting(1.0, at_least(0))

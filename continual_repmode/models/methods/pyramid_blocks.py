"""The blocks of PIPO-FAN: residual chains, heads at every scale, adaptive fusion."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.models.conv_units import UnitSpec, build_conv
from continual_repmode.models.methods.heads import TaskHeads
from continual_repmode.models.spatial import Axes
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_norm import TaskNorm


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

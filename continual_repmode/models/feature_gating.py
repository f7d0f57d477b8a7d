"""MoDE blocks whose gates follow from the features instead of the task (Table 2).

The paper's counter-example: global average pooling of a block's input is fed to the
gating layer, so every sample has gates of its own and no task information enters the
network anywhere.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.models.experts import ConvExpert, build_experts
from continual_repmode.models.gate_spec import (
    Activation,
    activate,
    full_precision_linear,
)
from continual_repmode.models.mixing import Mixture, convolve_mixed
from continual_repmode.models.spatial import Axes
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_norm import TaskNorm


class FeatureGate(nn.Module):
    """Gating weights from globally averaged features: G = Linear(GAP(M_in)).

    ``in_channels``: channels I of the features.
    ``num_experts``, ``out_channels``: extent (E, O) of the gating weights.
    """

    def __init__(
        self,
        in_channels: int,
        num_experts: int,
        out_channels: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.activation = activation
        self.linear = nn.Linear(in_channels, num_experts * out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, I, Z, Y, X) to the gating weights of each, (B, E, O)."""
        pooled = features.mean(dim=(2, 3, 4), dtype=self.linear.weight.dtype)
        flat = full_precision_linear(self.linear, pooled)
        logits = flat.view(len(features), -1, self.out_channels)
        return activate(logits, self.activation)


class FeatureGatedConv(nn.Module):
    """A convolution whose kernel is mixed from experts, per sample.

    ``experts``: kinds of the experts, such as ``conv5`` or ``avg3_conv1``.
    ``level``: of the resolution, 1 for the full one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        experts: Sequence[str],
        axes: Axes,
        activation: Activation,
        level: int = 1,
    ) -> None:
        super().__init__()
        self.experts = build_experts(experts, in_channels, out_channels, axes, level)
        self.gate = FeatureGate(in_channels, len(experts), out_channels, activation)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, I, Z, Y, X) to (B, O, Z, Y, X), 'same' zero padding."""
        experts = [e for e in self.experts.values() if isinstance(e, ConvExpert)]
        one_each = [1] * len(features)
        return convolve_mixed(features, Mixture(experts, self.gate(features), one_each))


class FeatureGatedBlock(nn.Module):
    """Such a convolution, batch normalization and ReLU; or the convolution alone.

    ``norm``: None for the block that makes the prediction, which has no ReLU either.
    """

    def __init__(self, conv: FeatureGatedConv, norm: TaskNorm | None) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, features: Tensor, groups: TaskGroups | None = None) -> Tensor:
        """Map features (B, I, Z, Y, X), in any order, to (B, O, Z, Y, X)."""
        features = self.conv(features)
        return features if self.norm is None else F.relu_(self.norm(features, groups))

"""Small parts that adapt a frozen convolution to a task that came later.

An adapter is called with what a convolution gets and with what it makes of it, and
returns the latter, adapted. Every kind starts as identity, so that a new task starts
from what the frozen network makes of it:

``low_rankR``
    A 3x3x3 convolution to R channels and a 1x1x1 convolution from these, parallel to
    the convolution: the low-rank kernel of ``conv3_rankR`` in
    :mod:`~continual_repmode.models.experts`, without gates.
``residual``
    A 1x1x1 convolution parallel to the convolution: the parallel residual adapter of
    Rebuffi, Bilen & Vedaldi, "Efficient parametrization of multi-domain deep neural
    networks", CVPR 2018. (That in series, of NeurIPS 2017, is not here.)
``grouped``
    Grouped convolutions of what the convolution makes, as in EFT: Verma, Liang, Mehta,
    Rai & Carin, "Efficient Feature Transformations for Discriminative and Generative
    Continual Learning", CVPR 2021. See :class:`GroupedAdapter` for what differs.
``none``
    No adapter.

Where adapters are, that every task has normalization of its own, and 3D kernels are our
adaptation; see :class:`~continual_repmode.models.methods.adaptable.AdaptableNetwork`.
"""

import math
import re
from abc import ABC, abstractmethod

from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.experts import ConvExpert, build_expert
from continual_repmode.models.spatial import Axes, per_axis

_LOW_RANK = re.compile(r"low_rank([1-9]\d*)")


class Adapter(nn.Module, ABC):
    """What adapts one convolution to one task."""

    @abstractmethod
    def forward(self, features: Tensor, result: Tensor) -> Tensor:
        """Adapt what a convolution makes of features.

        Parameters
        ----------
        features : Tensor, shape (B, I, Z, Y, X)
        result : Tensor, shape (B, O, Z, Y, X)

        Returns
        -------
        Tensor, shape (B, O, Z, Y, X)
        """


class ParallelAdapter(Adapter):
    """Add a small convolution of the same features to a convolution.

    ``expert``: the small convolution; it is set to zero.
    """

    def __init__(self, expert: ConvExpert) -> None:
        super().__init__()
        self.expert = expert
        expert.zero_()

    def forward(self, features: Tensor, result: Tensor) -> Tensor:
        """Return the sum of ``result`` and the small convolution of ``features``."""
        return result + self.expert.convolve(features)

    def kernel(self) -> Tensor:
        """Return what to add to the kernel instead, shape (O, I, kZ, kY, kX)."""
        return self.expert.kernel()


class GroupedAdapter(Adapter):
    """Add grouped convolutions of what a convolution makes to it (EFT-like).

    ``y + S y + P y`` with a 3x3x3 convolution S in groups of 4 channels and a 1x1x1
    convolution P in groups of 8. In EFT the new features are ``S y + P y``. Our
    adaptation: the residual form, the zeros that S and P start with, so that the
    adapter starts as identity, and the sizes of the groups, for networks of few
    channels.

    ``channels``: channels of y. Where 4 or 8 does not divide them, groups are smaller.
    """

    def __init__(self, channels: int, axes: Axes) -> None:
        super().__init__()
        self.spatial = _grouped_conv(channels, 4, 3, axes)
        self.pointwise = _grouped_conv(channels, 8, 1, axes)

    def forward(self, features: Tensor, result: Tensor) -> Tensor:
        """Adapt ``result``, shape (B, C, Z, Y, X); ``features`` are not looked at."""
        adapted: Tensor = result + self.spatial(result) + self.pointwise(result)
        return adapted


def check_adapter(kind: str) -> str:
    """Return ``kind`` if it names a kind of adapter, else raise a ``UserError``."""
    if kind not in ("none", "residual", "grouped") and not _LOW_RANK.fullmatch(kind):
        raise UserError(
            f"adapter {kind!r}: use 'low_rankR' with a number of channels R, such as "
            "'low_rank4', or 'residual', 'grouped' or 'none'"
        )
    return kind


def build_adapter(
    kind: str, in_channels: int, out_channels: int, axes: Axes
) -> Adapter | None:
    """Build the adapter of a convolution that keeps the resolution.

    Returns: None for the kind ``none``.
    Raises UserError if the kind is unknown.
    """
    if check_adapter(kind) == "none":
        return None
    if kind == "grouped":
        return GroupedAdapter(out_channels, axes)
    low_rank = _LOW_RANK.fullmatch(kind)
    expert = "conv1" if low_rank is None else f"conv3_rank{low_rank[1]}"
    return ParallelAdapter(build_expert(expert, in_channels, out_channels, axes))


def _grouped_conv(channels: int, group: int, size: int, axes: Axes) -> nn.Conv3d:
    conv = nn.Conv3d(
        channels,
        channels,
        per_axis(size, axes),
        padding="same",
        groups=channels // math.gcd(channels, group),
        bias=False,
    )
    nn.init.zeros_(conv.weight)
    return conv

"""The experts of a MoDE block and the two steps of GatRep (paper Sec. 3.3, 3.4).

An expert is a linear, bias-free, shift-invariant map from C_I to C_O channels. The
paper has two kinds, named by what they do: ``conv5`` is a 5x5x5 convolution and
``avg5_conv1`` is an average pooling over 5x5x5 voxels followed by a 1x1x1 convolution;
any odd size will do. A third kind, ``conv3_rank4``, is our own: a 3x3x3 convolution to
4 channels and a 1x1x1 convolution from these, which costs a new task few parameters;
``conv3_rank6-4-2`` has rank 6 at the full resolution, 4 at half of it, 2 below.
Because every expert equals one convolution, a gated sum of experts does too. Finding
its kernel takes two steps: :func:`merge_serial` within an expert,
:func:`merge_parallel` over the experts.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.convolution import convolve
from continual_repmode.models.spatial import Axes, Size3, per_axis

EXPERTS = ("conv5", "conv3", "conv1", "avg3_conv1", "avg5_conv1")
"""The experts of the paper: pairs of size 5, 3 and 1 (the last pair coincides)."""

_KIND = re.compile(
    r"conv(?P<conv>[1-9]\d*)(?:_rank(?P<ranks>[1-9]\d*(?:-[1-9]\d*)*))?"
    r"|avg(?P<avg>[1-9]\d*)_conv1"
)


def merge_serial(pointwise: Tensor, size: Size3) -> Tensor:
    """Merge an average pooling and the 1x1x1 convolution after it (Eq. 3-5).

    The pooling kernel W^a of Eq. 3 is 1/K^3 where its two channels agree and 0
    elsewhere, so the product W * W^a of Eq. 5 spreads each weight evenly over the
    window ("A-Conv").

    ``pointwise``: (O, I, 1, 1, 1); weights of the 1x1x1 convolution.
    ``size``: pooling window (kZ, kY, kX).
    Returns: (O, I, kZ, kY, kX); a view with one stored value per channel pair; do not
        write to it.
    """
    return (pointwise / math.prod(size)).expand(-1, -1, *size)


def merge_parallel(kernels: Sequence[Tensor], gates: Tensor) -> Tensor:
    """Merge gated experts into one kernel: sum_e gates_e * Pad(kernel_e) (Eq. 6).

    The others are added to the middle of the largest, so nothing is padded with zeros.

    ``kernels``: (O, I, kZ, kY, kX); expert kernels, each with odd extents of its own.
    ``gates``: (E, O); gating weights (dimensionless).
    Returns: (O, I, kZ, kY, kX); with the extent of the largest kernel, channels last in
        memory.
    """
    gated = [gate[:, None, None, None, None] for gate in gates.unbind()]
    order = sorted(
        range(len(kernels)), key=lambda e: math.prod(kernels[e].shape[2:]), reverse=True
    )
    first, *others = order
    merged = (kernels[first] * gated[first]).contiguous(
        memory_format=torch.channels_last_3d
    )
    for e in others:
        crop_kernel(merged, kernels[e].shape[2:]).addcmul_(kernels[e], gated[e])
    return merged


def crop_kernel(kernel: Tensor, size: Sequence[int]) -> Tensor:
    """Return a view of the middle of a kernel (O, I, kZ, kY, kX).

    ``kernel``: (O, I, kZ, kY, kX).
    ``size``: wanted extent (Z, Y, X), at most that of the kernel and of the same
        parity.
    """
    for axis, side in enumerate(size, start=2):
        length = kernel.shape[axis]
        if side != length:
            kernel = kernel.narrow(axis, (length - side) // 2, side)
    return kernel


class ConvExpert(nn.Module):
    """Expert ``convK``: a convolution, initialised Kaiming-uniform with a = sqrt(5).

    ``size``: kernel extent (kZ, kY, kX); kept as ``size``.
    """

    def __init__(self, in_channels: int, out_channels: int, size: Size3) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *size))
        if not self.weight.is_meta:  # slow there, though there is nothing to do
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def kernel(self) -> Tensor:
        """Return the convolution kernel this expert equals, (O, I, kZ, kY, kX)."""
        return self.weight

    def convolve(self, features: Tensor) -> Tensor:
        """Map (B, I, Z, Y, X) to (B, O, Z, Y, X), with 'same' zero padding."""
        return convolve(features, self.kernel())

    def zero_(self) -> None:
        """Make the kernel zero, in a way that it can be trained from."""
        nn.init.zeros_(self.weight)


class AvgConvExpert(ConvExpert):
    """Expert ``avgK_conv1``: average pooling, then a 1x1x1 convolution.

    The pooling has stride 1 and 'same' zero padding whose zeros count.

    ``size``: pooling window (kZ, kY, kX); kept as ``size``.
    """

    def __init__(self, in_channels: int, out_channels: int, size: Size3) -> None:
        super().__init__(in_channels, out_channels, (1, 1, 1))
        self.size = size

    def kernel(self) -> Tensor:
        """Return the convolution kernel this expert equals, (O, I, kZ, kY, kX)."""
        return merge_serial(self.weight, self.size)


class LowRankExpert(ConvExpert):
    """Expert ``convK_rankR``: a convolution to R channels, then one of 1x1x1.

    Our own proposal for extensions, not part of the paper: the kernel has R (K^3 C_I +
    C_O) parameters instead of K^3 C_I C_O. Its entries start with the variance of a
    :class:`ConvExpert`'s.

    ``size``: kernel extent (kZ, kY, kX); kept as ``size``.
    ``rank``: channels R in between.
    """

    def __init__(
        self, in_channels: int, out_channels: int, size: Size3, rank: int
    ) -> None:
        nn.Module.__init__(self)
        self.size = size
        self.inner = nn.Parameter(torch.empty(rank, in_channels, *size))
        self.outer = nn.Parameter(torch.empty(out_channels, rank))
        if not self.inner.is_meta:
            nn.init.kaiming_uniform_(self.inner, a=math.sqrt(5))
            nn.init.uniform_(self.outer, -math.sqrt(3 / rank), math.sqrt(3 / rank))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]  # made of two parameters
        """The kernel (O, I, kZ, kY, kX)."""
        kernel = torch.einsum("or,rizyx->oizyx", self.outer, self.inner)
        return kernel.contiguous(memory_format=torch.channels_last_3d)

    def convolve(self, features: Tensor) -> Tensor:
        """Do the two convolutions one after the other, which is less work."""
        inner = convolve(features, self.inner)
        return F.conv3d(inner, self.outer[:, :, None, None, None])

    def zero_(self) -> None:
        """Make the kernel zero, in a way that it can be trained from."""
        nn.init.zeros_(self.outer)  # were both zero, neither would get a gradient


def build_expert(
    kind: str, in_channels: int, out_channels: int, axes: Axes, level: int = 1
) -> ConvExpert:
    """Build an expert from its kind: ``convK``, ``avgK_conv1`` or ``convK_rankR``.

    ``level``: of the resolution, 1 for the full one: of several ranks, which one is
        meant. The last one holds for all levels below.
    Raises UserError if the kind is not of that form.
    """
    match = _KIND.fullmatch(check_expert(kind))
    assert match is not None
    size = per_axis(int(match["conv"] or match["avg"]), axes)
    if match["ranks"] is not None:
        ranks = match["ranks"].split("-")
        rank = int(ranks[min(level, len(ranks)) - 1])
        return LowRankExpert(in_channels, out_channels, size, rank)
    expert = ConvExpert if match["conv"] is not None else AvgConvExpert
    return expert(in_channels, out_channels, size)


def build_experts(
    kinds: Sequence[str],
    in_channels: int,
    out_channels: int,
    axes: Axes,
    level: int = 1,
) -> nn.ModuleDict:
    """Build the experts of a block, named by :func:`name_experts`, in that order."""
    return nn.ModuleDict(
        {
            name: build_expert(kind, in_channels, out_channels, axes, level)
            for name, kind in zip(name_experts(kinds), kinds, strict=True)
        }
    )


def check_expert(kind: str) -> str:
    """Return ``kind`` if it names a kind of expert, else raise a :class:`UserError`."""
    match = _KIND.fullmatch(kind)
    if match is None or int(match["conv"] or match["avg"]) % 2 == 0:
        raise UserError(
            f"expert {kind!r}: use 'convK', 'avgK_conv1' or 'convK_rankR' with an odd "
            "K, such as 'conv3', 'avg5_conv1', 'conv3_rank4' or, with a rank for each "
            "resolution, 'conv3_rank6-4-2'"
        )
    return kind


def largest_extent(kinds: Sequence[str]) -> int:
    """Return the extent of the largest kernel among kinds of experts, in voxels."""
    found = (_KIND.fullmatch(check_expert(kind)) for kind in kinds)
    return max(int(m["conv"] or m["avg"]) for m in found if m is not None)


def name_experts(kinds: Sequence[str]) -> tuple[str, ...]:
    """Name a set of experts by their kinds; repeated kinds are numbered from 2.

    >>> name_experts(["conv3", "avg3_conv1", "avg3_conv1"])
    ('conv3', 'avg3_conv1', 'avg3_conv1_2')
    """
    if not kinds:
        raise UserError(f"experts is empty; name at least one, such as {EXPERTS[0]!r}")
    names: list[str] = []
    seen: Counter[str] = Counter()
    for kind in kinds:
        seen[check_expert(kind)] += 1
        names.append(f"{kind}_{seen[kind]}" if seen[kind] > 1 else kind)
    return tuple(names)

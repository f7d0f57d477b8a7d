"""Convolution with kernels merged for a training step, and its gradients.

What plain autograd would do, with less: kernels are merged again in the backward pass
instead of being kept; the gradient of a task's kernel goes straight to the experts and
gates; and where experts are frozen, only what the others need is computed.

Extending a trained network freezes its 5x5x5 experts. A new 3x3x3 expert and the gates
of the small experts need the middle 3x3x3 taps of the kernel's gradient only, and the
gate of the large one follows from the others: the output y is linear in the gates g_e,
so sum_e g_e dL/dg_e = <dL/dy, y> for every output channel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from continual_repmode.models.average import average_conv1
from continual_repmode.models.convolution import convolve, convolve_backward
from continual_repmode.models.experts import crop_kernel, merge_parallel, merge_serial
from continual_repmode.models.spatial import Size3, fits, reach

_SMALLEST_GATE = 1e-6
"""Divisor of a gate's gradient at least; its logit's gradient is below this anyway."""


class MergedConv(torch.autograd.Function):
    """``apply(features, gates, counts, sizes, *weights)``, with 'same' zero padding.

    Parameters of ``apply``
    -----------------------
    features : Tensor, shape (B, I, Z, Y, X)
        Sorted by task. Under autocast they are cast, and the merged kernels too.
    gates : Tensor, shape (T, E, O)
        Gating weights of each task.
    counts : list of T int
        Samples of each task.
    sizes : tuple of E (int, int, int)
        Window of each expert.
    weights : E tensors, shape (O, I, kZ, kY, kX)
        Of the size of the expert's window; or of size 1, for the 1x1x1 convolution
        after an average pooling over the window.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        gates: Tensor,
        counts: list[int],
        sizes: tuple[Size3, ...],
        *weights: Tensor,
    ) -> Tensor:
        """Convolve the samples of each task with the kernel merged for it."""
        if torch.is_autocast_enabled(features.device.type):
            features = features.to(torch.get_autocast_dtype(features.device.type))
        experts = _experts(features, sizes, weights)
        parts = [
            _convolve(rows, _merge(experts, gate))
            for rows, gate in zip(torch.split(features, counts), gates, strict=True)
        ]
        mixed = parts[0] if len(parts) == 1 else torch.cat(parts)
        ctx.counts, ctx.sizes = counts, sizes
        ctx.save_for_backward(features, gates, mixed, *weights)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiate by what requires a gradient."""
        features, gates, mixed, *weights = ctx.saved_tensors
        wants_features, wants_gates, _, _, *wants_weights = ctx.needs_input_grad
        experts = _experts(features, ctx.sizes, weights)
        plan = _plan(experts, wants_gates, wants_weights)
        d_features: list[Tensor] = []
        d_gates: list[Tensor] = []
        d_weights: list[Tensor | None] = [None] * len(weights)
        split = (torch.split(t, ctx.counts) for t in (features, mixed, *gradients))
        for gate, rows, output, d_output in zip(gates, *split, strict=True):
            if wants_features:
                kernel = _merge(experts, gate)
                d_features.append(_by_features(rows, kernel, d_output))
            parts = _by_weights(rows, experts, d_output, plan.extent)
            if wants_gates:
                along = (rows, output, d_output)
                d_gates.append(_by_gates(experts, gate, parts, plan.rest, *along))
            for e, part in enumerate(parts):
                if wants_weights[e] and part is not None:
                    d_weights[e] = _add(d_weights[e], weights[e], part, gate[e])
        return (
            torch.cat(d_features) if wants_features else None,
            torch.stack(d_gates) if wants_gates else None,
            None,
            None,
            *d_weights,
        )


@dataclass(frozen=True)
class _Expert:
    """An expert, as far as it reaches on a feature map."""

    #: (O, I, kZ, kY, kX). Without the taps that only meet the padding.
    weight: Tensor
    #: What an average pooling divides by.
    window: Size3
    #: Extent of the kernel it equals, without the taps that only meet the padding.
    size: Size3
    is_average: bool

    def kernel(self) -> Tensor:
        """Return the kernel it equals, shape (O, I, *size)."""
        if not self.is_average:
            return self.weight
        return crop_kernel(merge_serial(self.weight, self.window), self.size)

    def part_of(self, d_kernel: Tensor) -> Tensor:
        """Return the ungated gradient of the weight from that of a merged kernel."""
        part = crop_kernel(d_kernel, self.size).to(self.weight.dtype)
        if not self.is_average:
            return part
        return part.sum(dim=(2, 3, 4), keepdim=True) / math.prod(self.window)


@dataclass(frozen=True)
class _Plan:
    """How to come by the gradients."""

    #: How far the gradient of the merged kernel is needed; None: not at all.
    extent: Size3 | None
    #: The expert whose gate follows from the other gates.
    rest: int | None


def _experts(
    features: Tensor, sizes: Sequence[Size3], weights: Sequence[Tensor]
) -> list[_Expert]:
    experts = []
    for window, weight in zip(sizes, weights, strict=True):
        size = reach(window, features.shape[2:])
        is_average = tuple(weight.shape[2:]) != tuple(window)
        cropped = weight if is_average else crop_kernel(weight, size)
        experts.append(_Expert(cropped, window, size, is_average))
    return experts


def _plan(
    experts: Sequence[_Expert], wants_gates: bool, wants_weights: Sequence[bool]
) -> _Plan:
    needed = [
        e.size for e, wanted in zip(experts, wants_weights, strict=True) if wanted
    ]
    rest: int | None = None
    if wants_gates:
        convs = [e for e, expert in enumerate(experts) if not expert.is_average]
        largest = max(convs, key=lambda e: math.prod(experts[e].size), default=None)
        if largest is not None and not wants_weights[largest]:
            rest = largest
        needed += [experts[e].size for e in convs if e != rest]
    if not needed:
        return _Plan(None, rest)
    extent = (
        max(z for z, _, _ in needed),
        max(y for _, y, _ in needed),
        max(x for _, _, x in needed),
    )
    if rest is not None and fits(experts[rest].size, extent):
        rest = None
    return _Plan(extent, rest)


def _merge(experts: Sequence[_Expert], gate: Tensor) -> Tensor:
    return merge_parallel([expert.kernel() for expert in experts], gate)


def _convolve(rows: Tensor, kernel: Tensor) -> Tensor:
    return convolve(rows, kernel.to(rows.dtype))


def _by_features(rows: Tensor, kernel: Tensor, d_output: Tensor) -> Tensor:
    found = convolve_backward(d_output, rows, kernel.to(rows.dtype), by_features=True)
    assert found[0] is not None
    return found[0]


def _by_weights(
    rows: Tensor, experts: Sequence[_Expert], d_output: Tensor, extent: Size3 | None
) -> list[Tensor | None]:
    """Return ungated gradients of the weights whose kernels lie within ``extent``."""
    if extent is None:
        return [None] * len(experts)
    like = experts[0].weight
    shape_only = like.new_empty(*like.shape[:2], *extent)
    shape_only = shape_only.to(rows.dtype)
    _, d_kernel = convolve_backward(d_output, rows, shape_only, by_kernel=True)
    assert d_kernel is not None
    return [
        expert.part_of(d_kernel) if fits(expert.size, extent) else None
        for expert in experts
    ]


def _by_gates(
    experts: Sequence[_Expert],
    gate: Tensor,
    parts: Sequence[Tensor | None],
    rest: int | None,
    rows: Tensor,
    output: Tensor,
    d_output: Tensor,
) -> Tensor:
    """Return the gradients of the gates of one task, shape (E, O)."""
    d_gate = torch.zeros_like(gate)
    for e, (expert, part) in enumerate(zip(experts, parts, strict=True)):
        if part is not None:
            d_gate[e] = (part * expert.weight).sum(dim=(1, 2, 3, 4))
        elif e != rest:
            weight = expert.weight.to(rows.dtype)
            branch = average_conv1(rows, weight, expert.window)
            d_gate[e] = _over_voxels(d_output, branch, gate.dtype)
    if rest is not None:
        others = (gate * d_gate).sum(dim=0)
        total = _over_voxels(d_output, output, gate.dtype)
        d_gate[rest] = (total - others) / gate[rest].clamp_min(_SMALLEST_GATE)
    return d_gate


def _over_voxels(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the scalar product of each channel, shape (O,)."""
    return (a.to(dtype) * b).sum(dim=(0, 2, 3, 4))


def _add(total: Tensor | None, weight: Tensor, part: Tensor, gate: Tensor) -> Tensor:
    """Add a gated gradient of a weight, which may be cropped, to the sum so far."""
    per_channel = gate[:, None, None, None, None]
    if total is None and part.shape == weight.shape:
        return part * per_channel
    if total is None:
        total = torch.zeros_like(weight)
    crop_kernel(total, part.shape[2:]).addcmul_(part, per_channel)
    return total

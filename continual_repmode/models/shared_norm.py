"""Batch normalization of a batch that several processes share.

PyTorch's ``SyncBatchNorm`` does this on CUDA devices only, and not for a process that
has no rows.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from continual_repmode.distributed import gather_rows, sum_over_processes


class SharedBatchNorm(torch.autograd.Function):
    """``apply(eps, weight, bias, *parts)``: normalize with statistics of all rows.

    Each part of a batch has statistics of its own; one message in each direction is for
    all of them. All processes must call it, in the same order.

    Parameters of ``apply``
    -----------------------
    eps : float
    weight, bias : Tensor, shape (P, C)
        Of each part.
    *parts : Tensor, shape (B, C, Z, Y, X)
        The rows of this process; there may be none.

    Returns
    -------
    *normalized : Tensor, shape (B, C, Z, Y, X)
        Of each part.
    mean : Tensor, shape (P, C)
        Over the voxels of all processes.
    variance : Tensor, shape (P, C)
        Not biased by their number.
    """

    @staticmethod
    def forward(
        ctx: Any, eps: float, weight: Tensor, bias: Tensor, *parts: Tensor
    ) -> tuple[Tensor, ...]:
        """Gather number, mean and spread of all processes, and normalize."""
        counts, means, variances = _statistics(parts, weight)
        mean, variance = means.to(weight.dtype), variances.to(weight.dtype)
        ctx.eps, ctx.counts = eps, counts
        ctx.save_for_backward(weight, mean, variance, *parts)
        normalized = [
            F.batch_norm(
                part.to(weight.dtype), mean[i], variance[i], weight[i], bias[i], eps=eps
            ).to(part.dtype)
            if len(part)
            else part.clone()
            for i, part in enumerate(parts)
        ]
        unbiased = variances * counts / (counts - 1).clamp_min(1)
        ctx.mark_non_differentiable(means, unbiased)
        return *normalized, means, unbiased

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiate through the statistics, which all processes share."""
        weight, mean, variance, *parts = ctx.saved_tensors
        inverse = (variance + ctx.eps).rsqrt()
        d_bias, d_weight = torch.zeros_like(weight), torch.zeros_like(weight)
        direct: list[Tensor] = []
        for i, part in enumerate(parts):
            if not len(part):
                direct.append(part.clone())
                continue
            d_part, d_weight[i], d_bias[i] = torch.ops.aten.native_batch_norm_backward(
                d_outputs[i].to(weight.dtype),
                part.to(weight.dtype),
                weight[i],
                mean[i],
                variance[i],
                None,
                None,
                False,
                ctx.eps,
                [True, True, True],
            )
            direct.append(d_part)
        along, across = sum_over_processes(torch.stack([d_bias, d_weight])) / ctx.counts
        slope = -weight * inverse.square() * across
        offset = -weight * inverse * along - slope * mean
        d_parts = [
            d_part.add_(_channels(offset[i]))
            .addcmul_(part.to(weight.dtype), _channels(slope[i]))
            .to(part.dtype)
            if len(part)
            else d_part
            for i, (part, d_part) in enumerate(zip(parts, direct, strict=True))
        ]
        return None, d_weight, d_bias, *d_parts


def _statistics(
    parts: tuple[Tensor, ...], weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return number (P, 1), mean and biased variance (P, C) of the voxels everywhere.

    The sums of squares are about the mean of each process, and the means are joined in
    float64, so nothing is lost to cancellation (Chan et al. 1983).
    """
    channels = weight.shape[1]
    own = weight.new_zeros(len(parts), 1 + 2 * channels, dtype=torch.float64)
    for row, part in zip(own, parts, strict=True):
        if len(part):
            mean, variance = _moments(part.to(weight.dtype))
            row[0] = part.numel() // channels
            row[1 : 1 + channels], row[1 + channels :] = mean, variance
    found = gather_rows(own.flatten()).view(-1, *own.shape)
    counts, means, variances = torch.split(found, [1, channels, channels], dim=2)
    total = counts.sum(0)
    joint = (counts * means).sum(0) / total
    spread = (counts * (variances + (means - joint) ** 2)).sum(0) / total
    return total, joint, spread


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel."""
    if rows.device.type == "cpu":  # a general reduction takes several times longer
        return torch.batch_norm_update_stats(rows, None, None, 0.0)
    variance, mean = torch.var_mean(rows, dim=(0, 2, 3, 4), correction=0)
    return mean, variance


def _channels(values: Tensor) -> Tensor:
    return values[:, None, None, None]

"""Batch normalization of a batch that several processes share.

PyTorch's ``SyncBatchNorm`` does this on CUDA devices only, and not for a process that
has no rows.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from continual_repmode.distributed import gather_rows, sum_over_processes


class SharedBatchNorm(torch.autograd.Function):
    """``apply(features, weight, bias, eps)``: normalize with statistics of all rows.

    All processes must call it, in the same order.

    Parameters of ``apply``
    -----------------------
    features : Tensor, shape (B, C, Z, Y, X)
        The rows of this process; there may be none.
    weight, bias : Tensor, shape (C,)
    eps : float

    Returns
    -------
    Tensor, shape (B, C, Z, Y, X)
        Normalized features.
    Tensor, shape (C,)
        Mean over the voxels of all processes.
    Tensor, shape (C,)
        Their variance, not biased by their number.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gather number, mean and spread of all processes, and normalize."""
        count, mean, variance = _statistics(features)
        inverse = (variance + eps).rsqrt()
        mean, inverse = mean.to(weight.dtype), inverse.to(weight.dtype)
        normalized = (features - _channels(mean)) * _channels(inverse)
        ctx.count = count
        ctx.save_for_backward(features, weight, mean, inverse)
        output = normalized * _channels(weight) + _channels(bias)
        unbiased = variance * count / max(count - 1, 1)
        ctx.mark_non_differentiable(mean, unbiased)
        return output.to(features.dtype), mean, unbiased

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_output: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        """Differentiate through the statistics, which all processes share."""
        features, weight, mean, inverse = ctx.saved_tensors
        d_output = d_output.to(weight.dtype)
        normalized = (features - _channels(mean)) * _channels(inverse)
        d_bias = d_output.sum(dim=(0, 2, 3, 4))
        d_weight = (d_output * normalized).sum(dim=(0, 2, 3, 4))
        everywhere = sum_over_processes(torch.stack([d_bias, d_weight])) / ctx.count
        along, across = _channels(everywhere[0]), _channels(everywhere[1])
        d_features = _channels(weight * inverse) * (
            d_output - along - normalized * across
        )
        return d_features.to(features.dtype), d_weight, d_bias, None


def _statistics(features: Tensor) -> tuple[float, Tensor, Tensor]:
    """Return the number of voxels everywhere, their mean and biased variance.

    The sums of squares are about the mean of each process, and the means are joined in
    float64, so nothing is lost to cancellation (Chan et al. 1983).
    """
    own = features.numel() // features.shape[1]
    rows = features.to(torch.promote_types(features.dtype, torch.float32))
    if own:
        variance, mean = torch.var_mean(rows, dim=(0, 2, 3, 4), correction=0)
    else:
        variance = mean = rows.new_zeros(features.shape[1])
    number = mean.new_tensor([own], dtype=torch.float64)
    found = gather_rows(torch.cat([number, mean.double(), variance.double()]))
    counts, means, variances = torch.split(found, [1, len(mean), len(mean)], dim=1)
    total = counts.sum()
    joint = (counts * means).sum(0) / total
    spread = (counts * (variances + (means - joint) ** 2)).sum(0) / total
    return float(total), joint, spread


def _channels(values: Tensor) -> Tensor:
    return values[:, None, None, None]

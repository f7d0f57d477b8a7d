"""Convolution with mixed experts in training: two ways to the same numbers.

:func:`convolve_merged` merges the experts into one kernel per task and convolves each
task's samples with it (GatRep, Sec. 3.4). :func:`convolve_branches` runs every expert
once over the whole batch and mixes what comes out (Fig. 4a); as convolution is linear,
both give the same up to rounding. Merging costs memory traffic that grows with the
kernel and the number of tasks; branches cost a quarter more arithmetic, which grows
with the image. :func:`convolve_mixed` chooses by the voxels that share a kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from continual_repmode.models.average import average_conv1
from continual_repmode.models.experts import ConvExpert, crop_kernel
from continual_repmode.models.merged_conv import MergedConv
from continual_repmode.models.spatial import reach

BRANCH_VOXELS = 512
"""Voxels per task of a batch up to which branches are faster than merging.

Both costs grow alike with the channels, so one number serves every layer. Measured with
the experts of the paper on two CPU cores; see ``BENCHMARKS.md``.
"""


@dataclass(frozen=True)
class Mixture:
    """Which experts a batch uses, and how much each of its tasks makes of them.

    Attributes
    ----------
    experts : sequence of ConvExpert
        The E experts that some task of the batch uses.
    gates : Tensor, shape (T, E, O)
        Gating weights of each of the T tasks; 0 where a task does not use an expert.
    counts : sequence of int
        Number of samples of each task, in the order of the sorted batch.
    """

    experts: Sequence[ConvExpert]
    gates: Tensor
    counts: Sequence[int]


def convolve_mixed(features: Tensor, mixture: Mixture) -> Tensor:
    """Convolve each sample with the mixed experts of its task, 'same' zero padding.

    Parameters
    ----------
    features : Tensor, shape (B, I, Z, Y, X)
        Sorted by task.
    mixture : Mixture

    Returns
    -------
    Tensor, shape (B, O, Z, Y, X)
    """
    voxels = features.numel() // features.shape[1]
    if voxels <= BRANCH_VOXELS * len(mixture.counts):
        return convolve_branches(features, mixture)
    return convolve_merged(features, mixture)


def convolve_merged(features: Tensor, mixture: Mixture) -> Tensor:
    """Do as :func:`convolve_mixed` with one merged kernel per task."""
    sizes = tuple(expert.size for expert in mixture.experts)
    weights = (expert.weight for expert in mixture.experts)
    mixed: Tensor = MergedConv.apply(
        features, mixture.gates, list(mixture.counts), sizes, *weights
    )
    return mixed


def convolve_branches(features: Tensor, mixture: Mixture) -> Tensor:
    """Do as :func:`convolve_mixed` by running every expert over the whole batch."""
    counts = torch.tensor(mixture.counts, device=features.device)
    gates = mixture.gates.repeat_interleave(counts, dim=0, output_size=len(features))
    return sum(
        (
            _branch(features, expert) * gate[:, :, None, None, None]
            for expert, gate in zip(mixture.experts, gates.unbind(dim=1), strict=True)
        ),
        start=torch.zeros((), dtype=features.dtype, device=features.device),
    )


def _branch(features: Tensor, expert: ConvExpert) -> Tensor:
    weight: Tensor = expert.weight
    if weight.shape[2:] != expert.size:  # average pooling, then 1x1x1
        return average_conv1(features, weight, expert.size)
    weight = crop_kernel(weight, reach(expert.size, features.shape[2:]))
    return F.conv3d(features, weight, padding=[side // 2 for side in weight.shape[2:]])

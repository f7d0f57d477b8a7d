"""Convolution with mixed experts in training: two ways to the same numbers.

:func:`convolve_merged` merges the experts into one kernel per task and convolves each
task's samples with it (GatRep, Sec. 3.4). :func:`convolve_branches` runs every expert
once over the whole batch and mixes what comes out (Fig. 4a); as convolution is linear,
both give the same up to rounding. Merging costs memory traffic that grows with the
kernel and the number of tasks; branches cost a quarter more arithmetic, which grows
with the image. :func:`convolve_mixed` takes what is cheaper for the batch at hand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from continual_repmode.models.average import average_conv1
from continual_repmode.models.convolution import convolve
from continual_repmode.models.experts import ConvExpert, crop_kernel
from continual_repmode.models.merged_conv import MergedConv
from continual_repmode.models.spatial import reach

MERGE_COST = 150
"""Cost of merging one tap for one more task, in multiply-additions of a convolution.

Both ways cost the same multiple more with more channels, so one number serves every
layer. Measured with the experts of the paper on two CPU cores; see ``BENCHMARKS.md``.
"""


@dataclass(frozen=True)
class Mixture:
    """Which experts a batch uses, and how much each of its tasks makes of them."""

    #: The E experts that some task of the batch uses.
    experts: Sequence[ConvExpert]
    #: (T, E, O). Gating weights of each of the T tasks; 0 where a task does not use an
    #: expert.
    gates: Tensor
    #: Number of samples of each task, in the order of the sorted batch.
    counts: Sequence[int]


def convolve_mixed(features: Tensor, mixture: Mixture) -> Tensor:
    """Convolve each sample with the mixed experts of its task, 'same' zero padding.

    ``features``: (B, I, Z, Y, X); sorted by task.
    Returns: (B, O, Z, Y, X).
    """
    if _branches_are_cheaper(features, mixture):
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
    mixed: Tensor | None = None
    for expert, gate in zip(mixture.experts, gates.unbind(dim=1), strict=True):
        branch = _branch(features, expert)
        gated = branch * gate[:, :, None, None, None].to(branch.dtype)
        mixed = gated if mixed is None else mixed + gated
    assert mixed is not None
    return mixed


def _branches_are_cheaper(features: Tensor, mixture: Mixture) -> bool:
    """Compare merging for each further task with running each further expert."""
    voxels = features.numel() // features.shape[1]
    taps = [
        math.prod(reach(expert.weight.shape[2:], features.shape[2:]))
        for expert in mixture.experts
    ]
    further_tasks = len(mixture.counts) - 1
    return further_tasks * max(taps) * MERGE_COST > voxels * (sum(taps) - max(taps))


def _branch(features: Tensor, expert: ConvExpert) -> Tensor:
    weight: Tensor = expert.weight
    if weight.shape[2:] != expert.size:  # average pooling, then 1x1x1
        return average_conv1(features, weight, expert.size)
    weight = crop_kernel(weight, reach(expert.size, features.shape[2:]))
    return convolve(features, weight)

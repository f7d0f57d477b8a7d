import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.models import RepModeUNet
from continual_repmode.models.experts import (
    EXPERTS,
    build_expert,
    merge_parallel,
    merge_serial,
    name_experts,
)

KINDS = [f"conv{k}" for k in (1, 3, 5, 7)] + [f"avg{k}_conv1" for k in (3, 5, 7)]


def build_all(kinds: list[str], axes: str, in_channels: int, out_channels: int) -> list:
    return [build_expert(k, in_channels, out_channels, axes).double() for k in kinds]


def merge_and_branch(
    kinds: list[str], axes: str, size: tuple[int, int, int], branch: Callable
) -> tuple[Tensor, Tensor, list[Tensor]]:
    experts = build_all(kinds, axes, 2, 3)
    gates = torch.rand(len(kinds), 3, dtype=torch.float64, requires_grad=True)
    features = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    kernel = merge_parallel([expert.kernel() for expert in experts], gates)
    padding = [extent // 2 for extent in kernel.shape[2:]]
    merged = torch.nn.functional.conv3d(features, kernel, padding=padding)
    branches = sum(
        gate.view(1, -1, 1, 1, 1) * branch(kind, expert.weight, features, axes)
        for kind, expert, gate in zip(kinds, experts, gates, strict=True)
    )
    return merged, branches, [gates, features, *(e.weight for e in experts)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=5),
    axes=st.sampled_from(["ZYX", "YX"]),
    size=st.tuples(*[st.integers(1, 7)] * 3),
    seed=st.integers(0, 99),
)
def test_merged_kernel_equals_gated_sum_of_branches(branch, kinds, axes, size, seed):
    torch.manual_seed(seed)
    merged, branches, _ = merge_and_branch(kinds, axes, size, branch)
    torch.testing.assert_close(merged, branches, rtol=1e-11, atol=1e-12)


def test_gradients_of_merged_and_explicit_forms_agree(branch):
    torch.manual_seed(3)
    merged, branches, inputs = merge_and_branch(list(EXPERTS), "ZYX", (4, 6, 5), branch)
    weights = torch.randn_like(merged)
    ours = torch.autograd.grad((merged * weights).sum(), inputs)
    theirs = torch.autograd.grad((branches * weights).sum(), inputs)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-10, atol=1e-12)


def test_merge_serial_is_the_product_with_the_pooling_kernel_of_eq_3():
    torch.manual_seed(0)
    pointwise = torch.randn(3, 2, 1, 1, 1, dtype=torch.float64)
    pooling = torch.zeros(2, 2, 3, 3, 3, dtype=torch.float64)
    for channel in range(2):
        pooling[channel, channel] = 1 / 27
    product = torch.einsum("oc,cizyx->oizyx", pointwise[..., 0, 0, 0], pooling)
    torch.testing.assert_close(merge_serial(pointwise, (3, 3, 3)), product)


def test_merged_kernel_has_the_extent_of_the_largest_expert():
    kernels = [
        e.kernel() for e in build_all(["conv1", "avg7_conv1", "conv3"], "YX", 1, 1)
    ]
    gates = torch.ones(3, 1, dtype=torch.float64)
    assert merge_parallel(kernels, gates).shape == (1, 1, 1, 7, 7)


def test_a_set_without_the_largest_pair_gives_the_same_kernel_padded():
    torch.manual_seed(1)
    kernels = [e.kernel() for e in build_all(["conv3", "conv1"], "ZYX", 2, 2)]
    gates = torch.rand(3, 2, dtype=torch.float64)
    zero = torch.zeros(2, 2, 5, 5, 5, dtype=torch.float64)
    with_zero_expert = merge_parallel([*kernels, zero], gates)
    padded = F.pad(merge_parallel(kernels, gates[:2]), [1] * 6)
    torch.testing.assert_close(with_zero_expert, padded, rtol=0, atol=0)


def test_initial_weights_are_uniform_within_one_over_root_fan_in():
    for kind, fan in (("conv5", 4 * 125), ("avg5_conv1", 4)):
        torch.manual_seed(0)
        weight = build_expert(kind, 4, 400, "ZYX").weight.detach() * math.sqrt(fan)
        assert 0.98 < float(weight.abs().max()) <= 1
        assert float(weight.var()) == pytest.approx(1 / 3, rel=0.1)


def test_a_low_rank_expert_is_two_convolutions_one_after_the_other():
    expert = build_expert("conv3_rank2", 4, 5, "ZYX").double()
    features = torch.randn(2, 4, 5, 6, 7, dtype=torch.float64)
    narrow = F.conv3d(features, expert.inner, padding=1)
    expected = torch.einsum("or,brzyx->bozyx", expert.outer, narrow)
    found = F.conv3d(features, expert.kernel(), padding=1)
    torch.testing.assert_close(found, expected)
    assert sum(p.numel() for p in expert.parameters()) == 2 * (27 * 4 + 5)


def test_ranks_may_differ_by_resolution_and_the_last_holds_below():
    network = RepModeUNet(["dna"], width=2, depth=3, experts=["conv3", "conv1"])
    network.add_task("nucleolus", expert="conv3_rank5-3-2")
    ranks = {
        name: len(block.conv.experts_of("nucleolus")["extension_nucleolus"].inner)
        for name, block in network.blocks().items()
    }
    expected = {"encoder1": 5, "encoder2": 3, "encoder3": 2, "bottleneck": 2}
    expected |= {"decoder3": 2, "decoder2": 3, "decoder1": 5, "output": 5}
    assert ranks == {name: expected[name.split(".")[0]] for name in ranks}
    assert {name.split(".")[0] for name in ranks} == set(expected)


def test_an_expert_on_its_own_is_the_convolution_with_its_kernel():
    features = torch.randn(2, 4, 5, 6, 7, dtype=torch.float64)
    for kind in ("conv3", "conv1", "avg3_conv1", "conv3_rank2"):
        expert = build_expert(kind, 4, 5, "ZYX").double()
        expected = F.conv3d(features, expert.kernel(), padding=expert.size[0] // 2)
        torch.testing.assert_close(expert.convolve(features), expected)


def test_a_low_rank_expert_starts_with_the_variance_of_a_full_one():
    torch.manual_seed(0)
    low, full = (
        build_expert(kind, 16, 400, "ZYX").weight.detach().var().item()
        for kind in ("conv3_rank8", "conv3")
    )
    assert low == pytest.approx(full, rel=0.1)


def test_repeated_kinds_get_names_of_their_own():
    kinds = ["conv1", "conv1", "conv5", "conv1"]
    assert name_experts(kinds) == ("conv1", "conv1_2", "conv5", "conv1_3")


def test_unknown_expert_kinds_are_refused():
    for kind in (
        "conv4", "conv3_rank0", "conv3_rank4-", "conv3_rank4-0", "conv4_rank2",
        "avg3_rank2", "conv0", "conv", "avg3",
        "avg2_conv1", "avg3_conv3", "pool3", "",
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"'{kind}'.*odd K"):
            build_expert(kind, 1, 1, "ZYX")


def test_an_empty_expert_set_is_refused():
    with pytest.raises(UserError, match="experts is empty"):
        name_experts([])

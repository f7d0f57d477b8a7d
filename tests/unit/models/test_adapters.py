"""Each kind of adapter against its formula with dense kernels, in float64."""

import pytest
import torch
import torch.nn.functional as F

from continual_repmode.errors import UserError
from continual_repmode.models.adapters import build_adapter

KINDS = ("low_rank1", "low_rank4", "residual", "grouped")
PADDING = {"ZYX": (1, 1, 1), "YX": (0, 1, 1)}


def dense(weight, group):
    """Write out the kernel of a convolution in groups of so many channels."""
    channels, _, *size = weight.shape
    kernel = torch.zeros(channels, channels, *size, dtype=weight.dtype)
    for o in range(channels):
        first = o // group * group
        kernel[o, first : first + group] = weight[o]
    return kernel


def explicit(kind, tensors, features, result, axes):
    """Adapt by the formulas, over the tensors of an adapter by their names."""
    if kind == "grouped":
        sides = {group: weight.shape[1] for group, weight in tensors.items()}
        spatial = dense(tensors["spatial.weight"], sides["spatial.weight"])
        pointwise = dense(tensors["pointwise.weight"], sides["pointwise.weight"])
        transformed = F.conv3d(result, spatial, padding=PADDING[axes])
        return result + transformed + F.conv3d(result, pointwise)
    if kind == "residual":
        return result + F.conv3d(features, tensors["expert.weight"])
    outer, inner = tensors["expert.outer"], tensors["expert.inner"]
    kernel = sum(
        outer[:, r, None, None, None, None] * inner[r] for r in range(len(inner))
    )
    return result + F.conv3d(features, kernel, padding=PADDING[axes])


@pytest.mark.parametrize("axes", PADDING)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_formula_starts_as_identity_and_learns(make_signal, kind, axes):
    torch.manual_seed(0)
    adapter = build_adapter(kind, 3, 12, axes).double()
    features, result = make_signal(2, 3, 3, 4, 5), make_signal(2, 12, 3, 4, 5, seed=2)
    assert torch.equal(adapter(features, result), result)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=0.1)
    for _ in range(2):  # the inner factor of a low rank has no gradient at first
        optimizer.zero_grad()
        adapter(features, result).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad.any() for parameter in adapter.parameters())
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_()
    expected = explicit(kind, adapter.state_dict(), features, result, axes)
    torch.testing.assert_close(adapter(features, result), expected)


def test_what_it_costs_between_16_and_32_channels():
    for kind, axes, count in (
        ("low_rank1", "ZYX", 27 * 16 + 32),
        ("low_rank4", "ZYX", 4 * (27 * 16 + 32)),
        ("low_rank4", "YX", 4 * (9 * 16 + 32)),
        ("residual", "ZYX", 16 * 32),
        ("grouped", "ZYX", 32 * (27 * 4 + 8)),
    ):
        adapter = build_adapter(kind, 16, 32, axes)
        assert sum(p.numel() for p in adapter.parameters()) == count, (kind, axes)
    assert build_adapter("none", 1, 2, "ZYX") is None


def test_groups_are_smaller_where_they_do_not_divide_the_channels():
    for channels, sides in ((2, (2, 2)), (6, (2, 2)), (12, (4, 4))):
        adapter = build_adapter("grouped", 1, channels, "ZYX")
        weights = adapter.spatial.weight, adapter.pointwise.weight
        assert tuple(weight.shape[1] for weight in weights) == sides


def test_other_kinds_are_refused():
    for kind in ("low_rank", "low_rank0", "conv3_rank4", "", "eft"):
        with pytest.raises(UserError, match=f"adapter '{kind}': use 'low_rankR' .*'no"):
            build_adapter(kind, 1, 2, "ZYX")

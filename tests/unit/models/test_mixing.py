"""The fast forms of a MoDE convolution against a slow, obvious one."""

import functools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from continual_repmode.models import mixing
from continual_repmode.models.experts import EXPERTS, build_expert, name_experts
from continual_repmode.models.gating import TaskGate
from continual_repmode.models.merged_conv import MergedConv
from continual_repmode.models.mixing import (
    Mixture,
    convolve_branches,
    convolve_merged,
    convolve_mixed,
)

FORMS = {"merged": convolve_merged, "branches": convolve_branches}


def obvious(features, mixture):
    """Convolve sample by sample with a padded, gated sum of kernels (Eq. 3 to 6)."""
    tasks = [task for task, count in enumerate(mixture.counts) for _ in range(count)]
    extents = torch.tensor([expert.size for expert in mixture.experts]).amax(dim=0)
    outputs = []
    for sample, task in zip(features, tasks, strict=True):
        merged = 0.0
        for expert, gate in zip(mixture.experts, mixture.gates[task], strict=True):
            kernel = expert.weight
            if kernel.shape[2:] != expert.size:
                kernel = (
                    kernel.expand(-1, -1, *expert.size)
                    / torch.tensor(expert.size).prod()
                )
            margin = (extents - torch.tensor(kernel.shape[2:])) // 2
            padded = F.pad(kernel, [int(m) for m in margin.flip(0) for _ in range(2)])
            merged = merged + gate[:, None, None, None, None] * padded
        padding = [int(side) // 2 for side in extents]
        outputs.append(F.conv3d(sample[None], merged, padding=padding))
    return torch.cat(outputs)


def make(shape, counts, kinds=EXPERTS, axes="ZYX", channels=(2, 3), frozen=(), seed=0):
    """Return features and a mixture in float64; experts named in ``frozen`` are."""
    torch.manual_seed(seed)
    experts = [build_expert(kind, *channels, axes).double() for kind in kinds]
    for kind, expert in zip(kinds, experts, strict=True):
        expert.requires_grad_(kind not in frozen)
    logits = torch.randn(len(counts), len(kinds), channels[1]).double()
    features = torch.randn(sum(counts), channels[0], *shape).double()
    mixture = Mixture(experts, logits.softmax(dim=1).requires_grad_(), counts)
    return features.requires_grad_(), mixture


def outcome(form, features, mixture):
    """Return the output and the gradients of all that requires one."""
    output = form(features, mixture)
    weighting = torch.linspace(-1, 2, output.numel()).double().view_as(output)
    inputs = [
        features,
        mixture.gates,
        *(p for e in mixture.experts for p in e.parameters()),
    ]
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    return [output, *torch.autograd.grad((output * weighting).sum(), wanted)]


def assert_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    counts=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    kinds=st.lists(
        st.sampled_from([*EXPERTS, "conv7", "conv3_rank2"]), min_size=1, max_size=5
    ),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    axes=st.sampled_from(["ZYX", "YX"]),
    seed=st.integers(0, 99),
)
def test_output_and_gradients_equal_the_obvious_form(
    form, shape, counts, kinds, channels, axes, seed
):
    features, mixture = make(shape, counts, kinds, axes, channels, (), seed)
    expected = outcome(obvious, features, mixture)
    assert_equal(outcome(FORMS[form], features, mixture), expected)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    frozen=st.sets(st.sampled_from(EXPERTS), min_size=1),
    own=st.lists(st.sampled_from(["conv1", "conv3", "conv5"]), max_size=2),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 99),
)
def test_frozen_experts_change_no_other_gradient(
    form, shape, frozen, own, channels, seed
):
    features, mixture = make(shape, [2], EXPERTS, "ZYX", channels, frozen, seed)
    extension = [build_expert(kind, *channels, "ZYX").double() for kind in own]
    gates = torch.rand(1, 5 + len(own), channels[1]).double().requires_grad_()
    mixture = Mixture([*mixture.experts, *extension], gates, [2])
    expected = outcome(obvious, features, mixture)
    assert_equal(outcome(FORMS[form], features, mixture), expected)


def test_the_gradient_of_a_frozen_kernel_is_not_computed(monkeypatch):
    features, mixture = make((6, 6, 6), [1], ["conv5", "conv3"], frozen=["conv5"])
    extents = []
    backward = torch.ops.aten.convolution_backward

    def watch(*arguments):
        if arguments[-1] == (False, True, False):
            extents.append(tuple(arguments[2].shape[2:]))
        return backward(*arguments)

    monkeypatch.setattr(torch.ops.aten, "convolution_backward", watch)
    outcome(convolve_merged, features, mixture)
    assert extents == [(3, 3, 3)]


def test_a_gate_that_is_shut_gets_a_finite_gradient():
    features, mixture = make((6, 6, 6), [1], ["conv5", "conv3"], frozen=["conv5"])
    logits = torch.tensor([[[-900.0] * 3, [0.0] * 3]]).double().requires_grad_()
    shut = Mixture(mixture.experts, logits.softmax(dim=1), [1])
    convolve_merged(features, shut).square().sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_differentiated_that_needs_no_gradient(form):
    features, mixture = make((4, 4, 4), [1, 1], frozen=EXPERTS)
    fixed = Mixture(mixture.experts, mixture.gates.detach(), mixture.counts)
    output = FORMS[form](features.detach(), fixed)
    assert not output.requires_grad
    (gradient,) = torch.autograd.grad(FORMS[form](features, fixed).sum(), features)
    (expected,) = torch.autograd.grad(obvious(features, fixed).sum(), features)
    torch.testing.assert_close(gradient, expected)


def test_the_numerical_derivative_agrees():
    features, mixture = make((3, 4, 2), [1, 2], ["conv3", "avg3_conv1"])
    sizes = tuple(expert.size for expert in mixture.experts)
    weights = [expert.weight for expert in mixture.experts]

    def merged(features, gates, *weights):
        return MergedConv.apply(features, gates, [1, 2], sizes, *weights)

    assert torch.autograd.gradcheck(merged, (features, mixture.gates, *weights))


@pytest.mark.parametrize(
    ("counts", "side", "chosen"),
    [
        ([8], 1, "merged"),  # one kernel has to be merged anyway
        ([1] * 8, 4, "branches"),
        ([1] * 8, 8, "branches"),
        ([4, 4], 8, "merged"),
        ([1] * 8, 16, "merged"),
    ],
)
def test_many_tasks_on_small_maps_take_the_branches(monkeypatch, counts, side, chosen):
    taken = []
    for form in FORMS:
        watch = functools.partial(lambda form, f, m: taken.append(form) or f, form)
        monkeypatch.setattr(mixing, f"convolve_{form}", watch)
    _, mixture = make((1, 1, 1), counts)
    convolve_mixed(torch.zeros(8, 2, side, side, side), mixture)
    assert taken == [chosen]


@pytest.mark.parametrize("form", FORMS)
def test_autocast_computes_in_bfloat16_and_gives_float32_gradients(form):
    features, mixture = make((4, 4, 4), [1, 2])
    for expert in mixture.experts:
        expert.float()
    gates = mixture.gates.detach().float().requires_grad_()
    mixture = Mixture(mixture.experts, gates, mixture.counts)
    features = features.detach().float().requires_grad_()
    expected = outcome(obvious, features, mixture)
    with torch.autocast("cpu", torch.bfloat16):
        found = outcome(FORMS[form], features, mixture)
    for a, b in zip(found[1:], expected[1:], strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.03 * b.norm()


def test_a_table_of_gates_has_zeros_where_a_task_does_not_use_an_expert():
    gate = TaskGate(["red", "green"], name_experts(["conv3", "conv1"]), 4)
    gate.add_task("blue", ["conv3", "conv1", "extension_blue"], "uniform")
    table = gate.table(["green", "blue"], ["conv3", "conv1", "extension_blue"])
    torch.testing.assert_close(table[0, :2], gate("green"))
    assert not table[0, 2].any()
    torch.testing.assert_close(table[1], gate("blue"))
    base = gate.table(["red", "green"], ["conv3", "conv1"])
    torch.testing.assert_close(base, torch.stack([gate("red"), gate("green")]))

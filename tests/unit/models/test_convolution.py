"""The fast way for one sample gives what PyTorch's convolution and autograd give."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from continual_repmode.models import convolution
from continual_repmode.models.convolution import (
    SameConv3d,
    convolve,
    convolve_backward,
)

SIZES = [(3, 3, 3), (1, 3, 3), (5, 3, 3), (5, 5, 5), (1, 1, 1)]
SHAPES = [(1, 3, 4, 6, 5), (1, 2, 1, 7, 4), (1, 2, 4, 1, 4), (2, 3, 4, 6, 5)]


@pytest.fixture(params=[torch.contiguous_format, torch.channels_last_3d])
def cases(request):
    """Features, kernel and gradient of the output, for odd and even extents."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        drawn = torch.randn(shape, generator=generator)
        return drawn.to(memory_format=request.param)

    return [
        (draw(*shape), draw(4, shape[1], *size), draw(shape[0], 4, *shape[2:]))
        for shape, size in itertools.product(SHAPES, SIZES)
    ]


def test_some_of_the_cases_take_the_other_way(cases):
    slow = [convolution._is_slow(f, k.shape[2:]) for f, k, _ in cases]
    assert sum(slow) == 6  # one sample, Y can be cut, kernels that reach


def test_convolution_and_its_gradients_are_those_of_float64(cases):
    for features, kernel, d_output in cases:
        exact = [t.double().requires_grad_() for t in (features, kernel)]
        padding = [side // 2 for side in kernel.shape[2:]]
        expected = F.conv3d(*exact, padding=padding)
        expected.backward(d_output.double())
        wanted = [t.grad.float() for t in exact]

        torch.testing.assert_close(
            convolve(features, kernel), expected.float(), rtol=1e-4, atol=1e-4
        )
        explicit = convolve_backward(
            d_output, features, kernel, by_features=True, by_kernel=True
        )
        leaves = [t.clone().requires_grad_() for t in (features, kernel)]
        convolve(*leaves).backward(d_output)
        for found in (explicit, [leaf.grad for leaf in leaves]):
            for gradient, by_hand in zip(found, wanted, strict=True):
                torch.testing.assert_close(gradient, by_hand, rtol=1e-4, atol=1e-4)


def test_only_what_is_wanted_is_differentiated(cases):
    for features, kernel, d_output in cases:
        d_features, d_kernel = convolve_backward(
            d_output, features, kernel, by_kernel=True
        )
        assert d_features is None
        assert d_kernel.shape == kernel.shape


def test_the_module_is_an_ordinary_convolution_with_a_bias():
    torch.manual_seed(0)
    conv, features = SameConv3d(2, 3, (3, 3, 3), bias=True), torch.randn(1, 2, 4, 5, 6)
    torch.testing.assert_close(
        conv(features), torch.nn.Conv3d.forward(conv, features), rtol=1e-4, atol=1e-5
    )

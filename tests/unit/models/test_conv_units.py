import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import UnitSpec, build_conv, plain_unit


def test_each_role_changes_the_size_as_it_should():
    for role, axes, size in (
        ("conv", "ZYX", (4, 6, 8)),
        ("output", "YX", (4, 6, 8)),
        ("down", "ZYX", (2, 3, 4)),
        ("down", "YX", (4, 3, 4)),
        ("up", "ZYX", (8, 12, 16)),
        ("up", "YX", (4, 12, 16)),
    ):
        unit = plain_unit(UnitSpec("place", role, 2, 3, axes), kernel_size=3)
        assert unit(torch.randn(1, 2, 4, 6, 8)).shape == (1, 3, *size), (role, axes)


def test_plain_unit_normalizes_and_activates_except_at_the_output():
    features = torch.randn(3, 2, 4, 4, 4)
    unit = plain_unit(UnitSpec("place", "conv", 2, 3, "ZYX"))
    result = unit(features)
    expected = torch.nn.BatchNorm3d(3)(unit.conv(features)).clamp_min(0)
    torch.testing.assert_close(result, expected)
    output = plain_unit(UnitSpec("output", "output", 2, 1, "ZYX"))
    assert torch.equal(output(features), output.conv(features))


def test_even_kernels_are_refused():
    for kernel_size in (0, 2, -1):
        with pytest.raises(UserError, match=f"kernel_size {kernel_size}"):
            build_conv(UnitSpec("place", "conv", 1, 1, "ZYX"), kernel_size)

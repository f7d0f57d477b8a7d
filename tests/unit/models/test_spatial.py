import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from continual_repmode.errors import UserError
from continual_repmode.models.spatial import (
    check_divisible,
    mirror_to_multiple,
    per_axis,
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    size=st.tuples(*[st.integers(1, 9)] * 3),
    divisor=st.tuples(*[st.sampled_from([1, 2, 4, 16])] * 3),
)
def test_mirroring_agrees_with_numpy_symmetric_padding(size, divisor):
    volume = torch.arange(2 * size[0] * size[1] * size[2]).reshape(1, 2, *size)
    margins = [(0, 0), (0, 0)]
    margins += [(0, -s % d) for s, d in zip(size, divisor, strict=True)]
    expected = np.pad(volume.numpy(), margins, mode="symmetric")
    np.testing.assert_array_equal(mirror_to_multiple(volume, divisor), expected)


def test_divisible_volumes_are_not_copied():
    volume = torch.zeros(1, 1, 4, 8, 8)
    assert mirror_to_multiple(volume, (4, 4, 4)) is volume


def test_indivisible_side_is_named_with_size_and_divisor():
    with pytest.raises(UserError, match=r"axis Y has size 30.*16"):
        check_divisible(torch.zeros(1, 1, 16, 30, 32), (16, 16, 16))


def test_yx_leaves_z_alone():
    assert per_axis(5, "YX") == (1, 5, 5)
    assert per_axis(5, "ZYX") == (5, 5, 5)


def test_unknown_axes_are_refused():
    with pytest.raises(UserError, match="axes 'XYZ'"):
        per_axis(3, "XYZ")

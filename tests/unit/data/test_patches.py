import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from continual_repmode.data.patches import (
    cut,
    foreground_start,
    pad_to,
    random_flips,
    random_start,
)


def numbered(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_every_place_is_drawn_equally_often_the_last_one_too():
    torch.manual_seed(0)
    starts = [random_start((6, 5, 4), (4, 4, 4)) for _ in range(3000)]

    for axis, num_places in enumerate((3, 2, 1)):
        drawn, counts = np.unique([s[axis] for s in starts], return_counts=True)
        assert drawn.tolist() == list(range(num_places))
        assert counts.min() > 0.9 * 3000 / num_places


def test_bright_places_are_drawn_as_often_as_they_should():
    """One of k places drawn alike, in proportion to its mean above zero."""
    torch.manual_seed(0)
    target = np.array([[[-5.0, 1.0, 3.0]]])
    weights = np.array([0.0, 1.0, 3.0])
    trials = 3000

    drawn = [foreground_start(target, (1, 1, 1), 2)[2] for _ in range(trials)]

    expected = np.zeros(3)
    for one in range(3):
        for other in range(3):
            sum_ = weights[one] + weights[other]
            for place in (one, other):
                share = weights[place] / sum_ if sum_ else 0.5
                expected[place] += share / 9
    found = np.bincount(drawn, minlength=3) / trials
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_where_nothing_is_bright_every_place_is_drawn():
    torch.manual_seed(0)
    dark = np.full((1, 1, 3), -1.0)
    assert {foreground_start(dark, (1, 1, 1))[2] for _ in range(50)} == {0, 1, 2}


def test_each_axis_flips_half_of_the_time_on_its_own():
    torch.manual_seed(0)
    flips = [random_flips() for _ in range(4000)]

    for axis in range(3):
        share = np.mean([axis in drawn for drawn in flips])
        assert share == pytest.approx(0.5, abs=0.03)
    assert len(set(flips)) == 8


def test_a_patch_is_the_box_asked_for_with_memory_of_its_own():
    volume = numbered(5, 6, 7)
    patch = cut(volume, (1, 2, 3), (2, 3, 4), flips=())

    assert patch.shape == (1, 2, 3, 4)
    np.testing.assert_array_equal(patch[0], volume[1:3, 2:5, 3:7])
    patch.zero_()
    assert volume[1, 2, 3] != 0


def test_a_volume_that_must_not_change_can_be_cut_whole():
    volume = numbered(2, 3, 4)
    volume.flags.writeable = False

    np.testing.assert_array_equal(cut(volume, (0, 0, 0), (2, 3, 4), ())[0], volume)


def test_flips_mirror_their_axis():
    volume = numbered(2, 3, 4)

    flipped = cut(volume, (0, 0, 0), (2, 3, 4), flips=(0, 2))

    np.testing.assert_array_equal(flipped[0], volume[::-1, :, ::-1])


def test_padding_mirrors_at_both_faces():
    volume = numbered(1, 1, 3)

    assert pad_to(volume, (1, 1, 6)).tolist() == [[[1, 0, 1, 2, 1, 0]]]


@given(st.tuples(*[st.integers(1, 6)] * 3), st.tuples(*[st.integers(1, 16)] * 3))
def test_padding_keeps_the_volume_and_reaches_the_size(shape, least):
    volume = numbered(*shape)
    padded = pad_to(volume, least)

    assert padded.shape == tuple(max(pair) for pair in zip(shape, least, strict=True))
    inside = tuple(
        slice((new - old) // 2, (new - old) // 2 + old)
        for new, old in zip(padded.shape, shape, strict=True)
    )
    np.testing.assert_array_equal(padded[inside], volume)

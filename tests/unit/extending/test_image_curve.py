"""What the errors learned from few images and from more say."""

import re

import pytest

from continual_repmode.errors import UserError
from continual_repmode.extending.image_curve import (
    HELPS,
    SATURATED,
    CurvePoint,
    curve_sizes,
    verdict,
)


def said(*errors, first=1, variance=1.0):
    return verdict(
        [CurvePoint(first * 2**k, e, variance) for k, e in enumerate(errors)]
    )


@pytest.mark.parametrize(
    ("num_images", "sizes"),
    [(1, ()), (2, (1,)), (3, (1,)), (5, (1, 2)), (8, (1, 2, 4)), (60, (7, 15, 30))],
)
def test_halves_are_tried_down_to_one_image_at_most_three(num_images, sizes):
    assert curve_sizes(None, num_images) == sizes


def test_asked_sizes_are_sorted_and_the_full_set_is_not_learned_twice():
    assert curve_sizes((4, 2, 2, 8), 8) == (2, 4)
    assert curve_sizes((), 8) == ()
    with pytest.raises(UserError, match=r"of 9 images: there are only 8"):
        curve_sizes((1, 9), 8)


@pytest.mark.parametrize(
    ("last", "change", "meaning"),
    [
        (0.455, "fell by 9 %", "more images would probably help"),
        (0.5 * (1 - HELPS), "fell by 5 %", "more images would probably help"),
        (0.485, "fell by 3 %", "more images may help a little"),
        (0.495, "changed by less than 2 %", "would probably not help much"),
        (0.505, "changed by less than 2 %", "would probably not help much"),
        (0.5 * (1 + SATURATED), "rose by 2 %", "these few images say little"),
        (0.6, "rose by 20 %", "these few images say little"),
    ],
)
def test_the_last_doubling_decides(last, change, meaning):
    text = said(0.9, 0.5, last, first=2)
    assert text.startswith(f"from 4 to 8 images the validation error {change}: ")
    assert meaning in text


def test_a_curve_that_goes_up_and_down_is_called_so():
    assert "caution" in said(0.5, 0.6, 0.4)
    assert "caution" not in said(0.6, 0.5, 0.4)


def test_a_structure_that_was_not_learned_gets_no_advice_about_images():
    for errors, variance in [
        ((1.4, 1.01), 1.0),
        ((0.95, 0.9), 0.9),
        ((0.9, 0.87), 0.88),
    ]:
        text = said(*errors, variance=variance)
        assert text.startswith("with all 2 images not learned: validation R² ")
        assert "so the curve says nothing about more images" in text
        assert not re.search(r"fell|rose|would|may", text)


def test_one_point_above_the_mean_is_no_curve_yet():
    text = said(1.1, 0.95, 0.6, variance=0.9)
    assert "with 2 images not learned: validation R² -0.06" in text
    assert "with all 4 images learned: validation R² 0.33; one such point" in text
    assert not re.search(r"fell|rose|would|may", text)
    assert "more images would probably help" in said(1.1, 0.8, 0.6, variance=0.9)

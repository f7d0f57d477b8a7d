import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from continual_repmode.manifests.checks import registration
from continual_repmode.manifests.checks.registration import block_size, register
from continual_repmode.synthetic import simulate_field
from continual_repmode.tasks import TASKS

Counts = NDArray[np.uint16]
MARGIN = 16


@pytest.fixture(scope="module")
def fields():
    """One generated field per structure that light shows well, with a margin."""
    tasks = ("mitochondria", "dna", "cell_membrane")
    shape = (24, 128 + 2 * MARGIN, 128 + 2 * MARGIN)
    return {task: simulate_field(1, shape, task) for task in tasks}


def displaced(pair: tuple[Counts, Counts], y: int, x: int) -> tuple[Counts, Counts]:
    """Cut the light from the middle, and the target so that it lies off by (y, x)."""
    light, target = pair
    window = [slice(MARGIN, side - MARGIN) for side in light.shape[1:]]
    moved = [
        slice(side.start - step, side.stop - step)
        for side, step in zip(window, (y, x), strict=True)
    ]
    return light[:, *window], target[:, *moved]


def test_the_shift_of_a_structure_against_its_light_is_found(fields):
    for task, pair in fields.items():
        for shift in ((0, 0), (4, -8), (-16, 5)):
            found = register(*displaced(pair, *shift))
            assert found.shift_yx_px == pytest.approx(shift, abs=2), task


def test_a_registered_pair_is_never_told_to_be_shifted():
    for task in TASKS:
        found = register(*simulate_field(3, (16, 96, 96), task))
        assert found.shift_yx_px is None or math.hypot(*found.shift_yx_px) < 3, task


def test_targets_of_other_fields_seldom_match(fields):
    light, _ = displaced(fields["mitochondria"], 0, 0)
    others = [
        displaced(simulate_field(seed, (24, 160, 160), "dna"), 0, 0)[1]
        for seed in (2, 3, 4)
    ]

    assert [register(light, other).shift_yx_px for other in others] == [None] * 3


def test_a_low_peak_counts_if_most_planes_point_at_it():
    light = details((16, 96, 96))
    noise = np.random.default_rng(5).normal(size=light.shape)
    target = np.roll(light, (6, -4), (1, 2)) + 22 * light.std() * noise
    found = register(light, target)
    assert found.prominence >= registration.STEADY_PROMINENCE
    assert found.prominence < registration.LEAST_PROMINENCE
    assert found.shift_yx_px == pytest.approx((6, -4), abs=0.5)


def details(shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, (0, 1, 1))


@settings(max_examples=20)
@given(st.integers(-15, 15), st.integers(-15, 15))
def test_a_roll_of_the_target_moves_the_shift_by_as_much(y, x):
    light = details((8, 72, 64))
    target = np.roll(-light, (y, x), axis=(1, 2))  # dark where light is bright

    found = register(light, target)

    assert found.shift_yx_px == pytest.approx((y, x), abs=0.3)
    assert found.prominence > registration.LEAST_PROMINENCE


def test_gain_offset_and_type_do_not_matter():
    light = details((8, 64, 64))
    target = np.roll(light, 3, axis=1)
    counts = (light * 200 + 2000).astype(np.uint16)

    exact = register(light, target).shift_yx_px

    assert register(counts, target).shift_yx_px == pytest.approx(exact, abs=0.2)
    assert register(light * 1e300, target - 7).shift_yx_px == pytest.approx(
        exact, abs=0.2
    )


def test_large_planes_are_averaged_and_the_shift_is_in_raw_pixels(monkeypatch):
    monkeypatch.setattr(registration, "LARGEST_PLANE", 64)
    coarse = details((8, 64, 70))
    light = ndimage.zoom(coarse, (1, 3, 3), order=1)
    assert block_size(light.shape) == 4

    found = register(light, np.roll(light, (12, -9), axis=(1, 2)))

    assert found.shift_yx_px == pytest.approx((12, -9), abs=2)


def test_no_shift_is_told_where_the_images_do_not_tell():
    for case, light, target in (
        ("constant", np.ones((8, 64, 64)), details((8, 64, 64))),
        ("empty", details((8, 64, 64)), np.zeros((8, 64, 64), np.uint8)),
        ("nan", np.full((8, 64, 64), np.nan), details((8, 64, 64))),
        ("unrelated", details((8, 64, 64), 1), details((8, 64, 64), 2)),
        ("too narrow", details((8, 20, 64)), details((8, 20, 64))),
        ("one plane", details((1, 64, 64)), details((1, 64, 64))),
    ):
        assert register(light, target).shift_yx_px is None, case


def test_a_few_voxels_that_are_not_finite_do_no_harm():
    light = details((8, 64, 64))
    target = np.roll(light, 6, axis=2)
    light[3, 10:12, 10] = np.nan, np.inf

    assert register(light, target).shift_yx_px == pytest.approx((0, 6), abs=0.3)


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        register(np.zeros((5, 64, 64)), np.zeros((6, 64, 64)))

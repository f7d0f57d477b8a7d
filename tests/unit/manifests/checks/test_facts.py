import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from continual_repmode.manifests.checks.facts import (
    ChannelFacts,
    PairFacts,
    from_json,
    measure_channel,
    measure_pair,
    to_json,
)
from continual_repmode.synthetic import simulate_field
from continual_repmode.tasks import TASKS

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)
DTYPES = st.sampled_from(
    ["bool", "u1", "i1", "<u2", ">u2", "i2", "u4", "i8", "u8", "f2", "<f4", ">f4", "f8"]
)
ANY_VOLUME = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))


def texture(shape: tuple[int, int, int] = (6, 40, 50), seed: int = 0) -> Any:
    """Uint16 counts with fine detail in every plane."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, (0, 1, 1))
    return np.asarray(1000 + 400 * smooth, np.uint16)


def counts(values: list[int], dtype: str = "u2") -> Any:
    return np.array(values, dtype)[None, None]


@given(ANY_VOLUME)
def test_any_numbers_are_measured_without_a_warning(raw):
    facts = measure_channel(raw)

    finite = raw[np.isfinite(raw)]
    assert facts.num_nonfinite == raw.size - finite.size
    assert facts.shape == raw.shape
    if finite.size:
        assert facts.minimum == float(finite.min())
        assert facts.maximum == float(finite.max())
    assert 0 <= facts.saturated <= 1
    assert 0 <= facts.at_minimum <= 1
    assert 0 <= facts.focus <= 1
    assert np.isfinite(facts.sharpness)


@given(
    st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]).flatmap(
        lambda dtype: hnp.arrays(dtype, SHAPES, elements=st.integers(0, 100))
    )
)
def test_mean_and_deviation_are_those_of_all_voxels_in_float64(raw):
    facts = measure_channel(raw)

    assert facts.mean == pytest.approx(raw.astype(np.float64).mean(), abs=1e-9)
    assert facts.std == pytest.approx(raw.astype(np.float64).std(), abs=1e-7)
    assert facts.num_levels == len(np.unique(raw))
    assert facts.is_constant == (len(np.unique(raw)) == 1)


def test_nan_and_infinity_are_counted_and_left_out_of_the_rest():
    raw = texture().astype(np.float32)
    raw[0, 0, :3] = np.nan, np.inf, -np.inf
    rest = raw[np.isfinite(raw)].astype(np.float64)

    facts = measure_channel(raw)

    assert facts.num_nonfinite == 3
    assert (facts.minimum, facts.maximum) == (rest.min(), rest.max())
    assert facts.mean == pytest.approx(rest.mean())
    assert facts.std == pytest.approx(rest.std())


def test_a_volume_of_nan_has_zeros_for_statistics():
    facts = measure_channel(np.full((2, 3, 3), np.nan))

    assert facts.num_nonfinite == 18
    assert (facts.minimum, facts.maximum, facts.mean, facts.std) == (0, 0, 0, 0)


def test_huge_values_do_not_overflow():
    raw = np.array([[[-1.5e308, 1.5e308], [0.0, 1e308]]])

    facts = measure_channel(raw)

    assert facts.mean == pytest.approx(0.25e308)
    assert facts.std == pytest.approx(float((raw / 1e308).std()) * 1e308)


def test_what_is_no_volume_of_numbers_is_refused():
    for raw in (np.zeros((2, 2)), np.zeros((0, 2, 2)), [[["a"]]]):
        with pytest.raises(ValueError, match=r"need real numbers \(Z, Y, X\)"):
            measure_channel(np.asarray(raw))


@given(hnp.arrays("u2", SHAPES), st.data())
def test_the_digest_changes_with_any_voxel(raw, data):
    changed = raw.copy()
    at = data.draw(st.tuples(*(st.integers(0, side - 1) for side in raw.shape)))
    changed[at] ^= data.draw(st.integers(1, 65535))

    assert measure_channel(changed).digest != measure_channel(raw).digest


def test_the_digest_tells_types_and_shapes_apart():
    zeros = np.zeros((2, 3, 4), np.uint16)
    others = [zeros.astype(np.int16), zeros.reshape(2, 4, 3), zeros.astype(np.uint8)]

    digests = {measure_channel(volume).digest for volume in (zeros, *others)}

    assert len(digests) == 4


@given(ANY_VOLUME, st.permutations(range(3)))
def test_memory_order_and_byte_order_do_not_matter(raw, order):
    elsewhere = raw.transpose(order).copy().transpose(np.argsort(order))
    swapped = raw.astype(raw.dtype.newbyteorder("S"))

    assert measure_channel(elsewhere) == measure_channel(raw)
    assert measure_channel(swapped) == measure_channel(raw)


def test_voxels_cut_off_at_a_maximum_of_any_bit_depth_are_saturated():
    for limit in (4095, 65535, 1200):
        raw = np.minimum(texture().astype(np.int64) * limit // 1200, limit)
        share = float((raw == limit).mean())
        assert share > 0.01
        for volume in (raw.astype(np.uint16), raw / limit):
            found = measure_channel(volume).saturated
            assert found == pytest.approx(share), limit


def test_a_maximum_that_the_histogram_thins_out_to_is_not_saturated():
    assert measure_channel(texture()).saturated == 0
    assert measure_channel(texture().astype(np.float32)).saturated == 0


def test_a_mask_is_no_saturated_image():
    cells = ndimage.gaussian_filter(texture().astype(float), (0, 3, 3)) > 1010
    soft = ndimage.uniform_filter(255.0 * cells, (0, 2, 2))

    assert measure_channel(cells).is_mask
    assert measure_channel(cells * np.uint8(255)).is_mask
    assert measure_channel(soft.astype(np.uint8)).is_mask
    assert not measure_channel(texture()).is_mask
    assert not measure_channel(np.minimum(texture(), 1100)).is_mask


def test_hot_and_dead_pixels_add_no_gray_levels():
    raw = np.tile(np.array([100, 101, 102], np.uint16), (3, 100, 100))
    raw[0, 0, :2] = 0, 60_000

    assert measure_channel(raw).num_levels == 3
    assert measure_channel(raw.astype(np.float32)).num_levels == 3


@given(st.sampled_from([1, 2, 4]), st.integers(0, 1000))
def test_gain_and_offset_of_the_camera_change_no_sharpness(gain, offset):
    raw = texture().astype(np.int64)
    one, other = measure_channel(raw), measure_channel(gain * raw + offset)

    assert other.sharpness == pytest.approx(one.sharpness, rel=1e-3)
    assert other.focus == pytest.approx(one.focus, abs=1e-3)


def test_noise_of_any_kind_has_one_sharpness_and_images_have_less():
    rng = np.random.default_rng(0)
    for noise in (rng.normal(size=(8, 32, 32)), rng.poisson(100, (8, 32, 32)),
                  rng.integers(0, 4000, (8, 700, 700))):  # fmt: skip
        assert measure_channel(noise).sharpness == pytest.approx(2, abs=0.05)
    for number, task in enumerate(TASKS):
        light, _ = simulate_field([number, 3], (8, 64, 64), task)
        assert measure_channel(light).sharpness < 1.7


def test_blur_lowers_the_sharpness():
    raw = texture()
    sharpness = [
        measure_channel(ndimage.gaussian_filter(raw, (0, blur, blur))).sharpness
        for blur in (0, 0.7, 1.5, 3)
    ]

    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[0] > 5 * sharpness[-1]


def test_focus_tells_where_the_fine_detail_lies():
    for best in (0, 4, 9):
        raw = texture((10, 40, 40))
        for z in range(10):
            raw[z] = ndimage.gaussian_filter(raw[z], abs(z - best))
        focus = best / 9
        assert measure_channel(raw).focus == pytest.approx(focus, abs=0.1)
        assert measure_channel(raw[::-1]).focus == pytest.approx(1 - focus, abs=0.1)


def test_a_pair_of_different_shapes_is_measured_but_not_compared():
    facts = measure_pair(texture((5, 60, 60)), texture((6, 60, 60)))

    assert facts.signal.shape == (5, 60, 60)
    assert facts.target.shape == (6, 60, 60)
    assert facts.shift_yx_px is None
    assert facts.shift_confidence == 0


def test_a_shift_of_a_copy_is_told_in_pixels():
    raw = texture((12, 80, 90))

    facts = measure_pair(raw, np.roll(raw, (5, -7), axis=(1, 2)))

    assert facts.shift_yx_px == pytest.approx((5, -7), abs=0.3)
    assert facts.shift_confidence > 2


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
CHANNELS = st.builds(
    ChannelFacts,
    shape=st.tuples(*[st.integers(1, 2000)] * 3),
    dtype=st.sampled_from(["uint16", "float32"]),
    digest=st.just("0af3"),
    num_nonfinite=st.integers(0, 100),
    num_levels=st.integers(0, 65536),
    **dict.fromkeys(
        (
            *("minimum", "maximum", "mean", "std"),
            *("saturated", "at_minimum", "sharpness", "focus"),
        ),
        FLOATS,
    ),
)


@given(
    st.builds(
        PairFacts,
        signal=CHANNELS,
        target=CHANNELS,
        shift_yx_px=st.none() | st.tuples(FLOATS, FLOATS),
        shift_confidence=FLOATS,
    )
)
def test_facts_survive_json_unchanged(facts):
    assert from_json(json.loads(json.dumps(to_json(facts)))) == facts


def test_facts_of_another_version_are_refused():
    for missing in ("signal", "shift_yx_px"):
        values = to_json(measure_pair(texture(), texture()))
        del values[missing]
        with pytest.raises((KeyError, TypeError, ValueError)):
            from_json(values)

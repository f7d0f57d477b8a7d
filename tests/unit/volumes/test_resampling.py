import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.volumes.resampling import resample, resampled_shape, resize

PAPER_UM = (0.29, 0.29, 0.29)


def test_a_stack_of_the_paper_gets_the_shape_of_the_published_data() -> None:
    shape = resampled_shape((65, 624, 924), (0.29, 0.108, 0.108), PAPER_UM)

    assert shape == (65, 232, 344)


def test_no_axis_vanishes() -> None:
    assert resampled_shape((1, 1, 100), (0.1, 0.1, 0.1), PAPER_UM) == (1, 1, 34)


def test_equal_voxel_sizes_leave_the_volume_alone() -> None:
    volume = np.random.default_rng(0).random((3, 4, 5), np.float32)

    assert resample(volume, PAPER_UM, PAPER_UM) is volume


def test_a_straight_ramp_stays_straight_from_corner_to_corner() -> None:
    ramp = np.linspace(0, 1, 41, dtype=np.float32)
    volume = np.broadcast_to(ramp, (6, 7, 41)).copy()

    resized = resample(volume, (0.29, 0.29, 0.1), PAPER_UM)

    assert resized.dtype == np.float32
    assert resized.shape == (6, 7, 14)
    expected = np.broadcast_to(np.linspace(0, 1, 14), (6, 7, 14))
    inner = np.s_[:, :, 1:-1]  # a cubic spline bends where the edge is repeated
    np.testing.assert_allclose(resized[inner], expected[inner], atol=2e-3)
    np.testing.assert_allclose(resized, expected, atol=1e-2)


def test_a_smooth_volume_survives_the_way_there_and_back() -> None:
    z, y, x = np.meshgrid(*[np.linspace(0, 3, n) for n in (20, 60, 60)], indexing="ij")
    volume = (np.sin(z) * np.cos(y) + np.sin(x)).astype(np.float32)
    raw_um = (0.29, 0.108, 0.108)

    back = resample(resample(volume, raw_um, PAPER_UM), PAPER_UM, raw_um)

    assert abs(back.shape[1] - 60) <= 1
    assert resample(volume, raw_um, PAPER_UM).shape == (20, 22, 22)
    np.testing.assert_allclose(back[..., 0, 0], volume[..., 0, 0], atol=0.02)
    np.testing.assert_allclose(back[..., -1, -1], volume[..., -1, -1], atol=0.02)


@pytest.mark.parametrize("bad_um", [0.0, -0.1, float("nan"), float("inf")])
def test_a_voxel_size_that_is_no_length_is_refused(bad_um: float) -> None:
    with pytest.raises(UserError, match="from_um: voxel sizes must be positive"):
        resampled_shape((2, 2, 2), (0.29, bad_um, 0.29), PAPER_UM)


def test_resizing_to_an_explicit_shape_and_back_restores_every_shape() -> None:
    volume = np.random.default_rng(0).random((5, 23, 31), np.float32)

    for method in ("paper", "fast"):
        there = resize(volume, (6, 9, 40), method)
        assert there.shape == (6, 9, 40)
        assert resize(there, volume.shape, method).shape == volume.shape


def test_the_fast_way_averages_what_falls_into_a_larger_voxel() -> None:
    volume = np.random.default_rng(0).random((4, 6, 9), np.float32)

    resized = resize(volume, (4, 3, 3), "fast")

    expected = volume.reshape(4, 3, 2, 3, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(resized, expected, atol=1e-6)


def test_the_fast_way_interpolates_linearly_along_axes_that_grow() -> None:
    ramp = np.linspace(0, 1, 10, dtype=np.float32)
    volume = np.broadcast_to(ramp[:, None, None], (10, 4, 4)).copy()

    resized = resize(volume, (20, 4, 4), "fast")

    centers = (np.arange(20) + 0.5) / 2 - 0.5  # in voxels of the ramp
    expected = np.clip(centers, 0, 9) / 9
    np.testing.assert_allclose(resized[:, 2, 2], expected, atol=1e-6)


def test_noise_survives_the_papers_way_and_is_averaged_by_the_fast_one() -> None:
    noise = np.random.default_rng(0).standard_normal((4, 120, 120)).astype(np.float32)

    paper, fast = (resize(noise, (4, 45, 45), method) for method in ("paper", "fast"))

    assert paper.std() > 0.7
    assert fast.std() < 0.45  # about 2.7 x 2.7 voxels become one


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(UserError, match="resize='best': use paper or fast"):
        resize(np.zeros((2, 2, 2), np.float32), (1, 1, 1), "best")  # type: ignore[arg-type]

"""Measures of whole volumes against other libraries and slow obvious computations."""

import math
import warnings

import numpy as np
import pytest
from scipy import ndimage, stats
from skimage import filters
from skimage import metrics as skimage_metrics

from continual_repmode.metrics.further import choose_metrics, measure_further
from continual_repmode.metrics.image_pair import ImagePair
from continual_repmode.metrics.light_my_cells import has_all, has_some
from continual_repmode.metrics.similarity import (
    resolution_um,
    shell_correlation,
    spectral_pearson,
    ssim,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import cubic.metrics as cubic

VOXEL_UM = (0.5, 0.25, 0.2)


def volumes(shape=(12, 20, 24), noise=0.3):
    """A smooth target, and it blurred with noise of its own."""
    rng = np.random.default_rng(7)
    target = ndimage.gaussian_filter(rng.normal(size=shape), 1.0)
    target /= target.std()
    prediction = 0.8 * ndimage.gaussian_filter(target, 0.7)
    prediction += noise * rng.normal(size=shape) + 0.1
    return prediction.astype(np.float32), target.astype(np.float32)


def measured(names, prediction, target, task="dna"):
    pair = ImagePair(prediction, target, task, VOXEL_UM)
    return measure_further(choose_metrics(names, "metrics="), pair)


def ssim_by_loops(prediction, target, data_range, side=7):
    """Wang et al. 2004, cube by cube, with unbiased variances."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    found = []
    for corner in np.ndindex(*(n - side + 1 for n in target.shape)):
        box = tuple(slice(start, start + side) for start in corner)
        x, y = (v[box].astype(np.float64).ravel() for v in (prediction, target))
        ((xx, xy), (_, yy)) = np.cov(x, y)
        likeness = (2 * x.mean() * y.mean() + c1) * (2 * xy + c2)
        norm = (x.mean() ** 2 + y.mean() ** 2 + c1) * (xx + yy + c2)
        found.append(likeness / norm)
    return np.mean(found)


def test_ssim_is_that_of_every_cube_and_of_other_libraries():
    prediction, target = volumes()
    low, high = np.percentile(target, (0.1, 99.9))
    found = measured("ssim", prediction, target)["ssim"]
    inside = (slice(3, -3),) * 3  # windows that fit: scikit-image crops to the same
    assert found == pytest.approx(
        ssim_by_loops(prediction, target, high - low), abs=1e-9
    )
    peer = cubic.ssim(target, prediction, data_range=high - low)
    assert found == pytest.approx(peer, abs=1e-5)
    assert target[inside].size < target.size


def test_ssim_of_few_planes_is_that_of_each_plane():
    prediction, target = volumes((4, 20, 24))
    expected = np.mean(
        [
            skimage_metrics.structural_similarity(t, p, data_range=5.0)
            for p, t in zip(
                prediction.astype(np.float64), target.astype(np.float64), strict=True
            )
        ]
    )
    assert ssim(prediction, target, 5.0) == pytest.approx(expected, abs=1e-12)
    assert math.isnan(ssim(prediction[:, :6], target[:, :6], 5.0))


def test_errors_in_the_range_of_the_target_and_in_its_foreground():
    prediction, target = (v.astype(np.float64) for v in volumes())
    found = measured("nrmse,psnr,foreground_mse,foreground_r", prediction, target)
    low, high = np.quantile(target, (0.001, 0.999))
    rmse = np.sqrt(skimage_metrics.mean_squared_error(target, prediction))
    assert found["nrmse"] == pytest.approx(rmse / (high - low), rel=1e-12)
    psnr = skimage_metrics.peak_signal_noise_ratio(
        target, prediction, data_range=high - low
    )
    assert found["psnr"] == pytest.approx(psnr, rel=1e-12)
    inside = target > filters.threshold_otsu(target)
    assert 0.2 < inside.mean() < 0.8
    error = np.mean((prediction[inside] - target[inside]) ** 2)
    assert found["foreground_mse"] == pytest.approx(error, rel=1e-12)
    r = stats.pearsonr(prediction[inside], target[inside]).statistic
    assert found["foreground_r"] == pytest.approx(r, rel=1e-10)


def shells_by_loops(prediction, target):
    """Every coefficient by its own frequency, shell by shell."""
    windows = np.ones(target.shape)
    for axis, side in enumerate(target.shape):
        steps = np.arange(1, side + 1)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * steps / (side + 1))
        windows *= np.moveaxis(np.broadcast_to(hann, (*([1] * 2), side)), 2, axis)
    one, other = (np.fft.fftn((v - v.mean()) * windows) for v in (prediction, target))
    extents = [n * um for n, um in zip(target.shape, VOXEL_UM, strict=True)]
    width, highest = 1 / max(extents), 0.5 / max(VOXEL_UM)
    shells: dict[int, list] = {}
    for index in np.ndindex(*target.shape):
        signed = [
            i if i < (n + 1) // 2 else i - n
            for i, n in zip(index, target.shape, strict=True)
        ]
        radius = math.hypot(*(s / e for s, e in zip(signed, extents, strict=True)))
        shells.setdefault(round(radius / width), []).append(index)
    found = []
    for shell in range(1, int(highest / width + 1e-9) + 1):
        a, b = (np.array([v[i] for i in shells[shell]]) for v in (one, other))
        norm = np.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum())
        found.append((width * shell, (a * b.conj()).sum().real / norm))
    return np.array(found).T


def test_shells_and_resolution_are_those_of_single_coefficients():
    prediction, target = (v.astype(np.float64) for v in volumes(noise=3.0))
    frequency, correlation = shells_by_loops(prediction, target)
    found = shell_correlation(prediction, target, VOXEL_UM)
    np.testing.assert_allclose(found[0], frequency, rtol=1e-12)
    np.testing.assert_allclose(found[1], correlation, atol=1e-12)
    # where the straight lines between shells cross 1/7
    fine = np.linspace(frequency[0], frequency[-1], 400_001)
    crossing = fine[np.argmax(np.interp(fine, frequency, correlation) < 1 / 7)]
    assert (correlation < 1 / 7).any()
    assert resolution_um(prediction, target, VOXEL_UM) == pytest.approx(
        1 / crossing, rel=1e-4
    )


def test_resolution_is_where_shared_detail_sinks_into_noise():
    """White noise blurred by s voxels has the power c exp(-(2 pi f s)^2).

    Two images of it with white noise of power n correlate by S / (S + n), which is 1/7
    where S is n / 6; c makes the variance of the shared part 1.
    """
    rng = np.random.default_rng(3)
    shape, voxel_um, noise = (32, 64, 64), 0.29, 0.3
    white = rng.normal(size=shape)
    for blur in (1.6, 2.4, 3.2):
        shared = ndimage.gaussian_filter(white, blur)
        shared /= shared.std()
        noisy = [shared + noise * rng.normal(size=shape) for _ in range(2)]
        peak = (2 * blur * np.sqrt(np.pi)) ** 3
        frequency = np.sqrt(np.log(peak * 6 / noise**2)) / (2 * np.pi * blur)
        found = resolution_um(*noisy, (voxel_um,) * 3)
        assert found == pytest.approx(voxel_um / frequency, rel=0.06)
    voxel = (voxel_um,) * 3
    assert resolution_um(white, 3 * white + 1, voxel) == pytest.approx(0.58, rel=0.01)
    assert resolution_um(rng.normal(size=shape), white, voxel) > 2
    assert math.isnan(resolution_um(np.zeros(shape), white, voxel))


def test_spectral_correlation_is_one_for_a_scaled_copy_and_small_for_noise():
    prediction, target = volumes()
    other = np.random.default_rng(0).normal(size=target.shape).astype(np.float32)
    assert spectral_pearson(3 * target + 2, target, VOXEL_UM) == pytest.approx(
        1, abs=1e-5
    )
    assert abs(spectral_pearson(other, target, VOXEL_UM)) < 0.3
    plane = spectral_pearson(prediction[:1], target[:1], VOXEL_UM)
    assert 0.3 < plane < 1
    assert math.isnan(spectral_pearson(np.ones_like(target), target, VOXEL_UM))


def test_light_my_cells_is_the_metrics_of_its_organizers():
    prediction, target = (v.astype(np.float64) for v in volumes())
    scaled = []
    for image in (target, prediction):
        low, high = np.percentile(image, 2), np.percentile(image, 99.8)
        scaled.append((image - low) / (high - low))
    true, predicted = scaled
    expected = {
        "lmc_mae": np.mean(abs(true - predicted)),
        "lmc_ssim": skimage_metrics.structural_similarity(
            true, predicted, data_range=max(np.ptp(true), np.ptp(predicted))
        ),
        "lmc_euclidean": math.dist(true.ravel(), predicted.ravel()),
        "lmc_cosine": 1
        - (true * predicted).sum() / np.sqrt((true**2).sum() * (predicted**2).sum()),
    }
    for task in ("dna", "mitochondria", "Nucleus"):
        assert measured("lightmycells", prediction, target, task) == pytest.approx(
            expected, rel=1e-9
        )
    for task in ("actin_filament", "microtubule"):
        assert measured("lightmycells", prediction, target, task).keys() == {"lmc_ssim"}
    assert measured("lightmycells", prediction, target, "golgi_apparatus") == {}
    names = ("actomyosin_bundle", "nuclear_envelope", "nucleolus")
    assert not any(has_all(name) or has_some(name) for name in names)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 9, 16), (8, 4, 4), (1, 1, 1)])
def test_what_is_not_defined_for_a_volume_is_left_out_without_a_warning(shape):
    target = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    for prediction in (np.zeros_like(target), target):
        found = measured("field,objects,lightmycells", prediction, target)
        assert all(map(math.isfinite, found.values()))
    constant = np.ones_like(target)
    found = measured("field,objects,lightmycells", target, constant)
    assert found.keys().isdisjoint({"ssim", "nrmse", "foreground_mse", "fsc_um"})

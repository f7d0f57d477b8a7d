"""How alike two volumes look: structure, noise, spectrum, and the foreground alone.

All take volumes whole. The range of intensities is that of the target from percentile
0.1 to 99.9 (as in CARE, Weigert et al. 2018), so that a few hot voxels do not decide.
"""

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.metrics.image_pair import ImagePair
from continual_repmode.metrics.regression import ImageMetrics, Metric, RegressionSums

SSIM_SIDE = 7
"""Voxels along each side of the cubes that structural similarity compares."""

FSC_THRESHOLD = 1 / 7


def ssim(prediction: NDArray[Any], target: NDArray[Any], data_range: float) -> float:
    """Return the mean structural similarity of cubes (Wang et al. 2004).

    Uniform weights over 7x7x7 voxels and unbiased variances, as scikit-image has them;
    a volume of fewer than 7 planes is compared plane by plane in squares.

    ``prediction``, ``target``: (Z, Y, X).
    ``data_range``: what is the full range of intensities.
    Returns: -1 to 1; NaN if the range is 0 or a plane is smaller than a square.
    """
    from skimage.metrics import structural_similarity

    num_z, *sides = target.shape
    if min(sides) < SSIM_SIDE or not data_range > 0:
        return math.nan

    def compare(predicted: NDArray[Any], true: NDArray[Any]) -> float:
        found = structural_similarity(
            true.astype(np.float64),
            predicted.astype(np.float64),
            win_size=SSIM_SIDE,
            data_range=data_range,
        )
        return float(found)

    if num_z >= SSIM_SIDE:
        return compare(prediction, target)
    planes = zip(prediction, target, strict=True)
    return math.fsum(compare(*plane) for plane in planes) / int(num_z)


def spectral_pearson(
    prediction: NDArray[Any],
    target: NDArray[Any],
    voxel_size_um: tuple[float, float, float],
) -> float:
    """Return the correlation of Fourier coefficients, weighted by what is no noise.

    ``cubic`` weights frequencies by how far the spectrum of the target rises above its
    noise floor, which is what the highest fifth of all frequencies has.

    Returns: -1 to 1; NaN if one of the two is constant, or there are less than two
        sides of more than one voxel.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "CuPy or CuCIM is not installed")
        from cubic.metrics import spectral_pcc

    sides = [axis for axis, side in enumerate(target.shape) if side > 1]
    if len(sides) < 2 or not (np.ptp(prediction) > 0 and np.ptp(target) > 0):
        return math.nan
    found = spectral_pcc(
        np.squeeze(prediction),
        np.squeeze(target),
        spacing=[voxel_size_um[axis] for axis in sides],
    )
    return float(found)


def shell_correlation(
    prediction: NDArray[Any],
    target: NDArray[Any],
    voxel_size_um: tuple[float, float, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlate two volumes in shells of the Fourier space.

    Volumes lose their mean and are windowed (Hann). A shell is as wide as the frequency
    of the longest side, and shells end where the coarsest axis does (Nyquist).

    ``prediction``, ``target``: (Z, Y, X).

    Returns
    -------
    frequency : ndarray, shape (n,)
        The middle of each shell in cycles per micrometer, from the first above zero.
    correlation : ndarray, shape (n,)
        -1 to 1; NaN where there is no signal.
    """
    shape = target.shape
    axes = [axis for axis, side in enumerate(shape) if side > 1]
    radius2, window = np.zeros((1, 1, 1)), np.ones((1, 1, 1))
    for axis in axes:
        along = [1, 1, 1]
        along[axis] = shape[axis]
        frequency = np.fft.fftfreq(shape[axis], voxel_size_um[axis])
        radius2 = radius2 + np.square(frequency).reshape(along)
        window = window * np.hanning(shape[axis] + 2)[1:-1].reshape(along)
    one, other = (
        np.fft.fftn((image - image.mean(dtype=np.float64)) * window)
        for image in (prediction, target)
    )
    width = 1 / max(shape[axis] * voxel_size_um[axis] for axis in axes)
    highest = 1 / (2 * max(voxel_size_um[axis] for axis in axes))
    shell = np.rint(np.sqrt(radius2) / width).astype(int).ravel()
    num_shells = int(highest / width + 1e-9) + 1

    def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.bincount(shell, values.ravel(), minlength=num_shells)
        return np.asarray(sums[1:num_shells], np.float64)

    shared = summed((one * other.conj()).real)
    norm = np.sqrt(summed(np.abs(one) ** 2) * summed(np.abs(other) ** 2))
    correlation = np.full(shared.shape, math.nan)
    np.divide(shared, norm, out=correlation, where=norm > 0)
    return width * np.arange(1, num_shells), correlation


def resolution_um(
    prediction: NDArray[Any],
    target: NDArray[Any],
    voxel_size_um: tuple[float, float, float],
) -> float:
    """Return down to which period two volumes agree: where their shells fall below 1/7.

    Returns: in micrometers; the finest period of the grid if they agree in all shells,
        the longest side if in none; NaN if one of the two is constant.
    """
    if not (np.ptp(prediction) > 0 and np.ptp(target) > 0):
        return math.nan
    frequency, correlation = shell_correlation(prediction, target, voxel_size_um)
    below = np.flatnonzero(~(correlation >= FSC_THRESHOLD))
    if not below.size:
        return float(1 / frequency[-1])
    first = int(below[0])
    if first == 0 or math.isnan(correlation[first]):
        return float(1 / frequency[max(0, first - 1)])
    above, under = correlation[first - 1], correlation[first]
    share = (above - FSC_THRESHOLD) / (above - under)
    step = frequency[first] - frequency[first - 1]
    return float(1 / (frequency[first - 1] + share * step))


def _nrmse(pair: ImagePair) -> float:
    error = math.sqrt(RegressionSums.of(pair.prediction, pair.target).result().mse)
    return error / pair.data_range if pair.data_range > 0 else math.nan


def _psnr(pair: ImagePair) -> float:
    error = _nrmse(pair)
    return -20 * math.log10(error) if error > 0 else math.nan


def _in_foreground(pair: ImagePair) -> ImageMetrics | None:
    inside = pair.foreground
    if not inside.any():
        return None
    return RegressionSums.of(pair.prediction[inside], pair.target[inside]).result()


def _foreground_mse(pair: ImagePair) -> float:
    found = _in_foreground(pair)
    return math.nan if found is None else found.mse


def _foreground_r(pair: ImagePair) -> float:
    found = _in_foreground(pair)
    return math.nan if found is None else found.pearson_r


SSIM = Metric(
    "ssim",
    "SSIM",
    higher_is_better=True,
    limits=(0.0, 1.0),
    measure_pair=lambda pair: ssim(pair.prediction, pair.target, pair.data_range),
)
NRMSE = Metric("nrmse", "NRMSE", higher_is_better=False, measure_pair=_nrmse)
PSNR = Metric("psnr", "PSNR (dB)", higher_is_better=True, measure_pair=_psnr)
SPECTRAL_R = Metric(
    "spectral_r",
    "Spectral r",
    higher_is_better=True,
    limits=(0.0, 1.0),
    measure_pair=lambda pair: spectral_pearson(
        pair.prediction, pair.target, pair.voxel_size_um
    ),
)
FSC_UM = Metric(
    "fsc_um",
    "FSC (um)",
    higher_is_better=False,
    measure_pair=lambda pair: resolution_um(
        pair.prediction, pair.target, pair.voxel_size_um
    ),
)
FOREGROUND_MSE = Metric(
    "foreground_mse",
    "MSE, fore",
    higher_is_better=False,
    measure_pair=_foreground_mse,
)
FOREGROUND_R = Metric(
    "foreground_r",
    "r, fore",
    higher_is_better=True,
    limits=(0.0, 1.0),
    measure_pair=_foreground_r,
)

"""Does the target lie where the light shows it? Phase correlation over planes.

Light and fluorescence differ in contrast, so their intensities are not compared
directly. Every plane becomes a few maps that both kinds of image share: its details at
three scales, which light may show bright or dark, and where it is finely textured. The
maps are correlated at every lateral shift, whitened as far as splitting by scale does,
and summed over neighboring planes only, because contrast in light changes its sign
through focus. A shift counts where many groups of planes point at it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

FloatPlane = NDArray[np.float32]
Spectra = NDArray[np.complex64]

LARGEST_PLANE = 512
"""Longer planes are averaged over blocks: finer voxels cost time and add noise."""
SMALLEST_PLANE = 48
"""Shorter planes, averaged, hold too little to compare."""
LARGEST_LAG = 32
"""Longest shift looked for, in averaged pixels, and never over a quarter of a side."""
NUM_PLANES = 32
"""At most this many planes are compared, evenly spread."""
PLANES_PER_GROUP = 4
SCALES_PX = (0.6, 1.2, 2.4, 4.8)
"""Gaussian widths between which the details of the three scales lie."""
NUM_LIGHT_TEXTURES, NUM_TARGET_TEXTURES = 2, 1
"""At how many of the scales, finest first, texture is measured."""
PEAK_RADIUS_PX = 5
"""A peak is as wide as this; the next best one is looked for outside."""

LEAST_PROMINENCE, LEAST_HEIGHT, LEAST_AGREEMENT = 2.0, 12.0, 0.3
"""A clear match: how high the best peak is over the next best; and over all shifts, in
their robust standard deviations; and the share of the plane groups in which it is among
the best 3 % of all shifts. ``python -m benchmarks registration`` counts what is found
and what is invented with these and the following thresholds."""
STEADY_PROMINENCE, STEADY_HEIGHT, STEADY_AGREEMENT = 1.35, 5.0, 0.75
"""A steady match: a lower peak that most groups point at, as real light has it."""
_AMONG_BEST = 0.97


@dataclass(frozen=True, slots=True)
class Registration:
    """Where the target lies relative to the light."""

    #: How far the target lies down and to the right of the light, in raw pixels; None
    #: if the two do not show it.
    shift_yx_px: tuple[float, float] | None
    #: Height of the best match over the next best one, 1 or more; 0 if the images are
    #: too small to compare.
    prominence: float


def block_size(shape: tuple[int, ...]) -> int:
    """Return the side of the blocks of raw pixels that are averaged: the precision.

    ``shape``: its last two are (Y, X).
    """
    return max(1, math.ceil(max(shape[-2:]) / LARGEST_PLANE))


def register(signal: NDArray[Any], target: NDArray[Any]) -> Registration:
    """Find how far the target of a pair is shifted sideways against its light.

    ``signal``, ``target``: (Z, Y, X); raw intensities; voxels that are not finite count
        as the darkest of their plane.
    Returns: without a shift unless the match is prominent and planes agree on it.
    Raises ValueError if the shapes differ.
    """
    if signal.shape != target.shape:
        raise ValueError(f"shapes differ: {signal.shape} and {target.shape}")
    size = block_size(signal.shape)
    height, width = (side // size for side in signal.shape[1:])
    if min(height, width) < SMALLEST_PLANE:
        return Registration(None, 0.0)
    filters = _Filters.of_shape((height, width))
    evidence = np.stack(list(_evidence(filters, signal, target, size)))
    return _judge_peak(evidence, size)


@dataclass(frozen=True, slots=True)
class _Filters:
    """What every plane of one size is multiplied by."""

    shape: tuple[int, int]
    #: (Y, X). Fades to zero at the edges.
    window: FloatPlane
    #: (Y, X // 2 + 1). Transfer functions of the three scales of detail.
    scales: list[FloatPlane]
    #: (Y, X // 2 + 1). Transfer function for maps of texture: no noise, no slow
    #: changes.
    smooth: FloatPlane

    @classmethod
    def of_shape(cls, shape: tuple[int, int]) -> "_Filters":
        height, width = shape
        y = fft.fftfreq(height).astype(np.float32)[:, None]
        x = fft.rfftfreq(width).astype(np.float32)[None]
        squared = np.float32(2 * np.pi**2) * (y**2 + x**2)

        def between(fine_px: float, coarse_px: float) -> FloatPlane:
            difference = np.exp(-squared * fine_px**2) - np.exp(-squared * coarse_px**2)
            return np.asarray(difference, np.float32)

        window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
        scales = [between(*pair) for pair in pairwise(SCALES_PX)]
        return cls(shape, window.astype(np.float32), scales, between(0.5, 10.0))

    def maps(self, plane: FloatPlane, num_textures: int) -> Spectra:
        """Return the spectra of the maps of one plane, shape (M, Y, X // 2 + 1)."""
        whole = fft.rfft2(plane)
        windowed = fft.rfft2(plane * self.window)
        maps = [windowed * scale for scale in self.scales]
        for scale in self.scales[:num_textures]:
            detail = fft.irfft2(whole * scale, s=self.shape)
            texture = _log_texture(detail)
            maps.append(fft.rfft2(texture * self.window) * self.smooth)
        spectra: Spectra = np.stack(maps)
        parts = spectra.reshape(len(maps), -1).view(np.float32)
        norms = np.sqrt(np.einsum("mk,mk->m", parts, parts))
        spectra /= np.maximum(norms, np.float32(1e-20))[:, None, None]
        return spectra


def _log_texture(detail: FloatPlane) -> FloatPlane:
    """Return the logarithm of how strongly details vary around each pixel."""
    power = ndimage.uniform_filter(detail * detail, 5)
    spread = np.sqrt(np.maximum(power, 0))
    mean = spread.mean()
    if not mean > 0:
        return np.zeros_like(detail)
    logarithm = np.log(spread + np.float32(0.05) * mean)
    return np.asarray(logarithm - logarithm.mean(), np.float32)


def _evidence(
    filters: _Filters, signal: NDArray[Any], target: NDArray[Any], size: int
) -> Iterator[FloatPlane]:
    """Yield, per group of planes, how well each shift (lag_y, lag_x) matches.

    A match is the squared correlation, in units of its mean over all shifts, summed
    over all pairs of a map of light with a map of the target.
    """
    num_planes = len(signal)
    planes = np.linspace(0, num_planes - 1, min(num_planes, NUM_PLANES))
    indices = np.unique(planes.round().astype(int))
    lag_y, lag_x = _lags(filters.shape)
    num_light = len(filters.scales) + NUM_LIGHT_TEXTURES
    num_target = len(filters.scales) + NUM_TARGET_TEXTURES
    num_groups = max(1, round(len(indices) / PLANES_PER_GROUP))
    for group in np.array_split(indices, num_groups):
        product = np.zeros((num_light, num_target, *filters.smooth.shape), np.complex64)
        for z in group:
            light = filters.maps(_normalized(signal[z], size), NUM_LIGHT_TEXTURES)
            stain = np.sqrt(_normalized(target[z], size))  # or a few bright spots rule
            product += light.conj()[:, None] * filters.maps(stain, NUM_TARGET_TEXTURES)
        correlation = fft.irfft2(product, s=filters.shape)
        power = correlation[..., lag_y[:, None], lag_x[None]] ** 2
        power /= np.maximum(power.mean((-2, -1), keepdims=True), 1e-30)
        yield power.sum((0, 1))


def _lags(shape: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the shifts (y, x) to look at, as indices into a circular correlation."""
    reach = min(LARGEST_LAG, min(shape) // 4)
    lags = np.arange(-reach, reach + 1)
    return lags % shape[0], lags % shape[1]


def averaged(plane: NDArray[Any], size: int, low: float, high: float) -> FloatPlane:
    """Return a plane scaled to 0..1 and averaged over square blocks.

    ``plane``: (Y, X); voxels that are not finite count as ``low``.
    ``size``: side of the blocks; what does not fill a block is left out.
    ``low``, ``high``: the values that become 0 and 1.
    """
    height, width = (max(1, side // size) for side in plane.shape)
    extent = high / 2 - low / 2  # halved, as the whole may overflow
    if not extent > 0:
        return np.zeros((height, width), np.float32)
    if plane.dtype.itemsize <= 2:
        plane = plane.astype(np.float32)
    if plane.dtype.kind == "f":
        plane = np.where(np.isfinite(plane), plane, low)
    scaled = np.maximum(plane / (2 * extent) - low / (2 * extent), 0)
    total = np.zeros((height, width), scaled.dtype)
    rows, columns = (min(size, side) for side in plane.shape)
    for y, x in np.ndindex(rows, columns):
        total += scaled[y : height * size : size, x : width * size : size]
    return np.asarray(total / (rows * columns), np.float32)


def _normalized(plane: NDArray[Any], size: int) -> FloatPlane:
    """Return a plane between its darkest (0) and brightest (1) finite voxel."""
    finite = plane[np.isfinite(plane)] if plane.dtype.kind == "f" else plane
    if not finite.size:
        return averaged(plane, size, 0.0, 0.0)
    return averaged(plane, size, float(finite.min()), float(finite.max()))


def _judge_peak(evidence: FloatPlane, size: int) -> Registration:
    """Find the best shift of all groups (G, lag_y, lag_x) and decide if it counts."""
    total = evidence.sum(0)
    background = float(np.median(total))
    spread = 1.4826 * float(np.median(np.abs(total - background)))
    reach = len(total) // 2
    top, left = np.unravel_index(int(total.argmax()), total.shape)
    y, x = int(top), int(left)
    lag = np.arange(-reach, reach + 1)
    beyond = np.hypot(lag[:, None] - (y - reach), lag - (x - reach)) > PEAK_RADIUS_PX
    height = float(total[y, x]) - background
    if not spread > 0:
        return Registration(None, 0.0)
    next_height = float(total[beyond].max()) - background
    prominence = height / max(next_height, spread)
    at_edge = reach in (abs(y - reach), abs(x - reach))
    if at_edge:
        return Registration(None, prominence)
    agreement = _agreement(evidence, y, x)
    clear = (
        prominence >= LEAST_PROMINENCE
        and height >= LEAST_HEIGHT * spread
        and agreement >= LEAST_AGREEMENT
    )
    steady = (
        prominence >= STEADY_PROMINENCE
        and height >= STEADY_HEIGHT * spread
        and agreement >= STEADY_AGREEMENT
    )
    if not (clear or steady):
        return Registration(None, prominence)
    shift_y = (y - reach + _subpixel(total[y - 1 : y + 2, x])) * size
    shift_x = (x - reach + _subpixel(total[y, x - 1 : x + 2])) * size
    return Registration((shift_y, shift_x), prominence)


def _agreement(evidence: FloatPlane, y: int, x: int) -> float:
    """Return the share of plane groups that point at a shift, 0 for a lone group."""
    if len(evidence) < 2:
        return 0.0
    near = evidence[:, y - 1 : y + 2, x - 1 : x + 2].max((1, 2))
    beaten = (evidence < near[:, None, None]).mean((1, 2))
    return float((beaten > _AMONG_BEST).mean())


def _subpixel(three: FloatPlane) -> float:
    """Return where the parabola through three values peaks, from the middle one."""
    before, middle, after = (float(value) for value in three)
    curvature = before - 2 * middle + after
    return 0.5 * (before - after) / curvature if curvature < 0 else 0.0

"""What transmitted light looks like to a network, in numbers, and whether it is alike.

Of each image on the model grid, z-scored: the power of its planes by radius, in bands
of spatial frequency (1/um), skewness and kurtosis of its values, and how the power of
fine detail goes up and down along z. A model file holds mean and spread of these over
its training images. An image that is blurred, out of focus, of another modality or of
another voxel size than it claims differs in one of them by much more than those did.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

EDGES_PER_UM = tuple(float(edge) for edge in np.geomspace(0.0625, 1.5, 11))
"""Ends of the bands, in periods per micrometer."""

MAX_IMAGES = 32
"""Of those that a task was trained on, this many are measured, evenly chosen."""

VERSION = 1
_MAX_PLANES, _TILE, _LEAST_SIDE = 24, 256, 32
_MIN_CELLS = 12
"""Coefficients in a band of a tile; the power of fewer is chance."""
_FINE_PER_UM = 0.65
"""Detail from here on fades out of focus."""
_STEP_UM, _REACH_UM = 0.25, 12.0
"""Of profiles along z."""
_OVERLAP, _PER_UM = 0.6, 0.02
"""Share of a profile to compare when it is shifted; what a shift must gain (log10)."""


class Planes(Protocol):
    """A volume (Z, Y, X) that gives its planes: an array, or a file behind it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along (Z, Y, X)."""
        ...

    def __getitem__(self, part: Any, /) -> NDArray[Any]:
        """Return some voxels."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What one image looks like."""

    #: (bands,). log10 of the power density; NaN in bands that the image or its grid
    #: lacks.
    power: NDArray[np.float64]
    #: (bands,). By how much (one standard deviation) ``power`` differs by chance, as
    #: few coefficients of one plane are in a band.
    chance: NDArray[np.float64]
    #: Of all values; of kurtosis the natural logarithm.
    skewness: float
    kurtosis: float
    #: (positions,). log10 of the power of fine detail along z, from ``-_REACH_UM`` to
    #: ``_REACH_UM`` about the middle of the stack; NaN outside it.
    profile: NDArray[np.float64]


def look_of(volume: Planes, voxel_size_um: Sequence[float]) -> Look | None:
    """Measure an image; reads some planes of it, one at a time.

    ``volume``: (Z, Y, X); the z-scored signal on the model grid, NaN where nothing was
        recorded.
    ``voxel_size_um``: (z, y, x) of that grid in micrometers.
    Returns: None for images too small to tell.
    """
    num_z, num_y, num_x = volume.shape
    if min(num_y, num_x) < _LEAST_SIDE:
        return None
    planes = np.unique(np.linspace(0, num_z - 1, min(num_z, _MAX_PLANES)).round())
    weights, bands, cells = _bands(min(num_y, _TILE), min(num_x, _TILE), voxel_size_um)
    powers, moments, num_tiles = [], np.zeros(4), 0
    for z in planes.astype(int):
        plane = np.asarray(volume[z : z + 1][0], np.float32)
        tiles = [tile for tile in _tiles(plane) if np.isfinite(tile).mean() > 0.9]
        if not tiles:
            powers.append(np.full(len(cells), np.nan))
            continue
        found = np.zeros(len(cells))
        for tile in tiles:
            known = np.nan_to_num(tile)
            spectrum = np.fft.rfft2((known - known.mean()) * weights)
            squares = np.abs(spectrum) ** 2 / (np.square(weights).sum())
            found += np.bincount(bands.ravel(), squares.ravel(), len(cells))
            moments += [(known.astype(np.float64) ** k).mean() for k in (1, 2, 3, 4)]
        powers.append(found / len(tiles) / np.maximum(cells, 1))
        num_tiles += len(tiles)
    enough = cells[:-1] >= _MIN_CELLS
    if not num_tiles or not enough.any():
        return None
    power = np.array(powers)[:, :-1]  # the last is of all that is in no band
    power[:, ~enough] = np.nan
    skewness, kurtosis = _shape_of(moments / num_tiles)
    fine = enough & (np.array(EDGES_PER_UM[:-1]) >= _FINE_PER_UM)
    heights = (planes - (num_z - 1) / 2) * voxel_size_um[0]
    return Look(
        power=_log10(_mean(power, 0)),
        chance=np.log10(np.e) * np.sqrt(2 * len(planes) / num_tiles / (cells[:-1] + 1)),
        skewness=skewness,
        kurtosis=kurtosis,
        profile=_profile(heights, _log10(_mean(power[:, fine], 1))),
    )


def signal_statistics(
    looks: Iterable[Look | None],
) -> dict[str, list[float | None]] | None:
    """Return what a model file keeps of its training images, as plain numbers.

    Returns: mean and standard deviation of each measure, None for bands that no image
        has. None if no image could be measured.
    """
    known = [look for look in looks if look is not None]
    if not known:
        return None
    power = np.array([look.power for look in known])
    profiles = np.array([look.profile for look in known])
    template = _mean(profiles, 0)
    shifts = [s for p in profiles if (s := shift_of(p, template)) is not None]
    return {
        "version": [float(VERSION)],
        "num_images": [float(len(known))],
        "power": _numbers(_mean(power, 0)),
        "power_std": _numbers(_std(power, 0)),
        "skewness": _mean_std([look.skewness for look in known]),
        "kurtosis": _mean_std([look.kurtosis for look in known]),
        "profile": _numbers(template),
        "focus_um": _mean_std(shifts) if shifts else [],
    }


def _bands(
    num_y: int, num_x: int, voxel_size_um: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Return the weights of a tile, the band of each coefficient, and their numbers."""
    weights = np.outer(np.hanning(num_y + 2)[1:-1], np.hanning(num_x + 2)[1:-1])
    y_per_um = np.fft.fftfreq(num_y, voxel_size_um[1])[:, None]
    x_per_um = np.fft.rfftfreq(num_x, voxel_size_um[2])
    radius = np.hypot(y_per_um, x_per_um)
    num_bands = len(EDGES_PER_UM) - 1
    bands = np.digitize(radius, EDGES_PER_UM) - 1
    bands[(bands < 0) | (bands >= num_bands)] = num_bands
    finest = 0.5 / max(voxel_size_um[1:])
    for band, end in enumerate(EDGES_PER_UM[1:]):
        if end > finest * 1.001:  # the grid has only a part of it
            bands[bands == band] = num_bands
    return weights, bands, np.bincount(bands.ravel(), minlength=num_bands + 1)


def _tiles(plane: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield the plane, or parts of a large one: up to four, evenly spread."""
    starts = []
    for size in plane.shape:
        side = min(size, _TILE)
        count = min(2, size // side)
        starts.append(
            [round((size - side) * (k + 1) / (count + 1)) for k in range(count)]
        )
    for y in starts[0]:
        for x in starts[1]:
            yield plane[y : y + _TILE, x : x + _TILE]


def _shape_of(moments: NDArray[np.float64]) -> tuple[float, float]:
    """Return skewness and the logarithm of kurtosis from raw moments 1 to 4."""
    m1, m2, m3, m4 = moments
    variance = max(m2 - m1**2, 1e-12)
    third = m3 - 3 * m1 * m2 + 2 * m1**3
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    return float(third / variance**1.5), math.log(max(fourth / variance**2, 1e-6))


def positions_um() -> NDArray[np.float64]:
    """Return where along z (um) profiles are sampled, about the middle of a stack."""
    return np.arange(-_REACH_UM, _REACH_UM + _STEP_UM / 2, _STEP_UM)


def _profile(
    heights_um: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return values along z at the positions of all profiles."""
    known = np.isfinite(values)
    if known.sum() < 2:
        return np.full(len(positions_um()), np.nan)
    found = np.interp(positions_um(), heights_um[known], values[known], np.nan, np.nan)
    return np.asarray(found)


def shift_of(
    profile: NDArray[np.float64], template: NDArray[np.float64]
) -> float | None:
    """Return how far up along z (um) a profile looks most like a template.

    Of shifts that fit nearly as well, the smaller one.
    """
    size, longest = len(profile), min(np.isfinite(p).sum() for p in (profile, template))
    found = []
    for steps in range(-size // 2, size // 2 + 1):
        moved = np.full_like(profile, np.nan)
        inside = slice(max(0, -steps), size - max(0, steps))
        moved[inside] = profile[max(0, steps) : size - max(0, -steps)]
        both = np.isfinite(moved) & np.isfinite(template)
        if longest > 2 and both.sum() >= _OVERLAP * longest:
            shift = steps * _STEP_UM
            apart = np.std(moved[both] - template[both]) + _PER_UM * abs(shift)
            found.append((float(apart), abs(steps), shift))
    return min(found)[2] if found else None


def _log10(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log10(np.maximum(values, 1e-12)))


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the mean of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis)
    sums = np.where(known, values, 0).sum(axis)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)


def _std(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.sqrt(_mean(np.square(values - _mean(values, axis)), axis))


def _mean_std(values: Sequence[float]) -> list[float | None]:
    return [float(np.mean(values)), float(np.std(values))]


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [round(float(v), 5) if np.isfinite(v) else None for v in values]

"""Whether an image looks like those a network was trained on, and if not, why."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from continual_repmode.data.signals import (
    EDGES_PER_UM,
    VERSION,
    Look,
    positions_um,
    shift_of,
)

_SIGMAS, _FOCUS_SIGMAS = 5.0, 4.0
"""Standard deviations of the training images that are still usual."""
_COARSE_PER_UM = 0.12
_TOLERANCE, _COARSE_TOLERANCE = 0.3, 0.7
"""Least tolerance of log10 power; that of coarse bands, which hold few structures."""
_SKEWNESS, _KURTOSIS, _FOCUS_UM = 0.6, 0.4, 1.75
"""Least tolerances of skewness, of the logarithm of kurtosis, and of focus."""
_NOISE = -3.0
"""log10 of a power that blur does not go below: there is noise, too."""
_LEAST_BANDS, _FEW_BANDS = 3, 5
"""Bands to judge by; with fewer than the second, several causes look the same."""


def unlikeness(
    look: Look | None, statistics: Mapping[str, Sequence[float | None]] | None
) -> str | None:
    """Say what distinguishes an image from those that a task was trained on.

    ``statistics``: as :func:`signal_statistics` returns it; None for models without.
    Returns: what differs, with a number; None if nothing does, or nothing is known.
    """
    if look is None or not statistics or not _is_ours(statistics):
        return None
    usual, spread = (_array(statistics[name]) for name in ("power", "power_std"))
    found = _spectrum_differs(look, usual, spread)
    said = [] if found is None else [found]
    for name, value, least in (
        ("skewness", look.skewness, _SKEWNESS),
        ("kurtosis", look.kurtosis, _KURTOSIS),
    ):
        mean, std = _array(statistics[name])
        if not abs(value - mean) <= max(least, _SIGMAS * std):
            shown = (value, mean) if name == "skewness" else np.exp([value, mean])
            said.append(f"other contrast ({name} {shown[0]:.2g}, usual {shown[1]:.2g})")
            break
    focus = _array(statistics["focus_um"])
    shift = shift_of(look.profile, _array(statistics["profile"]))
    if not said and shift is not None and len(focus):
        away = shift - focus[0]
        if not abs(away) <= max(_FOCUS_UM, _FOCUS_SIGMAS * focus[1]):
            said.append(
                f"out of focus (what is sharp lies {abs(away):.1f} um "
                f"{'above' if away > 0 else 'below'} its usual place in the stack)"
            )
    return "; ".join(said) or None


def _is_ours(statistics: Mapping[str, Sequence[float | None]]) -> bool:
    """Return whether the measures are those of this version, and complete."""
    bands, positions = len(EDGES_PER_UM) - 1, len(positions_um())
    lengths = {
        **{"power": {bands}, "power_std": {bands}, "profile": {positions}},
        **{"skewness": {2}, "kurtosis": {2}, "focus_um": {0, 2}},
    }
    return statistics.get("version") == [VERSION] and all(
        len(statistics.get(name, ())) in allowed for name, allowed in lengths.items()
    )


def _spectrum_differs(
    look: Look,
    usual: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> str | None:
    """Return what changed the power by radius, if something did."""
    middles = np.sqrt(np.multiply(EDGES_PER_UM[:-1], EDGES_PER_UM[1:]))
    least = np.where(middles < _COARSE_PER_UM, _COARSE_TOLERANCE, _TOLERANCE)
    tolerance = np.maximum(least, np.hypot(_SIGMAS * spread, 4 * look.chance))
    power = look.power
    known = np.isfinite(power) & np.isfinite(usual)
    change = np.where(known, power - usual, 0.0)
    if not np.any(np.abs(change) > tolerance):
        return None
    few = int(known.sum()) < _FEW_BANDS
    least_bands = _LEAST_BANDS if few else _FEW_BANDS
    factor, left = _best(
        np.geomspace(0.4, 2.5, 65),
        least_bands,
        lambda scale: (
            (
                power
                - _interpolated(middles * scale, middles, usual)
                - 2 * np.log10(scale)
            )
            / tolerance
        ),
    )
    sigma, left_blurred = _best(
        np.geomspace(0.05, 4, 65),
        least_bands,
        lambda sigma: (
            (
                np.maximum(power, _NOISE)
                - np.maximum(_blurred(usual, middles, sigma), _NOISE)
            )
            / tolerance
        ),
    )
    worst = int(np.nanargmax(np.abs(change) / tolerance))
    number = (
        f"the power at {middles[worst]:.2g} periods per um is "
        f"{10 ** change[worst]:.2g} times the usual"
    )
    unexplained = float(np.sqrt(np.mean(np.square(change / tolerance)[known])))
    if min(left, left_blurred) > max(0.5 * unexplained, 0.3):
        return f"other modality or specimen ({number})"
    or_else = (
        "; or other modality or specimen: the image is too small to tell" if few else ""
    )
    if left_blurred <= left:
        return f"blurred, as by a Gaussian of {sigma:.2g} um ({number}){or_else}"
    return (
        f"other magnification or voxel size: structures look {factor:.2g} times as "
        f"large as usual ({number}){or_else}"
    )


def _best(
    values: NDArray[np.float64],
    least_bands: int,
    residual: Callable[[float], NDArray[np.float64]],
) -> tuple[float, float]:
    """Return the value with the least root mean square of what it leaves.

    ``least_bands``: a value for which fewer are known is left out.
    """
    left = []
    for value in values:
        squares = np.square(residual(value))
        known = np.isfinite(squares)
        left.append(squares[known].mean() if known.sum() >= least_bands else np.inf)
    best = int(np.argmin(left))
    return float(values[best]), math.sqrt(left[best])


def _blurred(
    power: NDArray[np.float64], middles: NDArray[np.float64], sigma_um: float
) -> NDArray[np.float64]:
    """Return log10 of power after a Gaussian, and the z-score that follows it."""
    after = power - np.square(2 * np.pi * middles * sigma_um) * np.log10(np.e)
    area = np.square(middles)
    kept = np.nansum(area * 10**after) / np.nansum(area * 10**power)
    return np.asarray(after - np.log10(max(kept, 1e-9)))


def _interpolated(
    at: NDArray[np.float64], middles: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    known = np.isfinite(values)
    found = np.interp(np.log(at), np.log(middles[known]), values[known], np.nan, np.nan)
    return np.asarray(found)


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if v is None else v for v in values], np.float64)

"""Z-scores per image, as the paper trains on (Section 4, "Implementation details")."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError


@dataclass(frozen=True, slots=True)
class Intensity:
    """Mean and standard deviation of a raw channel; undoes its z-score."""

    mean: float
    std: float


def zscore(
    volume: NDArray[Any], hidden: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], Intensity]:
    """Shift and scale a volume to mean 0 and standard deviation 1.

    Parameters
    ----------
    volume : ndarray, shape (Z, Y, X)
        Raw intensities (camera counts) of any integer or floating type.
    hidden : ndarray of bool, shape (Z, Y, X), optional
        Voxels where nothing was recorded: they count for nothing, and become 0.

    Returns
    -------
    normalized : ndarray of float32, shape (Z, Y, X)
    intensity : Intensity
        ``volume == normalized * intensity.std + intensity.mean`` up to rounding. The
        statistics are taken in float64 over the whole volume (population deviation).

    Raises
    ------
    UserError
        If the volume is empty, constant, or holds NaN or infinite values.
    """
    recorded = volume if hidden is None else volume[~hidden]
    check_contrast(recorded)
    values = recorded.astype(np.float64)
    mean, std = float(values.mean()), float(values.std())
    if hidden is not None:
        values = np.where(hidden, mean, volume.astype(np.float64))
    values -= mean
    values /= std
    return values.astype(np.float32), Intensity(mean, std)


_LARGEST = 1e30
"""Its square is far from the largest number there is, and it is no intensity."""


def check_contrast(volume: NDArray[Any]) -> None:
    """Raise if a z-score of these voxels, of any shape, has no meaning.

    Raises UserError if the volume is empty, constant, or holds NaN or infinite values.
    """
    if volume.size == 0:
        raise UserError(
            f"cannot normalize an empty volume of shape {volume.shape}: no voxel of it "
            "was recorded"
        )
    num_bad = int(np.count_nonzero(~np.isfinite(volume)))
    check_range(num_bad, float(volume.min()), float(volume.max()))


def check_range(num_bad: int, low: float, high: float) -> None:
    """Raise if a volume with such intensities has no z-score.

    ``num_bad``: voxels that are NaN or infinite.
    ``low``, ``high``: least and greatest intensity; of no account if there are bad
        voxels.
    Raises UserError if there are bad voxels, all have the same intensity, or one is
        immense.
    """
    if num_bad:
        raise UserError(
            f"cannot normalize a volume with {num_bad} NaN or infinite voxels; "
            "replace them in the source file"
        )
    if max(abs(low), abs(high)) > _LARGEST:
        raise UserError(
            f"cannot normalize intensities from {low:g} to {high:g}: more "
            "than can be computed with; save it as integers, or scale it down"
        )
    if low == high:
        raise UserError(
            f"cannot normalize a constant volume (every voxel is {low:g}); "
            "is this the right channel or crop?"
        )

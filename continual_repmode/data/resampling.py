"""Onto the model grid and back: cubic interpolation, as the published code does."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from continual_repmode.errors import UserError


def resampled_shape(
    shape: Sequence[int], from_um: Sequence[float], to_um: Sequence[float]
) -> tuple[int, ...]:
    """Return the shape that covers the same extent with other voxels.

    Parameters
    ----------
    shape : sequence of int
        Voxels along each axis.
    from_um, to_um : sequence of float
        Voxel size before and after, in micrometres, in the order of ``shape``.

    Returns
    -------
    tuple of int
        Rounded to whole voxels, at least one per axis.

    Raises
    ------
    UserError
        If a voxel size is not a positive number.
    """
    for name, size_um in (("from_um", from_um), ("to_um", to_um)):
        if not all(math.isfinite(um) and um > 0 for um in size_um):
            raise UserError(f"{name}: voxel sizes must be positive, got {size_um}")
    return tuple(
        max(1, round(n * old / new))
        for n, old, new in zip(shape, from_um, to_um, strict=True)
    )


def resample(
    volume: NDArray[np.float32],
    from_um: tuple[float, float, float],
    to_um: tuple[float, float, float],
) -> NDArray[np.float32]:
    """Resize a volume to another voxel size.

    The paper brings all images to cubic voxels of 0.29 µm (Section 4, "Datasets"),
    after the z-score. Corner voxels map to corner voxels and nothing is smoothed
    first, so noise and scores depend on this choice of interpolation.

    Parameters
    ----------
    volume : ndarray of float32, shape (Z, Y, X)
    from_um, to_um : tuple of float
        Voxel size (z, y, x) before and after, in micrometres.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Of :func:`resampled_shape`; ``volume`` itself if that is its shape already.
    """
    shape = resampled_shape(volume.shape, from_um, to_um)
    if shape == volume.shape:
        return volume
    factors = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    resized: NDArray[np.float32] = ndimage.zoom(
        volume, factors, order=3, mode="nearest"
    )
    return resized

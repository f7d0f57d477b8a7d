"""Onto the model grid and back: cubic as the published code, or averaging and fast.

The two are not interchangeable. ``paper`` maps corner voxel to corner voxel and smooths
nothing first, so it keeps the noise of the camera; ``fast`` averages what falls into a
larger voxel, so it keeps the edges of the field in place and lowers the noise.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from continual_repmode.errors import UserError

ResizeMethod = Literal["paper", "fast"]


def resampled_shape(
    shape: Sequence[int], from_um: Sequence[float], to_um: Sequence[float]
) -> tuple[int, ...]:
    """Return the shape that covers the same extent with other voxels.

    ``from_um``, ``to_um``: voxel size before and after, in micrometres, in the order of
        ``shape``.
    Returns: rounded to whole voxels, at least one per axis.
    Raises UserError if a voxel size is not a positive number.
    """
    for name, size_um in (("from_um", from_um), ("to_um", to_um)):
        if not all(math.isfinite(um) and um > 0 for um in size_um):
            raise UserError(f"{name}: voxel sizes must be positive, got {size_um}")
    return tuple(
        max(1, round(n * old / new))
        for n, old, new in zip(shape, from_um, to_um, strict=True)
    )


def resize(
    volume: NDArray[np.float32],
    shape: Sequence[int],
    method: ResizeMethod = "paper",
) -> NDArray[np.float32]:
    """Resize a volume to an explicit shape, so that the way back restores it exactly.

    ``volume``: (Z, Y, X); one or two axes only will do as well; each is resized by
        itself.
    ``method``: ``paper``: cubic splines as ``scipy.ndimage.zoom(order=3,
        mode="nearest")``, as the published code does. ``fast``: the mean over the
        voxels that fall together along axes that shrink, then linear interpolation
        along axes that grow; many times faster.
    Returns: ``volume`` itself if that is its shape already.
    Raises UserError if the method is unknown.
    """
    if method not in get_args(ResizeMethod):
        raise UserError(f"resize={method!r}: use {' or '.join(get_args(ResizeMethod))}")
    if tuple(shape) == volume.shape:
        return volume
    if method == "fast":
        return _average_and_interpolate(volume, tuple(shape))
    factors = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    resized: NDArray[np.float32] = ndimage.zoom(
        volume, factors, order=3, mode="nearest"
    )
    return resized


def resample(
    volume: NDArray[np.float32],
    from_um: tuple[float, float, float],
    to_um: tuple[float, float, float],
    method: ResizeMethod = "paper",
) -> NDArray[np.float32]:
    """Resize a volume to another voxel size.

    The paper brings all images to cubic voxels of 0.29 µm (Section 4, "Datasets"),
    after the z-score.

    ``volume``: (Z, Y, X).
    ``from_um``, ``to_um``: voxel size (z, y, x) before and after, in micrometres.
    Returns: (Z, Y, X); of :func:`resampled_shape`; ``volume`` itself if that is its
        shape already.
    """
    return resize(volume, resampled_shape(volume.shape, from_um, to_um), method)


def _average_and_interpolate(
    volume: NDArray[np.float32], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Average along the axes that shrink, then interpolate along those that grow."""
    import torch
    from torch.nn.functional import interpolate

    flat = (1,) * (3 - volume.ndim)
    old, new = (*flat, *volume.shape), (*flat, *shape)
    smaller = [min(pair) for pair in zip(old, new, strict=True)]
    resized = torch.from_numpy(np.ascontiguousarray(volume)).reshape(1, 1, *old)
    resized = interpolate(resized, size=smaller, mode="area")
    if tuple(smaller) != new:
        resized = interpolate(resized, size=list(new), mode="trilinear")
    result: NDArray[np.float32] = resized.reshape(shape).numpy()
    return result

"""Extents along Z, Y and X: kernels, strides, and volumes that do not divide evenly."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from continual_repmode.errors import UserError

Axes = Literal["ZYX", "YX"]
"""The axes a network convolves over; ``"YX"`` leaves Z alone (2D images as Z = 1)."""

Size3 = tuple[int, int, int]
"""An extent in voxels along (Z, Y, X)."""


def per_axis(size: int, axes: Axes) -> Size3:
    """Return ``size`` along the axes in use and 1 along the others, as (Z, Y, X).

    >>> per_axis(5, "YX")
    (1, 5, 5)
    """
    if axes not in ("ZYX", "YX"):
        raise UserError(f"axes {axes!r}: use 'ZYX' or 'YX'")
    return (size if axes == "ZYX" else 1, size, size)


def reach(size: Sequence[int], shape: Sequence[int]) -> Size3:
    """Return the middle part of a kernel that can meet a feature map at all.

    With 'same' zero padding, a map of n voxels meets the 2n - 1 middle taps; the taps
    beyond them only ever meet zeros.

    ``size``: extent of the kernel (kZ, kY, kX), odd.
    ``shape``: size of the feature map (Z, Y, X) in voxels.
    """
    z, y, x = (min(side, 2 * n - 1) for side, n in zip(size, shape, strict=True))
    return (z, y, x)


def fits(size: Size3, extent: Size3) -> bool:
    """Return whether a kernel of ``size`` lies within one of ``extent``."""
    return all(side <= bound for side, bound in zip(size, extent, strict=True))


def check_divisible(signal: Tensor, divisor: Size3) -> None:
    """Raise a :class:`UserError` unless every side is a multiple of its divisor."""
    for axis, size, multiple in zip("ZYX", signal.shape[2:], divisor, strict=True):
        if size % multiple:
            raise UserError(
                f"signal: axis {axis} has size {size}, which is not a multiple of "
                f"{multiple}; train on patches with (Z, Y, X) multiples of {divisor}"
            )


def mirror_to_multiple(signal: Tensor, divisor: Size3) -> Tensor:
    """Extend the far end of each axis to the next multiple of its divisor.

    The volume is mirrored about its border (the border voxel is repeated), as often as
    needed, so that any size of at least one voxel can be extended. The origin stays
    where it is; :func:`crop_like` cuts the result back.

    ``signal``: (B, C, Z, Y, X).
    ``divisor``: wanted divisors along (Z, Y, X).
    """
    for axis, multiple in enumerate(divisor, start=2):
        size = signal.shape[axis]
        missing = -size % multiple
        if missing:
            index = torch.arange(size + missing, device=signal.device) % (2 * size)
            mirrored = torch.where(index < size, index, 2 * size - 1 - index)
            signal = signal.index_select(axis, mirrored)
    return signal


def crop_like(prediction: Tensor, signal: Tensor) -> Tensor:
    """Undo :func:`mirror_to_multiple`: cut the far ends off again.

    ``prediction``: (..., Z', Y', X').
    ``signal``: (..., Z, Y, X); sets the sides of the result.
    """
    z, y, x = signal.shape[-3:]
    return prediction[..., :z, :y, :x]

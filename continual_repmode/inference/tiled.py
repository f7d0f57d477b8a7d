"""Predict a whole volume by overlapping windows with Gaussian weights.

The paper follows nnU-Net (Isensee et al. 2021) here: each window counts most in its
middle, where the network sees the most context.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from continual_repmode.errors import UserError

Window = tuple[int, int, int]


def window_starts(size: int, side: int, overlap: float) -> list[int]:
    """Return where windows begin along one axis.

    Parameters
    ----------
    size, side : int
        Voxels of the axis and of the window; the window must fit.
    overlap : float
        Share of a window that the next one covers again, at least 0 and below 1.

    Returns
    -------
    list of int
        Rising; every voxel lies in a window, and the last one is pushed back inside.
    """
    step = max(1, int(side * (1 - overlap)))
    last = size - side
    return [*range(0, last, step), last]


def gaussian_profile(side: int) -> Tensor:
    """Return the weights of a window along one axis.

    Returns
    -------
    Tensor of float32, shape (side,)
        A Gaussian of standard deviation ``side / 8`` that peaks at 1 on the middle
        voxel. The corner of a 3D window weighs exp(-24), small but never zero.
    """
    offset = torch.arange(side, dtype=torch.float64) - side // 2
    return torch.exp(-0.5 * (offset / (side / 8)) ** 2).float()


@torch.no_grad()
def predict_volume(
    predict: Callable[[Tensor], Tensor],
    volume: Tensor,
    *,
    window: Sequence[int] = (32, 128, 128),
    overlap: float = 0.5,
    batch_size: int = 1,
    device: torch.device | str | None = None,
) -> Tensor:
    """Predict a volume of any size from windows of a fixed one.

    Parameters
    ----------
    predict : callable
        Maps windows (B, 1, z, y, x) to predictions of that shape; a network must be in
        evaluation mode already, or its statistics would depend on the batch.
    volume : Tensor, shape (Z, Y, X) or (1, Z, Y, X)
        The z-scored signal.
    window : sequence of int
        Sides (z, y, x) in voxels, cut down to the volume where they exceed it.
    overlap : float
        Share of a window that the next one covers again, at least 0 and below 1.
    batch_size : int
        Windows per call of ``predict``; changes speed and memory only.
    device : torch.device or str, optional
        Where ``predict`` runs; by default where the volume is.

    Returns
    -------
    Tensor of float32
        Of the shape and on the device of ``volume``.

    Raises
    ------
    UserError
        If an argument is out of range, or ``predict`` changes the shape.
    """
    _check(volume, window, overlap, batch_size)
    signal = volume.reshape(volume.shape[-3:])
    sides = [min(side, size) for side, size in zip(window, signal.shape, strict=True)]
    starts = [
        window_starts(size, side, overlap)
        for size, side in zip(signal.shape, sides, strict=True)
    ]
    z, y, x = (gaussian_profile(side).to(volume.device) for side in sides)
    weights = z[:, None, None] * y[:, None] * x
    total = torch.zeros(signal.shape, device=volume.device)
    boxes = [
        tuple(slice(at, at + side) for at, side in zip(corner, sides, strict=True))
        for corner in itertools.product(*starts)
    ]
    for first in range(0, len(boxes), batch_size):
        batch = boxes[first : first + batch_size]
        windows = torch.stack([signal[box] for box in batch])[:, None]
        predicted = predict(windows.to(device or volume.device))
        if predicted.shape != windows.shape:
            raise UserError(
                f"predict returned shape {tuple(predicted.shape)} for windows of shape "
                f"{tuple(windows.shape)}; they must be equal"
            )
        for box, patch in zip(batch, predicted[:, 0].to(total), strict=True):
            total[box] += weights * patch
    for axis, (size, side) in enumerate(zip(signal.shape, sides, strict=True)):
        total /= (
            _weight_sum(size, side, starts[axis])
            .to(total)
            .view([-1 if k == axis else 1 for k in range(3)])
        )
    return total.reshape(volume.shape)


def _weight_sum(size: int, side: int, starts: Sequence[int]) -> Tensor:
    """Return the summed weights of all windows along one axis, shape (size,).

    The windows form a grid and their weights a product over axes, so the sum over all
    windows is a product of three such sums.
    """
    summed = torch.zeros(size, dtype=torch.float64)
    for start in starts:
        summed[start : start + side] += gaussian_profile(side)
    return summed


def _check(
    volume: Tensor, window: Sequence[int], overlap: float, batch_size: int
) -> None:
    shape = tuple(volume.shape)
    if volume.ndim not in (3, 4) or shape[:-3] not in ((), (1,)) or 0 in shape:
        raise UserError(
            f"volume: expected shape (Z, Y, X) or (1, Z, Y, X), got {shape}"
        )
    if len(window) != 3 or min(window) < 1:
        raise UserError(f"window={list(window)}: use three positive sides [z,y,x]")
    if not 0 <= overlap < 1:
        raise UserError(f"overlap={overlap}: use 0 or more, and less than 1")
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}: use 1 or more")

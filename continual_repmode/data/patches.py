"""Random patches of a pair of volumes: crop, flip, pad."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Shape = tuple[int, int, int]


def random_start(shape: Shape, patch_size: Shape) -> Shape:
    """Draw where a patch begins, every place inside the volume being equally likely.

    ``shape``, ``patch_size``: sizes (z, y, x) in voxels; the patch must fit.
    Returns: index (z, y, x) of the first voxel, drawn from PyTorch's global generator:
        data loader workers seed it, and checkpoints save it.
    """
    z, y, x = (
        int(torch.randint(size - side + 1, ()))
        for size, side in zip(shape, patch_size, strict=True)
    )
    return z, y, x


def foreground_start(
    target: NDArray[np.floating], patch_size: Shape, num_candidates: int = 4
) -> Shape:
    """Draw where a patch begins, bright places of the target being more likely.

    Of a few places drawn as by :func:`random_start`, one is taken with a probability
    proportional to the mean of the target there, its negative values counting as 0. So
    no more than these boxes of a volume on disk are read, and no place is favored more
    than ``num_candidates`` times.

    ``target``: (Z, Y, X); Z-scored; NaN where nothing was recorded.
    Returns: as of :func:`random_start`.
    """
    z, y, x = target.shape
    places = [random_start((z, y, x), patch_size) for _ in range(num_candidates)]
    boxes = [cut(target, place, patch_size, ()) for place in places]
    light = torch.stack([box.nan_to_num(0).clamp_min(0).mean() for box in boxes])
    return places[int(torch.multinomial(light.clamp_min(1e-6), 1))]


def random_flips(axes: str = "ZYX") -> tuple[int, ...]:
    """Draw the axes to flip, each of ``axes`` with probability one half, as above."""
    return tuple("ZYX".index(axis) for axis in axes if torch.rand(()) < 0.5)


def cut(
    volume: NDArray[np.floating], start: Shape, size: Shape, flips: tuple[int, ...]
) -> torch.Tensor:
    """Copy a patch out of a volume (Z, Y, X), in memory or on disk, and flip it.

    Returns: (1, z, y, x); with memory of its own, so that the volume is safe from
        changes.
    """
    box = tuple(slice(at, at + side) for at, side in zip(start, size, strict=True))
    rows_kept = tuple(axis for axis in flips if axis < 2)
    patch = torch.from_numpy(np.array(np.flip(volume[box], rows_kept), order="C"))
    patch = patch.float()  # NumPy converts half precision 4 times slower,
    return (patch.flip(-1) if 2 in flips else patch)[None]  # and reverses rows slower


def pad_to(volume: NDArray[Any], min_shape: Shape) -> NDArray[Any]:
    """Mirror a volume (Z, Y, X) at its faces until no side is below ``min_shape``.

    The volume stays in the middle; it is returned as it is if it is large enough.
    """
    lacking = [
        max(0, least - size)
        for least, size in zip(min_shape, volume.shape, strict=True)
    ]
    if not any(lacking):
        return volume
    widths = [(missing // 2, missing - missing // 2) for missing in lacking]
    return np.pad(volume, widths, mode="reflect")

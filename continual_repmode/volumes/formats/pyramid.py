"""Coarser copies of an OME-Zarr, so that viewers open large fields at once."""

import shutil
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.stopping import stop_if_told
from continual_repmode.volumes.formats.shards import Shards

_LARGEST = 256
"""Rows or columns of a level that needs no coarser one."""
_BLOCK = {"T": 1, "C": 1, "Z": 32, "Y": 256, "X": 256}
_CHUNK = {"T": 1, "C": 1, "Z": 32, "Y": 128, "X": 128}


def num_levels(num_y: int, num_x: int) -> int:
    """Return how many levels a plane has; each halves rows and columns."""
    count, side = 1, max(num_y, num_x)
    while side > _LARGEST:
        count, side = count + 1, -(-side // 2)
    return count


def write_levels(folder: Path, axes: str, count: int) -> None:
    """Write the levels ``1`` and so on from level ``0``, block by block, in shards.

    Each voxel is the mean of two by two of the finer level (of those that are known
    where some are NaN); at the far ends of odd sizes, of those that are there.

    ``folder``: of the image.
    ``axes``: of its arrays; some of TCZYX.
    ``count``: levels, with the one that is there.
    """
    import zarr

    for level in range(1, count):
        finer = zarr.open_array(str(folder / str(level - 1)), mode="r")
        shape = tuple(
            -(-n // 2) if axis in "YX" else n
            for n, axis in zip(finer.shape, axes, strict=True)
        )
        chunk = tuple(map(min, shape, (_CHUNK[axis] for axis in axes)))
        shards = Shards(axes, shape, chunk, finer.dtype.itemsize)
        place, loose = folder / str(level), folder.with_name(f"{folder.stem}.level")
        coarser = shards.create(place, loose, finer.dtype)
        for part in _blocks(finer.shape, axes):
            stop_if_told()
            goal = tuple(
                slice(side.start // 2, -(-side.stop // 2)) if axis in "YX" else side
                for side, axis in zip(part, axes, strict=True)
            )
            block = np.asarray(finer[part]).reshape(-1, *map(_length, part[-2:]))
            means = np.stack([halved(plane) for plane in block])
            coarser[goal] = means.reshape([_length(side) for side in goal])
        if not shards.hold_one_chunk:
            lengths = dict(zip(axes, shape, strict=True))
            times, channels = range(lengths.get("T", 1)), range(lengths.get("C", 1))
            for time, channel in product(times, channels):
                shards.pack(loose, place, {"T": time, "C": channel})
            shutil.rmtree(loose)


def _blocks(shape: tuple[int, ...], axes: str) -> Iterator[tuple[slice, ...]]:
    sides = (
        [slice(k, min(k + _BLOCK[axis], n)) for k in range(0, n, _BLOCK[axis])]
        for n, axis in zip(shape, axes, strict=True)
    )
    return product(*sides)


def _length(side: slice) -> int:
    return int(side.stop - side.start)


def halved(plane: NDArray[Any]) -> NDArray[Any]:
    """Return the means of two by two pixels of a plane (Y, X), of the same type."""
    width = [(0, side % 2) for side in plane.shape]
    known = np.pad(plane, width, mode="edge").astype(np.float64)
    parts = np.stack([known[y::2, x::2] for y in (0, 1) for x in (0, 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing but NaN
        mean = np.nanmean(parts, axis=0)
    whole = mean if plane.dtype.kind == "f" else np.rint(mean)
    return np.asarray(whole, plane.dtype)

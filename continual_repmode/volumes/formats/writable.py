"""Whether an image can be written: by its format, and where it is to lie."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from continual_repmode.errors import UserError, one_line
from continual_repmode.files import check_free
from continual_repmode.volumes.formats import IMAGEJ_TIFF, NUMPY, OME_TIFF, OME_ZARR
from continual_repmode.volumes.volume import UNKNOWN_UM, VOLUME_AXES, VoxelSize

_TYPES: Mapping[tuple[str, ...], tuple[str, ...]] = {
    OME_TIFF: (
        *("bool", "int8", "int16", "int32", "uint8", "uint16", "uint32"),
        *("float32", "float64"),
    ),
    IMAGEJ_TIFF: ("uint8", "uint16", "float32"),
}
_NAMES: Mapping[tuple[str, ...], str] = {
    OME_TIFF: "OME-TIFF",
    IMAGEJ_TIFF: "ImageJ TIFF",
}

STREAMED = (OME_ZARR, OME_TIFF)
WHOLE = (OME_TIFF, OME_ZARR, IMAGEJ_TIFF, NUMPY)
"""Formats, by their suffixes, that can be written plane by plane, and at once."""


@dataclass(frozen=True, slots=True)
class WritableImage:
    """An image that its format can hold, but for its pixels."""

    path: Path
    #: One of ``WHOLE``.
    format: tuple[str, ...]
    #: One of ``VOLUME_AXES``.
    axes: str
    #: Of ``axes``.
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    #: Along (z, y, x).
    voxel_size_um: tuple[float, float, float]
    #: One per channel; ``""`` for a channel without one.
    channel_names: tuple[str, ...]
    #: Where the first voxel lies, along (z, y, x); None where unknown.
    origin_um: VoxelSize = UNKNOWN_UM
    #: Time points, each of ``shape``.
    num_times: int = 1

    @property
    def stored_axes(self) -> str:
        """Those of the array in the file: ``axes``, after T if there are several."""
        return self.axes if self.num_times == 1 else f"T{self.axes}"

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Of ``stored_axes``."""
        return self.shape if self.num_times == 1 else (self.num_times, *self.shape)

    @property
    def name(self) -> str:
        """That of the file, without the suffix of its format, in printable signs."""
        name = self.path.name
        return one_line(name[: len(name) - len(_ending(self.path, self.format))])

    @property
    def shape_czyx(self) -> tuple[int, int, int, int]:
        """Voxels along (C, Z, Y, X)."""
        sizes = dict(zip(self.axes, self.shape, strict=True))
        return sizes.get("C", 1), sizes.get("Z", 1), sizes["Y"], sizes["X"]

    @classmethod
    def checked(
        cls,
        path: Path,
        formats: Sequence[tuple[str, ...]],
        axes: str,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        voxel_size_um: Sequence[float | None],
        channel_names: Sequence[str],
        origin_um: Sequence[float | None] | None = None,
    ) -> Self:
        """Return the image that ``path`` is to be, in one of some formats.

        Raises UserError if its suffix is of none of them, the format cannot hold it, or
            the metadata are incomplete.
        """
        format_ = next((each for each in formats if _ending(path, each)), None)
        if OME_ZARR in formats and any(_ending(p, OME_ZARR) for p in path.parents):
            format_ = OME_ZARR  # a field of a plate
        if format_ is None:
            suffixes = ", ".join(suffix for each in formats for suffix in each)
            raise UserError(f"{path}: cannot write {path.suffix!r}; use {suffixes}")
        if axes not in VOLUME_AXES or len(axes) != len(shape) or min(shape) < 1:
            raise UserError(
                f"{path}: axes={axes!r} for an array of shape {tuple(shape)}; use one "
                f"of {', '.join(VOLUME_AXES)}, with lengths from 1"
            )
        sizes = [float(size or 0) for size in voxel_size_um]
        if len(sizes) != 3 or not all(0 < size < math.inf for size in sizes):
            raise UserError(
                f"{path}: voxel_size_um={tuple(voxel_size_um)}; three positive numbers "
                "in micrometres for z, y, x are needed"
            )
        origin = tuple(origin_um or UNKNOWN_UM)
        if len(origin) != 3 or not all(
            at is None or math.isfinite(at) for at in origin
        ):
            raise UserError(
                f"{path}: origin_um={origin}; three numbers in micrometres for z, y, "
                "x are needed, or None"
            )
        z_um, y_um, x_um = (None if at is None else float(at) for at in origin)
        num_channels = shape[axes.index("C")] if "C" in axes else 1
        return cls(
            path=path,
            format=format_,
            axes=axes,
            shape=shape,
            dtype=_checked_type(path, format_, np.dtype(dtype).newbyteorder("=")),
            voxel_size_um=(sizes[0], sizes[1], sizes[2]),
            channel_names=_checked_names(path, channel_names, num_channels),
            origin_um=(z_um, y_um, x_um),
        )

    def check_place(self, overwrite: bool, work_path: Path | None = None) -> None:
        """Raise if there is no place for the file.

        ``overwrite``: what is there may be replaced.
        ``work_path``: folder of the unfinished file; what is written there needs no
            more room.
        Raises UserError if there is something already, the folder cannot be written to,
            or the disk has too little room for the pixels as they are, uncompressed.
        """
        path = self.path
        if path.is_dir() and self.format != OME_ZARR:
            raise UserError(f"{path}: exists and is a folder; choose another name")
        if path.exists() and not overwrite:
            raise UserError(f"{path}: exists; remove it or ask to overwrite it")
        if self.format == OME_ZARR and path.exists() and not _is_zarr(path):
            raise UserError(
                f"{path}: exists and is not a Zarr folder; choose another name"
            )
        there = next(place for place in path.parents if place.exists())
        if not there.is_dir():
            raise UserError(f"{path}: {there} is not a directory; choose another path")
        if not os.access(there, os.W_OK | os.X_OK):
            raise UserError(
                f"{path}: the folder {there} is not writable; choose another path"
            )
        begun = _bytes_on_disk(work_path) if work_path else 0
        room = math.prod(self.stored_shape) * self.dtype.itemsize - begun
        check_free(path.parent, room, f"writing {path.name}", "another path")


def _ending(path: Path, suffixes: Sequence[str]) -> str:
    """Return which of some suffixes a file has, ``""`` if none."""
    name = path.name.lower()
    return next((suffix for suffix in suffixes if name.endswith(suffix)), "")


def _checked_type(
    path: Path, format_: tuple[str, ...], dtype: np.dtype[Any]
) -> np.dtype[Any]:
    types = _TYPES.get(format_)
    if types is not None and dtype.name not in types:
        raise UserError(
            f"{path}: {_NAMES[format_]} has no pixels of type {dtype}; convert to one "
            f"of {', '.join(types)}"
        )
    if dtype.kind not in "buif":
        raise UserError(f"{path}: cannot write pixels of type {dtype}")
    return dtype


def _checked_names(
    path: Path, names: Sequence[str], num_channels: int
) -> tuple[str, ...]:
    if len(names) not in (0, num_channels):
        raise UserError(
            f"{path}: {len(names)} channel names for {num_channels} channels"
        )
    for name in names:
        if not name.isprintable():
            raise UserError(f"{path}: channel name {name!r} is not printable")
    return tuple(names) or ("",) * num_channels


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))


def _bytes_on_disk(folder: Path) -> int:
    """Return the room that all files below a folder take; what is empty takes none."""
    files = (file.stat() for file in folder.rglob("*") if file.is_file())
    return sum(512 * file.st_blocks for file in files)

"""Whether a volume can be written: by its format, and where it is to lie."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike

from continual_repmode.errors import UserError
from continual_repmode.volumes.disk import check_free
from continual_repmode.volumes.formats.image_metadata import (
    OME_TYPES,
    ImageMetadata,
    check_type,
)
from continual_repmode.volumes.formats.zarr_folders import check_replaceable

ShapeCzyx = tuple[int, int, int, int]
"""Voxels along (C, Z, Y, X)."""

_FORMATS: dict[str, Literal["zarr", "tiff"]] = {
    ".ome.zarr": "zarr",
    ".zarr": "zarr",
    ".ome.tif": "tiff",
    ".ome.tiff": "tiff",
}


@dataclass(frozen=True, slots=True)
class WritableImage:
    """An image that its format can hold, but for its pixels.

    Attributes
    ----------
    format : {"zarr", "tiff"}
    name : str
        That of the file, without suffix.
    shape : tuple of int
        Voxels along (C, Z, Y, X).
    dtype : dtype
    metadata : ImageMetadata
    """

    format: Literal["zarr", "tiff"]
    name: str
    shape: ShapeCzyx
    dtype: np.dtype[Any]
    metadata: ImageMetadata

    @classmethod
    def checked(
        cls,
        path: Path,
        shape: ShapeCzyx,
        dtype: DTypeLike,
        voxel_size_um: Sequence[float | None],
        channel_names: Sequence[str],
    ) -> Self:
        """Return the image that ``path`` is to be.

        Raises
        ------
        UserError
            If the format is unknown or cannot hold it, or the metadata are incomplete.
        """
        name = path.name.lower()
        suffix = next((end for end in _FORMATS if name.endswith(end)), None)
        if suffix is None:
            raise UserError(
                f"{path}: cannot write {path.suffix!r}; use .ome.zarr, .zarr, .ome.tif "
                "or .ome.tiff"
            )
        if len(shape) != 4 or min(shape) < 1:
            raise UserError(
                f"{path}: cannot write an image of shape {tuple(shape)}; channels, z, "
                "y and x start at 1"
            )
        pixels = np.dtype(dtype).newbyteorder("=")
        if _FORMATS[suffix] == "tiff":
            check_type(path, pixels, "OME-TIFF", OME_TYPES)
        elif pixels.kind not in "buif":
            raise UserError(f"{path}: cannot write pixels of type {pixels}")
        return cls(
            format=_FORMATS[suffix],
            name=path.name[: -len(suffix)],
            shape=shape,
            dtype=pixels,
            metadata=ImageMetadata.checked(
                path, shape[0], voxel_size_um, channel_names
            ),
        )

    def check_place(
        self, path: Path, overwrite: bool, work_path: Path | None = None
    ) -> None:
        """Raise if there is no place for the file.

        Parameters
        ----------
        path : Path
        overwrite : bool
            What is there may be replaced.
        work_path : Path, optional
            Folder of the unfinished file; what is written there needs no more room.

        Raises
        ------
        UserError
            If there is something already, the folder cannot be written to, or the disk
            has too little room for the pixels as they are, uncompressed.
        """
        if path.exists() and not overwrite:
            raise UserError(f"{path}: exists; remove it or ask to overwrite it")
        if self.format == "zarr":
            check_replaceable(path)
        elif path.is_dir():
            raise UserError(f"{path}: exists and is a folder; choose another name")
        there = next(place for place in path.parents if place.exists())
        if not there.is_dir():
            raise UserError(f"{path}: {there} is no folder; choose another path")
        if not os.access(there, os.W_OK | os.X_OK):
            raise UserError(
                f"{path}: the folder {there} is not writable; choose another path"
            )
        begun = _bytes_on_disk(work_path) if work_path else 0
        num_bytes = math.prod(self.shape) * self.dtype.itemsize
        room = num_bytes - begun
        check_free(path.parent, room, f"writing {path.name}", "another path")


def _bytes_on_disk(folder: Path) -> int:
    """Return the room that all files below a folder take; what is empty takes none."""
    files = (file.stat() for file in folder.rglob("*") if file.is_file())
    return sum(512 * file.st_blocks for file in files)

"""Volumes as files that other programs read: OME-TIFF, OME-Zarr, ImageJ TIFF, NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.files import replacing
from continual_repmode.volumes.formats.image_metadata import (
    OME_TYPES,
    ImageMetadata,
    check_type,
    zarr_chunks,
)
from continual_repmode.volumes.formats.zarr_folders import replacing_folder
from continual_repmode.volumes.volume import VOLUME_AXES

_SUFFIXES = (
    ".ome.tif, .ome.tiff (OME-TIFF), .zarr (OME-Zarr), .tif, .tiff (ImageJ), .npy"
)
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_MAX_IMAGEJ_BYTES = 2**32 - 2**25


@dataclass(frozen=True, slots=True)
class _Image:
    """What is written; the axes always are those of ``array``."""

    array: NDArray[Any]
    axes: str
    metadata: ImageMetadata

    def with_axes(self, axes: str) -> NDArray[Any]:
        """Return the array with other axes; those it lacks have length 1."""
        order = [self.axes.index(axis) for axis in axes if axis in self.axes]
        lacking = [k for k, axis in enumerate(axes) if axis not in self.axes]
        return np.expand_dims(self.array.transpose(order), lacking)


def save_volume(
    path: str | Path,
    array: NDArray[Any],
    *,
    axes: str,
    voxel_size_um: Sequence[float | None],
    channel_names: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write a volume in the format that the suffix of ``path`` names.

    The file appears whole or not at all.

    Parameters
    ----------
    path : str or Path
        ``.ome.tif`` or ``.ome.tiff`` for OME-TIFF, ``.zarr`` for OME-Zarr 0.5, ``.tif``
        or ``.tiff`` for ImageJ, ``.npy`` for NumPy with a sidecar. ImageJ stores
        channels within z (ZCYX) and has no channel names: they become slice labels.
    array : ndarray
        Intensities; their type is kept.
    axes : str
        Of ``array``, slowest first: YX, ZYX, CYX, CZYX or ZCYX.
    voxel_size_um : sequence of float
        Along (z, y, x), in micrometres.
    channel_names : sequence of str, optional
        One per channel.
    overwrite : bool
        Replace what is at ``path``.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    UserError
        If the format cannot hold the image, the voxel size is unknown, or there is a
        file at ``path`` already.
    """
    path = Path(path)
    image = _checked(path, array, axes, voxel_size_um, channel_names)
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists; remove it or ask to overwrite it")
    name = path.name.lower()
    if name.endswith((".ome.tif", ".ome.tiff")):
        check_type(path, image.array.dtype, "OME-TIFF", ("bool", *OME_TYPES))
        with replacing(path) as temporary:
            _write_ome_tiff(temporary, image)
    elif name.endswith(".zarr"):
        with replacing_folder(path) as folder:
            _write_ome_zarr(folder, image, path.stem)
    elif name.endswith((".tif", ".tiff")):
        check_type(path, image.array.dtype, "ImageJ TIFF", _IMAGEJ_TYPES)
        if image.array.nbytes > _MAX_IMAGEJ_BYTES:
            raise UserError(f"{path}: ImageJ reads at most 4 GB; save it as .ome.tif")
        with replacing(path) as temporary:
            _write_imagej(temporary, image)
    elif name.endswith(".npy"):
        _write_npy(path, image)
    else:
        raise UserError(f"{path}: cannot write {path.suffix!r}; use {_SUFFIXES}")
    return path


def _checked(
    path: Path,
    array: NDArray[Any],
    axes: str,
    voxel_size_um: Sequence[float | None],
    channel_names: Sequence[str],
) -> _Image:
    """Return the image if every part of it can be written."""
    if axes not in VOLUME_AXES or len(axes) != array.ndim or 0 in array.shape:
        raise UserError(
            f"{path}: axes={axes!r} for an array of shape {array.shape}; use one of "
            f"{', '.join(VOLUME_AXES)}"
        )
    if array.dtype.kind not in "buif":
        raise UserError(f"{path}: cannot write pixels of type {array.dtype}")
    num_channels = array.shape[axes.index("C")] if "C" in axes else 1
    return _Image(
        array=array.astype(array.dtype.newbyteorder("="), copy=False),
        axes=axes,
        metadata=ImageMetadata.checked(
            path, num_channels, voxel_size_um, channel_names
        ),
    )


def _write_ome_tiff(path: Path, image: _Image) -> None:
    import tifffile

    tifffile.imwrite(
        path,
        image.array,
        ome=True,
        photometric="minisblack",
        metadata=image.metadata.ome_tiff(image.axes),
    )


def _write_imagej(path: Path, image: _Image) -> None:
    import tifffile

    array = image.with_axes("ZCYX")
    size_z, size_y, size_x = image.metadata.voxel_size_um
    names = image.metadata.channel_names
    labels = {"Labels": [*names] * array.shape[0]}
    tifffile.imwrite(
        path,
        array[None, ..., None],  # in full, lest a narrow plane be taken for colours
        imagej=True,
        photometric="minisblack",
        resolution=(1 / size_x, 1 / size_y),
        metadata={
            "axes": "TZCYXS",
            "spacing": size_z,
            "unit": "micron",
            **(labels if any(names) else {}),
        },
    )


def _write_npy(path: Path, image: _Image) -> None:
    from continual_repmode.volumes.formats.npy import Sidecar

    metadata = image.metadata
    sidecar = Sidecar(image.axes, metadata.channel_names, metadata.voxel_size_um)
    with replacing(path) as array_file, replacing(path.with_suffix(".json")) as file:
        np.save(array_file, image.array, allow_pickle=False)
        sidecar.write(file)


def _write_ome_zarr(folder: Path, image: _Image, name: str) -> None:
    """Write OME-Zarr 0.5: one level, chunks of single channels."""
    import zarr

    axes = "".join(axis for axis in "CZYX" if axis in image.axes)
    array = image.with_axes(axes)
    channels = array if "C" in axes else [array]
    ranges = [(float(channel.min()), float(channel.max())) for channel in channels]
    group = zarr.create_group(
        str(folder), attributes={"ome": image.metadata.ngff(name, axes, ranges)}
    )
    stored = group.create_array(
        "0",
        shape=array.shape,
        chunks=zarr_chunks(axes, array.shape),
        dtype=array.dtype,
        dimension_names=list(axes.lower()),
        config={"write_empty_chunks": True},  # so that a missing one is a fault
    )
    stored[...] = array

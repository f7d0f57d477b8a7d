"""Volumes as files that other programs read: OME-TIFF, OME-Zarr, ImageJ TIFF, NumPy."""

import math
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.data.volumes import VOLUME_AXES
from continual_repmode.errors import UserError
from continual_repmode.files import replacing

_SUFFIXES = (
    ".ome.tif, .ome.tiff (OME-TIFF), .zarr (OME-Zarr), .tif, .tiff (ImageJ), .npy"
)
_OME_TYPES = (
    *("bool", "int8", "int16", "int32", "uint8", "uint16", "uint32"),
    *("float32", "float64"),
)
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_MAX_IMAGEJ_BYTES = 2**32 - 2**25
_CHUNK = {"C": 1, "Z": 32, "Y": 128, "X": 128}


@dataclass(frozen=True, slots=True)
class _Image:
    """What is written; the axes always are those of ``array``."""

    array: NDArray[Any]
    axes: str
    voxel_size_um: tuple[float, float, float]
    channel_names: tuple[str, ...]

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
        _check_type(path, image, "OME-TIFF", _OME_TYPES)
        with replacing(path) as temporary:
            _write_ome_tiff(temporary, image)
    elif name.endswith(".zarr"):
        with _replacing_folder(path) as folder:
            _write_ome_zarr(folder, image, path.stem)
    elif name.endswith((".tif", ".tiff")):
        _check_type(path, image, "ImageJ TIFF", _IMAGEJ_TYPES)
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
    sizes = [float(size or 0) for size in voxel_size_um]
    if len(sizes) != 3 or not all(0 < size < math.inf for size in sizes):
        raise UserError(
            f"{path}: voxel_size_um={tuple(voxel_size_um)}; three positive numbers in "
            "micrometres for z, y, x are needed"
        )
    num_channels = array.shape[axes.index("C")] if "C" in axes else 1
    if len(channel_names) not in (0, num_channels):
        raise UserError(
            f"{path}: {len(channel_names)} channel names for {num_channels} channels"
        )
    for name in channel_names:
        if not name.isprintable():
            raise UserError(f"{path}: channel name {name!r} is not printable")
    return _Image(
        array=array.astype(array.dtype.newbyteorder("="), copy=False),
        axes=axes,
        voxel_size_um=(sizes[0], sizes[1], sizes[2]),
        channel_names=tuple(channel_names) or ("",) * num_channels,
    )


def _check_type(path: Path, image: _Image, format_: str, types: Sequence[str]) -> None:
    if image.array.dtype.name not in types:
        raise UserError(
            f"{path}: {format_} has no pixels of type {image.array.dtype}; convert to "
            f"one of {', '.join(types)}"
        )


def _write_ome_tiff(path: Path, image: _Image) -> None:
    import tifffile

    size_z, size_y, size_x = image.voxel_size_um
    channels = {"Channel": {"Name": list(image.channel_names)}}
    tifffile.imwrite(
        path,
        image.array,
        ome=True,
        photometric="minisblack",
        metadata={
            "axes": image.axes,
            "PhysicalSizeZ": size_z,
            "PhysicalSizeZUnit": "µm",
            "PhysicalSizeY": size_y,
            "PhysicalSizeYUnit": "µm",
            "PhysicalSizeX": size_x,
            "PhysicalSizeXUnit": "µm",
            **(channels if any(image.channel_names) else {}),
        },
    )


def _write_imagej(path: Path, image: _Image) -> None:
    import tifffile

    array = image.with_axes("ZCYX")
    size_z, size_y, size_x = image.voxel_size_um
    labels = {"Labels": [*image.channel_names] * array.shape[0]}
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
            **(labels if any(image.channel_names) else {}),
        },
    )


def _write_npy(path: Path, image: _Image) -> None:
    from continual_repmode.data.formats.npy import Sidecar

    sidecar = Sidecar(image.axes, image.channel_names, image.voxel_size_um)
    with replacing(path) as array_file, replacing(path.with_suffix(".json")) as file:
        np.save(array_file, image.array, allow_pickle=False)
        sidecar.write(file)


def _write_ome_zarr(folder: Path, image: _Image, name: str) -> None:
    """Write OME-Zarr 0.5: one level, chunks of single channels."""
    import zarr

    axes = "".join(axis for axis in "CZYX" if axis in image.axes)
    array = image.with_axes(axes)
    chunks = [
        min(_CHUNK[axis], length)
        for axis, length in zip(axes, array.shape, strict=True)
    ]
    group = zarr.create_group(
        str(folder), attributes={"ome": _ngff_metadata(array, axes, image, name)}
    )
    stored = group.create_array(
        "0",
        shape=array.shape,
        chunks=tuple(chunks),
        dtype=array.dtype,
        dimension_names=list(axes.lower()),
        config={"write_empty_chunks": True},  # so that a missing one is a fault
    )
    stored[...] = array


def _ngff_metadata(
    array: NDArray[Any], axes: str, image: _Image, name: str
) -> dict[str, Any]:
    sizes = dict(zip("ZYX", image.voxel_size_um, strict=True))
    space = {"type": "space", "unit": "micrometer"}
    channels = [array] if "C" not in axes else list(array)
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": name,
                "axes": [
                    {
                        "name": axis.lower(),
                        **({"type": "channel"} if axis == "C" else space),
                    }
                    for axis in axes
                ],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {
                                "type": "scale",
                                "scale": [sizes.get(axis, 1.0) for axis in axes],
                            }
                        ],
                    }
                ],
            }
        ],
        "omero": {
            "channels": [
                {"label": label, "color": "FFFFFF", "active": True, "window": window}
                for label, window in zip(
                    image.channel_names, map(_window, channels), strict=True
                )
            ]
        },
    }


def _window(channel: NDArray[Any]) -> dict[str, float]:
    """Return the range of intensities that viewers are to show."""
    low, high = float(channel.min()), float(channel.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, 1.0
    return {"min": low, "start": low, "end": high, "max": high}


@contextmanager
def _replacing_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` that takes its name when the block ends.

    What was there is moved aside first and removed last, and only if it is Zarr.
    """
    if path.exists() and not any(
        (path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray")
    ):
        raise UserError(f"{path}: exists and is no Zarr folder; choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    unique = uuid.uuid4().hex
    temporary = path.with_name(f".{path.stem}.{unique}{path.suffix}")
    old = path.with_name(f".{path.stem}.{unique}.old{path.suffix}")
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)

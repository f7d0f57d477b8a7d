"""Volumes as files that other programs read: OME-TIFF, OME-Zarr, ImageJ TIFF, NumPy."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.files import failure_told, replacing
from continual_repmode.paths import user_path
from continual_repmode.volumes.formats import IMAGEJ_TIFF, OME_TIFF, OME_ZARR
from continual_repmode.volumes.formats.image_metadata import ome_tiff
from continual_repmode.volumes.formats.pixel_files import packed_ome
from continual_repmode.volumes.formats.stream_writing import writing
from continual_repmode.volumes.formats.writable import WHOLE, WritableImage

_MAX_IMAGEJ_BYTES = 2**32 - 2**25


def save_volume(
    path: str | Path,
    array: NDArray[Any],
    *,
    axes: str,
    voxel_size_um: Sequence[float | None],
    channel_names: Sequence[str] = (),
    origin_um: Sequence[float | None] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a volume in the format that the suffix of ``path`` names.

    The file appears whole or not at all.

    Parameters
    ----------
    path : str or Path
        ``.ome.tif`` or ``.ome.tiff`` for OME-TIFF, compressed by zlib; ``.zarr`` for
        OME-Zarr 0.5; ``.tif`` or ``.tiff`` for ImageJ; ``.npy`` for NumPy with a
        sidecar. ImageJ stores channels within z (ZCYX) and has no channel names: they
        become slice labels.
    array : ndarray
        Intensities; their type is kept.
    axes : str
        Of ``array``, slowest first: YX, ZYX, CYX, CZYX or ZCYX.
    voxel_size_um : sequence of float
        Along (z, y, x), in micrometres.
    channel_names : sequence of str, optional
        One per channel.
    origin_um : sequence of float or None, optional
        Where the first voxel lies along (z, y, x), in micrometres; None where unknown.
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
    path = user_path(path)
    image = WritableImage.checked(
        path, WHOLE, axes, array.shape, array.dtype, voxel_size_um, channel_names,
        origin_um,
    )  # fmt: skip
    if image.format == IMAGEJ_TIFF and array.nbytes > _MAX_IMAGEJ_BYTES:
        raise UserError(f"{path}: ImageJ reads at most 4 GB; save it as .ome.tif")
    image.check_place(overwrite)
    array = array.astype(image.dtype, copy=False)
    with failure_told(path, array.nbytes):
        if image.format == OME_TIFF:
            _write_tiff(path, array, **packed_ome(array.nbytes, ome_tiff(image)))
        elif image.format == OME_ZARR:
            _write_ome_zarr(image, array)
        elif image.format == IMAGEJ_TIFF:
            _write_imagej(image, array)
        else:
            _write_npy(image, array)
    return path


def _with_axes(array: NDArray[Any], axes: str, wanted: str) -> NDArray[Any]:
    """Return the array with other axes; those it lacks have length 1."""
    order = [axes.index(axis) for axis in wanted if axis in axes]
    lacking = [k for k, axis in enumerate(wanted) if axis not in axes]
    return np.expand_dims(array.transpose(order), lacking)


def _write_tiff(path: Path, array: NDArray[Any], **options: Any) -> None:
    import tifffile

    with replacing(path) as temporary:
        tifffile.imwrite(temporary, array, photometric="minisblack", **options)


def _write_ome_zarr(image: WritableImage, array: NDArray[Any]) -> None:
    """Write one level, in chunks of single channels."""
    axes = "".join(axis for axis in "CZYX" if axis in image.axes)
    shape = _with_axes(array, image.axes, axes).shape
    with writing(replace(image, axes=axes, shape=shape)) as writer:
        for channel, stack in enumerate(_with_axes(array, image.axes, "CZYX")):
            writer.write(channel, slice(None), stack)


def _write_imagej(image: WritableImage, array: NDArray[Any]) -> None:
    array = _with_axes(array, image.axes, "ZCYX")
    size_z, size_y, size_x = image.voxel_size_um
    metadata: dict[str, Any] = {"axes": "TZCYXS", "spacing": size_z, "unit": "micron"}
    for axis, at, size_um in zip(
        "zyx", image.origin_um, image.voxel_size_um, strict=True
    ):
        if at is not None:
            metadata[f"{axis}origin"] = -at / size_um
    if any(image.channel_names):
        metadata["Labels"] = [*image.channel_names] * len(array)
    _write_tiff(
        image.path,
        array[None, ..., None],  # in full, lest a narrow plane be taken for colors
        imagej=True,
        resolution=(1 / size_x, 1 / size_y),
        metadata=metadata,
    )


def _write_npy(image: WritableImage, array: NDArray[Any]) -> None:
    from continual_repmode.volumes.formats.npy import Sidecar

    sidecar = Sidecar(
        image.axes, image.channel_names, image.voxel_size_um, image.origin_um
    )
    sidecar_path = image.path.with_suffix(".json")
    with replacing(image.path) as array_file, replacing(sidecar_path) as file:
        np.save(array_file, array, allow_pickle=False)
        sidecar.write(file)

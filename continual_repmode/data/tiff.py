"""TIFF files: plain pages, ImageJ hyperstacks and OME-TIFF, in one file or several."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from continual_repmode.data.volumes import VoxelSize, channel_index
from continual_repmode.errors import UserError

_MICROMETRES = {
    "pm": 1e-6, "å": 1e-4, "angstrom": 1e-4,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "µm": 1.0, "um": 1.0, "micron": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "inch": 25400.0, "in": 25400.0, "m": 1e6, "meter": 1e6, "metre": 1e6,
}  # fmt: skip
_UNKNOWN: VoxelSize = (None, None, None)


@dataclass(frozen=True, slots=True)
class TiffVolume:
    """A TIFF file as a :class:`~continual_repmode.data.volumes.VolumeReader`.

    The voxel size comes from the OME metadata or from ImageJ's calibration. The
    resolution tags of any other TIFF are left aside: most programs fill them with
    the dots per inch of a printer.
    """

    path: Path
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channel_names: tuple[str, ...]
    voxel_size_um: VoxelSize

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the headers of ``path``, a TIFF or the companion file of an OME-TIFF.

        Raises
        ------
        UserError
            If the file is damaged, or holds several images, time points, colour
            samples, or a compression that needs the optional ``imagecodecs``.
        """
        with _open_tiff(path) as tif:
            series = _only_series(path, tif)
            axes, shape = _volume_axes(path, series)
            _check_decodable(path, series)
            num_channels = shape[axes.index("C")] if "C" in axes else 1
            names, voxel_size_um = [""] * num_channels, _UNKNOWN
            if tif.is_ome and tif.ome_metadata:
                pixels = _ome_pixels(tif.ome_metadata)
                names = _ome_channel_names(pixels, num_channels)
                voxel_size_um = _ome_voxel_size_um(pixels)
            elif tif.is_imagej:
                voxel_size_um = _imagej_voxel_size_um(tif)
            return cls(
                path=path,
                axes=axes,
                shape=shape,
                dtype=series.dtype.newbyteorder("="),
                channel_names=tuple(names),
                voxel_size_um=voxel_size_um,
            )

    def read_channel(
        self, channel: int | str, planes: slice = slice(None)
    ) -> NDArray[Any]:
        """Read one channel as (Z, Y, X); the pages of the others stay untouched."""
        selection: dict[str, int | slice] = {
            "C": channel_index(self, channel),
            "Z": planes,
        }
        num_pages = math.prod(self.shape[:-2])
        pages = np.arange(num_pages).reshape(self.shape[:-2])
        wanted = np.ravel(pages[tuple(selection[axis] for axis in self.axes[:-2])])
        with _open_tiff(self.path) as tif:
            planes_read = _read_pages(self.path, tif, wanted.tolist())
        stack = planes_read.reshape(-1, *self.shape[-2:])
        return stack.astype(self.dtype, copy=False)


def _open_tiff(path: Path) -> tifffile.TiffFile:
    """Open a TIFF; the parts of a multi-file OME-TIFF open with their companion."""
    try:
        if path.suffix.lower() == ".ome":
            return _open_companion(path)
        tif = tifffile.TiffFile(path)
        companion = _companion_name(tif)
        if companion is None:
            return tif
        tif.close()
        if not (path.parent / companion).is_file():
            raise UserError(f"{path}: its metadata file {companion} is not beside it")
        return _open_companion(path.parent / companion)
    except UserError:
        raise
    except (tifffile.TiffFileError, OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path}: not a readable TIFF file ({error})") from error


def _companion_name(tif: tifffile.TiffFile) -> str | None:
    """Return the companion that an OME-TIFF without own metadata points to."""
    if not (tif.is_ome and tif.ome_metadata):
        return None
    binary_only = ElementTree.fromstring(tif.ome_metadata).find("{*}BinaryOnly")
    return None if binary_only is None else binary_only.get("MetadataFile")


def _open_companion(path: Path) -> tifffile.TiffFile:
    """Open the TIFF files that a companion lists as one."""
    xml = path.read_text(encoding="utf-8-sig")
    listed = [
        uuid.get("FileName", "")
        for uuid in ElementTree.fromstring(xml).iterfind(".//{*}TiffData/{*}UUID")
    ]
    missing = sorted({name for name in listed if not (path.parent / name).is_file()})
    if missing or not listed:
        detail = ", ".join(missing) or "no TIFF file is listed"
        raise UserError(f"{path}: the image files are not beside it: {detail}")
    return tifffile.TiffFile(path.parent / listed[0], omexml=xml)


def _only_series(path: Path, tif: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """Return the one image of the file."""
    try:
        found = tif.series
    except Exception as error:  # damaged headers raise whatever they like
        raise UserError(f"{path}: not a readable TIFF file ({error})") from error
    if not found:
        raise UserError(f"{path}: not a readable TIFF file (it holds no image)")
    if len(found) == 1:
        return found[0]
    images = "; ".join(f"{series.axes} {series.shape}" for series in found)
    raise UserError(
        f"{path}: holds {len(found)} images ({images}); "
        "save the one to use in a file of its own"
    )


def _volume_axes(
    path: Path, series: tifffile.TiffPageSeries
) -> tuple[str, tuple[int, ...]]:
    """Return the axes longer than 1 (and Y, X) with their lengths; one volume's."""
    kept = [
        (axis, size)
        for axis, size in zip(series.axes, series.shape, strict=True)
        if size > 1 or axis in "YX"
    ]
    axes, shape = "".join(axis for axis, _ in kept), tuple(size for _, size in kept)
    if sum(axis in "IQ" for axis in axes) == 1 and "Z" not in axes:
        axes = axes.replace("I", "Z").replace("Q", "Z")  # a plain stack of pages
    found = f"axes {axes} {shape}"
    if "T" in axes:
        raise UserError(
            f"{path}: {shape[axes.index('T')]} time points ({found}); save one "
            "time point per file, or, if they are z planes, swap slices and frames "
            "(ImageJ: Image > Properties)"
        )
    if "S" in axes:
        raise UserError(
            f"{path}: {shape[axes.index('S')]} colour samples per pixel ({found}); "
            "save the colours as channels (ImageJ: Image > Color > Make Composite)"
        )
    if axes not in ("YX", "ZYX", "CYX", "CZYX", "ZCYX"):
        raise UserError(
            f"{path}: {found} are not those of one volume; save it as OME-TIFF or "
            "ImageJ hyperstack whose axes are named channel, z, y, x"
        )
    if len(series.keyframe.shape) != 2:
        raise UserError(
            f"{path}: stores whole volumes per page ({found}); save one plane per page"
        )
    return axes, shape


def _check_decodable(path: Path, series: tifffile.TiffPageSeries) -> None:
    """Raise if pixels could not be decoded later, or are no plain numbers."""
    page = series.keyframe
    if (
        page.compression not in tifffile.TIFF.DECOMPRESSORS
        or page.predictor not in tifffile.TIFF.UNPREDICTORS
    ):
        compression = getattr(page.compression, "name", page.compression)
        raise UserError(
            f"{path}: {compression} compression needs an extra package; "
            "pip install 'continual-repmode[compressed]'"
        )
    if series.dtype is None or series.dtype.kind not in "uif":
        raise UserError(
            f"{path}: pixels of type {series.dtype}; save them as integers or floats"
        )


def _read_pages(path: Path, tif: tifffile.TiffFile, pages: list[int]) -> NDArray[Any]:
    """Decode some planes (Y, X), counted over all leading axes, one after another."""
    series = tif.series[0]
    plane_shape = series.keyframe.shape
    if series.keyframe.is_memmappable and series.dataoffset is not None:
        # also the files that describe only the first of many planes
        mapped = tif.filehandle.memmap_array(
            tif.byteorder + series.dtype.char, series.shape, series.dataoffset
        )
        return np.asarray(mapped.reshape(-1, *plane_shape)[pages])
    absent = [k for k in pages if k >= len(series.pages) or series.pages[k] is None]
    if absent:
        raise UserError(f"{path}: plane {absent[0]} is missing; the file is incomplete")
    if not pages:
        return np.empty((0, *plane_shape), series.dtype)
    try:
        return np.asarray(tif.asarray(key=pages, series=0))
    except Exception as error:  # decoders raise whatever they like
        raise UserError(f"{path}: damaged pixel data ({error})") from error


def _unit_um(unit: str) -> float | None:
    """Return the micrometres in a unit, None if it is no length."""
    unit = unit.replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("μ", "µ")
    unit = unit.strip().lower()
    return _MICROMETRES.get(unit, _MICROMETRES.get(unit.removesuffix("s")))


def _length_um(text: str | float | None, unit: str) -> float | None:
    """Return a length in micrometres, None if it cannot be one."""
    scale = _unit_um(unit)
    try:
        value = float(text or 0)
    except ValueError:
        return None
    if scale is None or not math.isfinite(value) or value == 0:
        return None
    return abs(value) * scale  # ImageJ writes a negative depth for reversed stacks


def _imagej_voxel_size_um(tif: tifffile.TiffFile) -> VoxelSize:
    """Return ImageJ's calibration: ``spacing`` and the pixels per ``unit`` tags."""
    metadata: Mapping[str, Any] = tif.imagej_metadata or {}
    unit_x = str(metadata.get("unit", ""))

    def pixel_um(tag_name: str, unit: str) -> float | None:
        tag = tif.pages.first.tags.get(tag_name)
        if tag is None or 0 in tag.value:
            return None
        pixels, units = tag.value
        return _length_um(units / pixels, unit)

    return (
        _length_um(metadata.get("spacing"), str(metadata.get("zunit", unit_x))),
        pixel_um("YResolution", str(metadata.get("yunit", unit_x))),
        pixel_um("XResolution", unit_x),
    )


def _ome_pixels(xml: str) -> ElementTree.Element:
    """Return the description of the (only) image."""
    pixels = ElementTree.fromstring(xml).find("{*}Image/{*}Pixels")
    if pixels is None:  # tifffile found a series in it
        raise UserError("the OME metadata describe no image")
    return pixels


def _ome_channel_names(pixels: ElementTree.Element, num_channels: int) -> list[str]:
    names = [channel.get("Name", "") for channel in pixels.iterfind("{*}Channel")]
    return (names + [""] * num_channels)[:num_channels]


def _ome_voxel_size_um(pixels: ElementTree.Element) -> VoxelSize:
    def size_um(axis: str) -> float | None:
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        return _length_um(pixels.get(f"PhysicalSize{axis}"), unit)

    return size_um("Z"), size_um("Y"), size_um("X")

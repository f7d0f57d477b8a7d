"""TIFF files: plain pages, ImageJ hyperstacks and OME-TIFF, in one file or several."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.volumes.choices import (
    Z_HINT,
    Choices,
    channel_index,
    chosen_index,
    refuse_other_choices,
)
from continual_repmode.volumes.formats.damage import damage_named, read_xml
from continual_repmode.volumes.formats.ome_tiff import find_ome_volume
from continual_repmode.volumes.formats.tiff_pages import (
    check_page,
    count_pages,
    open_tiff,
    read_page,
)
from continual_repmode.volumes.formats.units import length_um
from continual_repmode.volumes.volume import (
    UNKNOWN_UM,
    VOLUME_AXES,
    VolumeHeader,
    VoxelSize,
    check_size,
    volume_shape,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffVolume(VolumeHeader):
    """A TIFF file as a :class:`~continual_repmode.volumes.volume.VolumeReader`.

    The voxel size comes from the OME metadata or from ImageJ's calibration. The
    resolution tags of any other TIFF are left aside: most programs fill them with
    the dots per inch of a printer.
    """

    files: tuple[Path, ...]
    origin_um: VoxelSize
    _pages: NDArray[np.int64] = field(repr=False, compare=False)
    _data_offset: int | None = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path, choices: Choices | None = None) -> Self:
        """Read the headers of ``path``, a TIFF or the companion file of an OME-TIFF.

        ``choices``: ``scene``: which of several images, by index or OME name; ``time``:
            which of several time points, by index.
        Raises UserError if the file is damaged, or holds several images or time points
            of which none was chosen, or color samples, or a compression that needs the
            optional ``imagecodecs``.
        """
        choices = choices or {}
        refuse_other_choices(path, choices, ("scene", "time"))
        volume = cls._open(path, choices)
        stored_bytes = sum(file.stat().st_size for file in volume.files)
        check_size(path, volume_shape(volume), volume.dtype, stored_bytes)
        return volume

    @classmethod
    def _open(cls, path: Path, choices: Choices) -> Self:
        if path.suffix.lower() == ".ome":
            return cls._open_ome(path, read_xml(path), choices)
        num_pages = count_pages(path)
        with open_tiff(path) as tif:
            description = tif.pages.first.description
            if "<OME" not in description:
                return cls._open_series(path, tif, num_pages, choices)
        return cls._open_ome(path, description, choices)

    @classmethod
    def _open_ome(cls, path: Path, xml: str | bytes, choices: Choices) -> Self:
        found = find_ome_volume(path, xml, choices)
        file, page = found.planes[0]
        with open_tiff(found.files[file]) as tif:
            first = tif.pages[int(page)]
            check_page(found.files[file], first)
            if first.shape != found.shape[-2:]:
                raise UserError(
                    f"{path}: its OME metadata describe planes of {found.shape[-2:]} "
                    f"pixels, but its pages have {first.shape}; save the image again"
                )
            dtype = first.dtype.newbyteorder("=")
        return cls(
            path=path,
            files=found.files,
            chosen=found.chosen,
            axes=found.axes,
            shape=found.shape,
            dtype=dtype,
            channel_names=found.channel_names,
            voxel_size_um=found.voxel_size_um,
            origin_um=found.origin_um,
            _pages=found.planes,
        )

    @classmethod
    def _open_series(
        cls, path: Path, tif: tifffile.TiffFile, num_pages: int, choices: Choices
    ) -> Self:
        """Open a file without OME metadata: one of tifffile's series."""
        all_series = tif.series
        names = [f"{series.axes} {series.shape}" for series in all_series]
        single_planes = len({series.shape for series in all_series}) == 1 and all(
            len(series.shape) == 2 for series in all_series
        )
        scene = chosen_index(path, "scene", names, choices, single_planes=single_planes)
        series = all_series[scene]
        if tif.is_imagej and series.kind not in ("imagej", "shaped"):
            raise UserError(
                f"{path}: ImageJ's description of it does not fit the file; it is "
                "damaged or incomplete"
            )
        axes, shape = _volume_axes(path, series)
        check_page(path, series.keyframe)
        pages, data_offset = _page_table(path, series, num_pages)
        chosen = [("scene", str(scene))] if len(all_series) > 1 else []
        if "T" in axes:
            at = axes.index("T")
            times = [""] * shape[at]
            time = chosen_index(
                path, "time", times, choices, single_planes="Z" not in axes
            )
            chosen.append(("time", str(time)))
            pages = np.take(pages.reshape(*shape[:-2], 2), time, at).reshape(-1, 2)
            axes, shape = axes.replace("T", ""), shape[:at] + shape[at + 1 :]
        else:
            chosen_index(path, "time", [""], choices)
        num_channels = shape[axes.index("C")] if "C" in axes else 1
        return cls(
            path=path,
            files=(path,),
            chosen=tuple(chosen),
            axes=axes,
            shape=shape,
            dtype=series.keyframe.dtype.newbyteorder("="),
            channel_names=_imagej_channel_names(tif, axes, shape, num_channels),
            voxel_size_um=_imagej_voxel_size_um(tif) if tif.is_imagej else UNKNOWN_UM,
            origin_um=_imagej_origin_um(tif) if tif.is_imagej else UNKNOWN_UM,
            _pages=pages,
            _data_offset=data_offset,
        )

    def read_channel(
        self, channel: int | str, planes: slice = slice(None)
    ) -> NDArray[Any]:
        """Read one channel as (Z, Y, X); the pages of the others stay untouched."""
        selection: dict[str, int | slice] = {
            "C": channel_index(self, channel),
            "Z": planes,
        }
        table = self._pages.reshape(*self.shape[:-2], 2)
        wanted = table[tuple(selection[axis] for axis in self.axes[:-2])].reshape(-1, 2)
        if "Z" not in self.axes:
            wanted = wanted[planes]
        stack = np.empty((len(wanted), *self.shape[-2:]), self.dtype)
        read = 0
        for file, run in groupby(wanted.tolist(), key=lambda row: row[0]):
            for plane in self._read_pages(self.files[file], [page for _, page in run]):
                stack[read] = plane
                read += 1
        return stack

    def _read_pages(self, file: Path, pages: Sequence[int]) -> Iterator[NDArray[Any]]:
        """Yield some pages (Y, X) of a file, in the order given."""
        shape, start = (self.shape[-2], self.shape[-1]), self._data_offset
        with open_tiff(file) as tif:
            if start is None:
                for page in pages:
                    yield read_page(file, tif, page, shape, self.dtype)
                return
            stored = self.dtype.newbyteorder(tif.byteorder)
        size = math.prod(shape)
        for page in pages:
            offset = start + page * size * stored.itemsize
            with damage_named(file, "damaged pixel data"):
                yield np.fromfile(file, stored, size, offset=offset).reshape(shape)


def _volume_axes(
    path: Path, series: tifffile.TiffPageSeries
) -> tuple[str, tuple[int, ...]]:
    """Return the axes longer than 1 (and Y, X) with their lengths; T may be there."""
    kept = [
        (axis, int(size))
        for axis, size in zip(series.axes, series.shape, strict=True)
        if size > 1 or axis in "YX"
    ]
    axes, shape = "".join(axis for axis, _ in kept), tuple(size for _, size in kept)
    if sum(axis in "IQ" for axis in axes) == 1 and "Z" not in axes:
        axes = axes.replace("I", "Z").replace("Q", "Z")  # a plain stack of pages
    found = f"axes {axes} {shape}"
    if "S" in axes:
        raise UserError(
            f"{path}: {shape[axes.index('S')]} color samples per pixel ({found}); "
            "save the colors as channels (ImageJ: Image > Color > Make Composite); "
            f"{Z_HINT}"
        )
    if axes.replace("T", "", 1) not in VOLUME_AXES:
        raise UserError(
            f"{path}: {found} are not those of one volume; save it as OME-TIFF or "
            "ImageJ hyperstack whose axes are named channel, z, y, x"
        )
    if shape[-2:] != series.keyframe.shape:
        raise UserError(
            f"{path}: stores its axes {found} in pages of {series.keyframe.shape}; "
            "save one plane per page"
        )
    return axes, shape


def _page_table(
    path: Path, series: tifffile.TiffPageSeries, num_pages: int
) -> tuple[NDArray[np.int64], int | None]:
    """Return (file 0, page) of every plane, and where the planes lie one by one.

    ImageJ and tifffile may describe only the first of many planes; then the offset of
    that plane is returned, and pages are counted from it.
    """
    num_planes = math.prod(series.shape) // math.prod(series.keyframe.shape)
    if num_planes <= num_pages:
        pages = [series[plane] for plane in range(num_planes)]
        if None in pages:
            raise UserError(
                f"{path}: plane {pages.index(None)} is missing; the file is incomplete"
            )
        table = [(0, page.index) for page in pages]
        return np.asarray(table, np.int64), None
    size = path.stat().st_size
    offset = series.dataoffset
    end = (offset or 0) + math.prod(series.shape) * series.dtype.itemsize
    if offset is None or end > size or series.dtype.kind == "b":
        raise UserError(
            f"{path}: its header promises {num_planes} planes, but the file has "
            f"{num_pages} pages in {size} bytes; it is damaged or incomplete"
        )
    table_at = np.zeros((num_planes, 2), np.int64)
    table_at[:, 1] = np.arange(num_planes)
    return table_at, int(offset)


def _imagej_voxel_size_um(tif: tifffile.TiffFile) -> VoxelSize:
    """Return ImageJ's calibration: ``spacing`` and the pixels per ``unit`` tags."""
    metadata: Mapping[str, Any] = tif.imagej_metadata or {}
    unit_x = str(metadata.get("unit", ""))

    def pixel_um(tag_name: str, unit: str) -> float | None:
        tag = tif.pages.first.tags.get(tag_name)
        if tag is None or not isinstance(tag.value, tuple) or 0 in tag.value:
            return None
        pixels, units = tag.value
        return length_um(units / pixels, unit)

    return (
        length_um(metadata.get("spacing"), str(metadata.get("zunit", unit_x))),
        pixel_um("YResolution", str(metadata.get("yunit", unit_x))),
        pixel_um("XResolution", unit_x),
    )


def _imagej_origin_um(tif: tifffile.TiffFile) -> VoxelSize:
    """Return where the first voxel lies: ImageJ has the voxel that lies at 0."""
    metadata: Mapping[str, Any] = tif.imagej_metadata or {}
    z, y, x = (
        -float(at) * size if size and isinstance(at, int | float) else None
        for at, size in zip(
            (metadata.get(f"{axis}origin") for axis in "zyx"),
            _imagej_voxel_size_um(tif),
            strict=True,
        )
    )
    return z, y, x


def _imagej_channel_names(
    tif: tifffile.TiffFile, axes: str, shape: tuple[int, ...], num_channels: int
) -> tuple[str, ...]:
    """Return the slice label that all planes of a channel share, as its name."""
    labels = (tif.imagej_metadata or {}).get("Labels") if tif.is_imagej else None
    labels = [labels] if isinstance(labels, str) else labels  # of a single plane
    if not isinstance(labels, list) or len(labels) != math.prod(shape[:-2]):
        return ("",) * num_channels
    table = np.asarray(labels, object).reshape(shape[:-2])
    by_channel = np.moveaxis(table, axes.index("C"), 0) if "C" in axes else table[None]
    return tuple(
        names.pop() if len(names := set(map(str, row))) == 1 else ""
        for row in by_channel.reshape(num_channels, -1).tolist()
    )

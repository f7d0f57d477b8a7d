"""Volumes written a few planes at a time: OME-Zarr and OME-TIFF."""

import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike, NDArray

from continual_repmode.errors import UserError
from continual_repmode.files import (
    failure_told,
    remove,
    remove_leftovers,
    synchronize,
    temporary_beside,
)
from continual_repmode.paths import user_path
from continual_repmode.volumes.formats import OME_TIFF, OME_ZARR
from continual_repmode.volumes.formats.pixel_files import (
    PixelFile,
    TiffPixels,
    ZarrPixels,
)
from continual_repmode.volumes.formats.writable import STREAMED, WritableImage
from continual_repmode.volumes.formats.write_journal import WriteJournal

_REMEDY = "free some space or choose another path"

ShapeCzyx = tuple[int, int, int, int]
"""Voxels along (C, Z, Y, X)."""


@contextmanager
def open_writer(
    path: str | Path,
    *,
    attributes: Mapping[str, Any] | None = None,
    work_path: Path | None = None,
    **image: Any,
) -> Iterator["VolumeWriter"]:
    """Open a file for writing; it takes its name when the block ends.

    ``attributes``: kept in the file under the name ``continual_repmode``: as attributes
        of the Zarr group, as a map annotation of the OME-XML.
    ``work_path``: folder, on the same disk, for the unfinished volume. It stays if the
        block raises, and the same call resumes it: see :meth:`VolumeWriter.missing`. By
        default a hidden folder next to ``path``, which is removed in the end.
    Raises UserError: as :func:`check_writable` does; or if writing fails.
    """
    checked = check_writable(path, work_path=work_path, **image)
    with writing(checked, attributes, work_path) as writer:
        yield writer


@contextmanager
def writing(
    image: WritableImage,
    attributes: Mapping[str, Any] | None = None,
    work_path: Path | None = None,
) -> Iterator["VolumeWriter"]:
    """Open the file of a checked image; otherwise as :func:`open_writer`."""
    path = image.path
    work = work_path or temporary_beside(path)
    room = math.prod(image.shape_czyx) * image.dtype.itemsize
    try:
        with failure_told(path, room, _REMEDY):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path.parent)
            _restore(path)
            writer = VolumeWriter(image, work, dict(attributes or {}))
        yield writer
        with failure_told(path, room, _REMEDY):
            writer.finish()
    finally:
        if work_path is None:
            remove(work)


def check_writable(
    path: str | Path,
    *,
    shape_czyx: ShapeCzyx,
    dtype: DTypeLike,
    voxel_size_um: Sequence[float | None],
    channel_names: Sequence[str] = (),
    origin_um: Sequence[float | None] | None = None,
    overwrite: bool = False,
    work_path: Path | None = None,
    num_times: int = 1,
) -> WritableImage:
    """Return what a volume to be written is, if it can be; nothing is made.

    ``path``: ``.ome.zarr`` or ``.zarr`` for OME-Zarr 0.5, ``.ome.tif`` or ``.ome.tiff``
        for OME-TIFF, compressed by zlib in the end, as BigTIFF where it needs to be.
    ``voxel_size_um``: along (z, y, x), in micrometres.
    ``channel_names``: one per channel.
    ``origin_um``: where the first voxel lies along (z, y, x), in micrometres; None
        where unknown.
    ``overwrite``: replace what is at ``path``, once all is written.
    ``num_times``: time points. If there are several, the channels of the writer are
        those of the first time point, then those of the second, and so on.
    Raises UserError if the format is unknown or cannot hold the image, the voxel size
        is unknown, there is something at ``path`` already, its folder cannot be written
        to, or the disk has too little room.
    """
    image = WritableImage.checked(
        user_path(path),
        STREAMED,
        "CZYX",
        shape_czyx,
        dtype,
        voxel_size_um,
        channel_names,
        origin_um,
    )
    if image.format == OME_TIFF and image.dtype == bool:
        raise UserError(
            f"{path}: bits cannot be written plane by plane; convert to uint8"
        )
    image = replace(image, num_times=num_times)
    image.check_place(overwrite, work_path)
    return image


class VolumeWriter:
    """Takes the planes of a volume in any order; see :func:`open_writer`.

    ``shape_czyx``: voxels along (C, Z, Y, X); C counts the channels of every time
        point.
    ``planes_at_a_time``: blocks that begin and end at multiples of it are written
        fastest, as whole chunks; any other is written as well.
    """

    def __init__(
        self, image: WritableImage, work: Path, attributes: dict[str, Any]
    ) -> None:
        num_channels, num_z, num_y, num_x = image.shape_czyx
        self.shape_czyx = (image.num_times * num_channels, num_z, num_y, num_x)
        self._image, self._work = image, work
        self._unfinished = work / f"volume{image.path.suffix}"
        kind = ZarrPixels if image.format == OME_ZARR else TiffPixels
        self._pixels: PixelFile = kind(self._unfinished, image, attributes)
        self.planes_at_a_time = self._pixels.planes_at_a_time
        self._journal_file = work / "written.jsonl"
        self._journal = WriteJournal(self._journal_file, self.shape_czyx)
        header = {
            "format": "zarr in shards" if image.format == OME_ZARR else "tiff",
            "shape_czyx": self.shape_czyx,
            "num_times": image.num_times,
            "dtype": image.dtype.name,
            "voxel_size_um": image.voxel_size_um,
            "channel_names": image.channel_names,
            "origin_um": image.origin_um,
            "attributes": attributes,
        }
        if self._unfinished.exists() and self._journal.resume(header):
            return
        self._clear_work()
        self._pixels.create()
        self._journal.begin(header)

    def write(
        self,
        channel: int,
        planes: slice,
        block: NDArray[Any],
        rows: slice = slice(None),
    ) -> None:
        """Write a part of a channel.

        ``channel``: index from 0.
        ``planes``: along z, without a step.
        ``block``: (z, y, X); intensities; floats may lose precision, but are not made
            integers.
        ``rows``: along y, without a step; all by default.
        Raises UserError if it cannot be written.
        """
        _, num_z, num_y, num_x = self.shape_czyx
        planes = slice(*planes.indices(num_z)[:2])
        rows = slice(*rows.indices(num_y)[:2])
        expected = planes.stop - planes.start, rows.stop - rows.start, num_x
        if block.shape != expected:
            raise ValueError(f"block of shape {block.shape}: expected {expected}")
        if not 0 <= channel < self.shape_czyx[0]:
            raise ValueError(f"channel={channel}: there are {self.shape_czyx[0]}")
        if not block.size:
            return
        if not self.missing(channel):
            raise ValueError(f"channel={channel}: all of it is written already")
        block = block.astype(self._image.dtype, casting="same_kind", copy=False)
        with failure_told(self._image.path, block.nbytes, _REMEDY):
            self._pixels.write(channel, planes, rows, block)
            low, high = float(block.min()), float(block.max())
            self._journal.add(channel, planes, rows, low, high)
            if not self.missing(channel):
                self._pixels.settle(channel)

    def channel(self, channel: int) -> "WriterChannel":
        """Return one channel as a target of ``resize_stream``."""
        return WriterChannel(self, channel)

    def missing(self, channel: int) -> list[int]:
        """Return the planes of a channel that are not wholly written yet."""
        return self._journal.missing(channel)

    def finish(self) -> None:
        """Write the metadata and give the file its name; done by ``open_writer``."""
        for channel in range(self.shape_czyx[0]):
            missing = self.missing(channel)
            if missing:
                raise ValueError(
                    f"channel {channel}: {len(missing)} planes are missing"
                )
            self._pixels.settle(channel)
        self._pixels.close(self._journal.ranges())
        for file in (self._unfinished, *self._unfinished.rglob("*")):
            if file.suffix == ".partial":  # a chunk that a killed process was at
                file.unlink()
            else:
                synchronize(file)
        if self._unfinished.is_dir():
            _put_in_place(self._unfinished, self._image.path)
        else:
            self._unfinished.replace(self._image.path)
        synchronize(self._image.path.parent)
        self._journal_file.unlink()
        self._work.rmdir()

    def _clear_work(self) -> None:
        """Empty the folder of what other calls left; nothing else may be in it."""
        self._work.mkdir(parents=True, exist_ok=True)
        for place in self._work.iterdir():
            if place != self._journal_file and place.stem != "volume":
                raise UserError(
                    f"{self._work}: holds {place.name}, not just an unfinished volume; "
                    "choose another work_path"
                )
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink()


@dataclass(frozen=True, slots=True)
class WriterChannel:
    """One channel of a :class:`VolumeWriter`, filled like an array."""

    writer: VolumeWriter
    index: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (Z, Y, X)."""
        return self.writer.shape_czyx[1:]

    def __setitem__(self, part: tuple[slice, slice], block: NDArray[Any]) -> None:
        planes, rows = part
        self.writer.write(self.index, planes, block, rows)


def _put_in_place(folder: Path, path: Path) -> None:
    """Give a folder the name ``path``; what was there goes once that is done."""
    try:
        if path.exists():
            path.rename(_replaced(path))
        folder.rename(path)
    finally:
        _restore(path)


def _replaced(path: Path) -> Path:
    """Return where a folder is while another one takes its name."""
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return path.with_name(f".replaced-{name}")


def _restore(path: Path) -> None:
    """Give a folder that was to be replaced its name back, unless it was replaced."""
    old = _replaced(path)
    if old.exists() and not path.exists():
        old.rename(path)
    elif old.exists():
        shutil.rmtree(old, ignore_errors=True)

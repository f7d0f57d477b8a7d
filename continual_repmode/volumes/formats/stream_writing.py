"""Volumes written a few planes at a time: OME-Zarr and OME-TIFF."""

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike, NDArray

from continual_repmode.errors import UserError
from continual_repmode.volumes.formats.image_metadata import NAMESPACE
from continual_repmode.volumes.formats.pixel_files import (
    AXES,
    PixelFile,
    TiffPixels,
    ZarrPixels,
)
from continual_repmode.volumes.formats.writable import ShapeCzyx, WritableImage
from continual_repmode.volumes.formats.write_journal import WriteJournal
from continual_repmode.volumes.formats.zarr_folders import put_in_place


@contextmanager
def open_writer(
    path: str | Path,
    *,
    shape_czyx: ShapeCzyx,
    dtype: DTypeLike,
    voxel_size_um: Sequence[float | None],
    channel_names: Sequence[str] = (),
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    work_path: Path | None = None,
) -> Iterator["VolumeWriter"]:
    """Open a file for writing; it takes its name when the block ends.

    Parameters
    ----------
    path : str or Path
        ``.ome.zarr`` or ``.zarr`` for OME-Zarr 0.5, ``.ome.tif`` or ``.ome.tiff`` for
        OME-TIFF without compression, as BigTIFF where it needs to be.
    shape_czyx : tuple of int
        Voxels along (C, Z, Y, X).
    dtype : dtype
        Of the pixels.
    voxel_size_um : sequence of float
        Along (z, y, x), in micrometres.
    channel_names : sequence of str, optional
        One per channel.
    attributes : mapping of str to JSON values, optional
        Kept in the file under the name ``continual_repmode``: as attributes of the
        Zarr group, as a map annotation of the OME-XML.
    overwrite : bool
        Replace what is at ``path``, once all is written.
    work_path : Path, optional
        Folder, on the same disk, for the unfinished volume. It stays if the block
        raises, and the same call goes on with it: see :meth:`VolumeWriter.missing`.
        By default a hidden folder beside ``path``, of which nothing stays.

    Yields
    ------
    VolumeWriter

    Raises
    ------
    UserError
        As :func:`check_writable` does; or if writing fails.
    """
    path = Path(path)
    image = WritableImage.checked(path, shape_czyx, dtype, voxel_size_um, channel_names)
    image.check_place(path, overwrite, work_path)
    work = work_path or path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with _failure_told(path):
            writer = VolumeWriter(path, image, work, dict(attributes or {}))
        yield writer
        with _failure_told(path):
            writer.finish()
    finally:
        if work_path is None:
            shutil.rmtree(work, ignore_errors=True)


def check_writable(
    path: str | Path,
    *,
    shape_czyx: ShapeCzyx,
    dtype: DTypeLike,
    voxel_size_um: Sequence[float | None],
    channel_names: Sequence[str] = (),
    overwrite: bool = False,
    work_path: Path | None = None,
) -> None:
    """Raise if a volume cannot be written; nothing is made.

    Parameters
    ----------
    path, shape_czyx, dtype, voxel_size_um, channel_names, overwrite, work_path
        As for :func:`open_writer`.

    Raises
    ------
    UserError
        If the format is unknown or cannot hold the image, the voxel size is unknown,
        there is something at ``path`` already, its folder cannot be written to, or
        the disk has too little room.
    """
    path = Path(path)
    image = WritableImage.checked(path, shape_czyx, dtype, voxel_size_um, channel_names)
    image.check_place(path, overwrite, work_path)


class VolumeWriter:
    """Takes the planes of a volume in any order; see :func:`open_writer`.

    Attributes
    ----------
    shape_czyx : tuple of int
        Voxels along (C, Z, Y, X).
    planes_at_a_time : int
        Blocks that begin and end at multiples of it are written fastest, as whole
        chunks; any other is written as well.
    """

    def __init__(
        self, path: Path, image: WritableImage, work: Path, attributes: dict[str, Any]
    ) -> None:
        self.shape_czyx = image.shape
        self._path, self._image, self._work = path, image, work
        self._attributes = attributes
        self._unfinished = work / f"volume{path.suffix}"
        self._pixels = self._pixel_file()
        self.planes_at_a_time = self._pixels.planes_at_a_time
        self._journal_file = work / "written.jsonl"
        self._journal = WriteJournal(self._journal_file, image.shape)
        header = {
            "format": image.format,
            "shape_czyx": image.shape,
            "dtype": image.dtype.name,
            "voxel_size_um": image.metadata.voxel_size_um,
            "channel_names": image.metadata.channel_names,
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

        Parameters
        ----------
        channel : int
            Index from 0.
        planes : slice
            Along z, without a step.
        block : ndarray, shape (z, y, X)
            Intensities; floats may lose precision, but are not made integers.
        rows : slice
            Along y, without a step; all by default.

        Raises
        ------
        UserError
            If it cannot be written.
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
        block = block.astype(self._image.dtype, casting="same_kind", copy=False)
        with _failure_told(self._path):
            self._pixels.write(channel, planes, rows, block)
            low, high = float(block.min()), float(block.max())
            self._journal.add(channel, planes, rows, low, high)

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
        image, ranges = self._image, self._journal.ranges()
        ome = image.metadata.ngff(image.name, AXES, ranges)
        own = {NAMESPACE: self._attributes} if self._attributes else {}
        self._pixels.close({"ome": ome, **own})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if image.format == "zarr":
            put_in_place(self._unfinished, self._path)
        else:
            self._unfinished.replace(self._path)
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

    def _pixel_file(self) -> PixelFile:
        image, path = self._image, self._unfinished
        if image.format == "zarr":
            return ZarrPixels(path, image.shape, image.dtype)
        metadata = image.metadata.ome_tiff(AXES, self._attributes)
        return TiffPixels(path, image.shape, image.dtype, metadata)


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


@contextmanager
def _failure_told(path: Path) -> Iterator[None]:
    """Make a failure of the disk one that names the file."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); free some space "
            "or choose another path"
        ) from error

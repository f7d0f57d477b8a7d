"""Files of pixels that are written piece by piece, in any order: TIFF and Zarr."""

import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from continual_repmode.stopping import stop_if_told
from continual_repmode.volumes.formats.image_metadata import NAMESPACE, ngff, ome_tiff
from continual_repmode.volumes.formats.pyramid import num_levels, write_levels
from continual_repmode.volumes.formats.shards import Shards
from continual_repmode.volumes.formats.writable import WritableImage

_CLASSIC_BYTES = 2**32 - 2**25
"""Larger ones are BigTIFF."""


def packed_ome(num_bytes: int, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``tifffile.imwrite`` for an OME-TIFF, compressed.

    ``num_bytes``: of the pixels before that.
    """
    return {
        "ome": True,
        "metadata": metadata,
        "bigtiff": num_bytes > _CLASSIC_BYTES,
        "compression": "zlib",
        "compressionargs": {"level": 3},
    }


_AT_ONCE = 2
"""Chunks that are packed at once. Ten, as Zarr does, take 49 to 68 MB beyond the block
and no less time on two cores; two take 23 to 32 MB."""
_CHUNK = {"T": 1, "C": 1, "Z": 32, "Y": 128, "X": 128}


class PixelFile(Protocol):
    """A file of pixels."""

    planes_at_a_time: int
    """Blocks that begin and end at multiples of so many planes are written fastest."""

    def create(self) -> None:
        """Make the file, with no pixels written."""
        ...

    def write(
        self, channel: int, planes: slice, rows: slice, block: NDArray[Any]
    ) -> None:
        """Write pixels (z, y, X), of the type of the file."""
        ...

    def settle(self, channel: int) -> None:
        """Bring the pixels of a channel, which are all written, into their last form.

        May be called again.
        """
        ...

    def close(self, ranges: list[tuple[float, float]]) -> None:
        """Write what is known only when all pixels are: the range of each channel."""
        ...


class TiffPixels:
    """An OME-TIFF (C, Z, Y, X), compressed when all is written.

    Before, its planes lie one after the other, so that any part can be written.
    """

    planes_at_a_time = 1

    def __init__(
        self, path: Path, image: WritableImage, attributes: Mapping[str, Any]
    ) -> None:
        self._path, self._image, self._attributes = path, image, attributes
        self._offset: int | None = None

    def create(self) -> None:
        """Make the file, with planes of zeros that take no room yet."""
        import tifffile

        tifffile.imwrite(
            self._path,
            shape=self._image.stored_shape,
            dtype=self._image.dtype,
            ome=True,
            photometric="minisblack",
            metadata=ome_tiff(self._image, self._attributes),
        )

    def write(
        self, channel: int, planes: slice, rows: slice, block: NDArray[Any]
    ) -> None:
        """Write pixels; see :class:`PixelFile`."""
        _, num_z, num_y, num_x = self._image.shape_czyx
        first_row = (channel * num_z + planes.start) * num_y + rows.start
        pieces = block[None] if rows == slice(0, num_y) else block
        with self._path.open("r+b") as file:
            for index, piece in enumerate(pieces):
                row = (first_row + index * num_y) * num_x
                file.seek(self._first_pixel() + row * block.dtype.itemsize)
                file.write(np.ascontiguousarray(piece).data)

    def settle(self, channel: int) -> None:
        """Do nothing: pixels are written in place."""

    def close(self, ranges: list[tuple[float, float]]) -> None:
        """Compress the planes into another file that takes the place of this one."""
        import tifffile

        image = self._image
        with tifffile.TiffFile(self._path) as tif:
            if tif.pages.first.compression != 1:
                return  # done before the process was killed
        packed = self._path.with_name(f"{self._path.stem}.packed")
        num_bytes = math.prod(image.stored_shape) * image.dtype.itemsize
        tifffile.imwrite(
            packed,
            self._planes(),
            shape=image.stored_shape,
            dtype=image.dtype,
            photometric="minisblack",
            **packed_ome(num_bytes, ome_tiff(image, self._attributes)),
        )
        packed.replace(self._path)

    def _planes(self) -> Iterator[NDArray[Any]]:
        """Read the planes as they are, one at a time."""
        *others, num_y, num_x = self._image.stored_shape
        with self._path.open("rb") as file:
            file.seek(self._first_pixel())
            for _ in range(math.prod(others)):
                stop_if_told()
                plane = np.fromfile(file, self._image.dtype, num_y * num_x)
                yield plane.reshape(num_y, num_x)

    def _first_pixel(self) -> int:
        """Return where in the file the pixels begin."""
        if self._offset is None:
            import tifffile

            with tifffile.TiffFile(self._path) as tif:
                self._offset = int(tif.pages.first.dataoffsets[0])
        return self._offset


class ZarrPixels:
    """An OME-Zarr in chunks of one channel that lie in shards, with coarser levels.

    While a channel is written its chunks are files next to the folder. Then they are
    copied into shards, each of which appears whole or not at all.

    ``image``: its axes are some of CZYX, in this order.
    """

    def __init__(
        self, folder: Path, image: WritableImage, attributes: Mapping[str, Any]
    ) -> None:
        self._folder, self._image, self._attributes = folder, image, attributes
        self.planes_at_a_time = min(_CHUNK["Z"], image.shape_czyx[1])
        axes, shape = image.stored_axes, image.stored_shape
        chunk = tuple(map(min, shape, (_CHUNK[axis] for axis in axes)))
        self._shards = Shards(axes, shape, chunk, image.dtype.itemsize)
        self._loose = folder.with_name(f"{folder.stem}.chunks")

    def create(self) -> None:
        """Make the folder, with an array without chunks."""
        import zarr

        zarr.create_group(str(self._folder))
        self._shards.create(self._folder / "0", self._loose, self._image.dtype)

    def write(
        self, channel: int, planes: slice, rows: slice, block: NDArray[Any]
    ) -> None:
        """Write pixels; see :class:`PixelFile`. Chunks begun before are read again.

        Chunks of zeros are stored too, so that a missing one is a fault.
        """
        import zarr

        where_to = self._folder / "0" if self._shards.hold_one_chunk else self._loose
        with zarr.config.set({"array.write_empty_chunks": True}):
            array = zarr.open_array(str(where_to), mode="r+")
        place = {**self._place(channel), "Z": planes, "Y": rows}
        axes = self._image.stored_axes
        where = tuple(place.get(axis, slice(None)) for axis in axes)
        with zarr.config.set({"async.concurrency": _AT_ONCE}):
            array[where] = block if "Z" in axes else block[0]

    def settle(self, channel: int) -> None:
        """Copy the chunks of a channel into shards; those that are there stay."""
        if not self._shards.hold_one_chunk:
            place = self._place(channel)
            self._shards.pack(self._loose, self._folder / "0", place)

    def close(self, ranges: list[tuple[float, float]]) -> None:
        """Write coarser levels and attributes; no chunk stays outside of shards."""
        import zarr

        count = num_levels(*self._image.shape_czyx[2:])
        write_levels(self._folder, self._image.stored_axes, count)
        own = {NAMESPACE: dict(self._attributes)} if self._attributes else {}
        zarr.open_group(str(self._folder), mode="r+").update_attributes(
            {"ome": ngff(self._image, ranges), **own}
        )
        if not self._shards.hold_one_chunk:
            shutil.rmtree(self._loose, ignore_errors=True)

    def _place(self, channel: int) -> dict[str, Any]:
        """Return time point and channel of a channel of the writer."""
        time, own = divmod(channel, self._image.shape_czyx[0])
        return {"T": time, "C": own}

"""Files of pixels that are written piece by piece, in any order: TIFF and Zarr."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from continual_repmode.volumes.formats.image_metadata import zarr_chunks

AXES = "CZYX"


class PixelFile(Protocol):
    """A file of pixels (C, Z, Y, X)."""

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

    def close(self, attributes: dict[str, Any]) -> None:
        """Write what is known only when all pixels are; ``attributes`` of the group."""
        ...


class TiffPixels:
    """An uncompressed OME-TIFF, whose planes lie one after the other.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Of (C, Z, Y, X).
    dtype : dtype
    metadata : dict
        For tifffile; it is written when the file is made.
    """

    planes_at_a_time = 1

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int, int],
        dtype: np.dtype[Any],
        metadata: dict[str, Any],
    ) -> None:
        self._path, self._shape, self._dtype = path, shape, dtype
        self._metadata = metadata
        self._offset: int | None = None

    def create(self) -> None:
        """Make the file, with planes of zeros that take no room yet."""
        import tifffile

        tifffile.imwrite(
            self._path,
            shape=self._shape,
            dtype=self._dtype,
            ome=True,
            photometric="minisblack",
            metadata=self._metadata,
        )

    def write(
        self, channel: int, planes: slice, rows: slice, block: NDArray[Any]
    ) -> None:
        """Write pixels; see :class:`PixelFile`."""
        _, num_z, num_y, num_x = self._shape
        first_row = (channel * num_z + planes.start) * num_y + rows.start
        pieces = block[None] if rows == slice(0, num_y) else block
        with self._path.open("r+b") as file:
            for index, piece in enumerate(pieces):
                row = (first_row + index * num_y) * num_x
                file.seek(self._first_pixel() + row * self._dtype.itemsize)
                file.write(np.ascontiguousarray(piece).data)

    def close(self, attributes: dict[str, Any]) -> None:
        """Do nothing: a TIFF says all when it is made."""

    def _first_pixel(self) -> int:
        """Return where in the file the pixels begin."""
        if self._offset is None:
            import tifffile

            with tifffile.TiffFile(self._path) as tif:
                self._offset = int(tif.pages.first.dataoffsets[0])
        return self._offset


class ZarrPixels:
    """An OME-Zarr of one level, in chunks of one channel.

    Parameters
    ----------
    folder : Path
    shape : tuple of int
        Of (C, Z, Y, X).
    dtype : dtype
    """

    def __init__(
        self, folder: Path, shape: tuple[int, int, int, int], dtype: np.dtype[Any]
    ) -> None:
        self._folder, self._shape, self._dtype = folder, shape, dtype
        self._chunks = zarr_chunks(AXES, shape)
        self.planes_at_a_time = self._chunks[1]

    def create(self) -> None:
        """Make the folder, with an array without chunks."""
        import zarr

        zarr.create_group(str(self._folder)).create_array(
            "0",
            shape=self._shape,
            chunks=self._chunks,
            dtype=self._dtype,
            dimension_names=list(AXES.lower()),
            config={"write_empty_chunks": True},  # so that a missing one is a fault
        )

    def write(
        self, channel: int, planes: slice, rows: slice, block: NDArray[Any]
    ) -> None:
        """Write pixels; see :class:`PixelFile`. Chunks begun before are read again."""
        import zarr

        array = zarr.open_array(
            str(self._folder / "0"), mode="r+", config={"write_empty_chunks": True}
        )
        array[channel, planes, rows] = block

    def close(self, attributes: dict[str, Any]) -> None:
        """Write the attributes of the image."""
        import zarr

        zarr.open_group(str(self._folder), mode="r+").update_attributes(attributes)

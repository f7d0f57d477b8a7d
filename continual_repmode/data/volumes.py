"""Image files as volumes: what every reader offers, and which reader opens a file."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError

VoxelSize = tuple[float | None, float | None, float | None]
"""Micrometres along (z, y, x); None where the file does not say."""


class VolumeReader(Protocol):
    """One image file with a single time point.

    Opening reads headers only, and no reader keeps its file open: a thousand of them
    cost a thousand headers and can be sent to worker processes.
    """

    @property
    def path(self) -> Path:
        """The file that was asked for."""
        ...

    @property
    def axes(self) -> str:
        """Axes as stored, slowest first: a permutation of C, Z, Y, X or of a part."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each of ``axes``."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored intensities, in the byte order of this machine."""
        ...

    @property
    def channel_names(self) -> tuple[str, ...]:
        """One name per channel; ``""`` for a channel without one."""
        ...

    @property
    def voxel_size_um(self) -> VoxelSize:
        """Voxel size (z, y, x) in micrometres, None per axis where unknown."""
        ...

    def read_channel(
        self, channel: int | str, planes: slice = slice(None)
    ) -> NDArray[Any]:
        """Read one channel, leaving the others undecoded.

        Parameters
        ----------
        channel : int or str
            Index from 0, or name.
        planes : slice
            The z planes wanted; all of them by default.

        Returns
        -------
        ndarray, shape (Z, Y, X)
            Raw intensities of type ``dtype``.
        """
        ...


def open_volume(path: str | Path) -> VolumeReader:
    """Open an image file with the reader for its kind.

    Raises
    ------
    UserError
        If the file is missing, of an unknown kind, damaged, or not one volume.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    match path.suffix.lower():
        case ".tif" | ".tiff" | ".ome":
            from continual_repmode.data.tiff import TiffVolume

            return TiffVolume.open(path)
        case suffix:
            raise UserError(
                f"{path}: cannot read {suffix or 'files without a suffix'}; "
                "save it as TIFF (.tif, .tiff), or give an OME-TIFF's .companion.ome"
            )


def volume_shape(volume: VolumeReader) -> tuple[int, int, int]:
    """Return the (Z, Y, X) shape of every channel; a flat image has one plane."""
    sizes = dict(zip(volume.axes, volume.shape, strict=True))
    return sizes.get("Z", 1), sizes["Y"], sizes["X"]


def channel_index(volume: VolumeReader, channel: int | str) -> int:
    """Return the index of a channel given by index or name.

    Raises
    ------
    UserError
        If there is no such channel, or several of that name; lists the choices.
    """
    names = volume.channel_names
    if isinstance(channel, int):
        found = [channel] if 0 <= channel < len(names) else []
    else:
        found = [index for index, name in enumerate(names) if name == channel]
    if len(found) == 1:
        return found[0]
    choices = ", ".join(
        f"{index} {name!r}" if name else str(index) for index, name in enumerate(names)
    )
    problem = "several channels are named" if found else "no channel"
    raise UserError(f"{volume.path}: {problem} {channel!r}; choose from {choices}")

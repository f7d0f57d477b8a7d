"""Image files as volumes: what every reader offers, and what readers share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from continual_repmode.errors import UserError

Size3 = tuple[int, int, int]
"""An extent in voxels along (Z, Y, X)."""

DEFAULT_WINDOW: Size3 = (32, 128, 128)
"""The paper's training patch and prediction window."""

VoxelSize = tuple[float | None, float | None, float | None]
"""Micrometres along (z, y, x); None where the file does not say."""

UNKNOWN_UM: VoxelSize = (None, None, None)

_MAX_COMPRESSION = 33_000
"""Zstd packs blank planes up to 32768:1; deflate cannot exceed 1032."""

VOLUME_AXES = ("YX", "ZYX", "CYX", "CZYX", "ZCYX")
"""All that the axes of a volume can be, as stored, slowest first."""

_POINTER = b"version https://git-lfs"


class VolumeReader(Protocol):
    """One volume in an image file: the channels of one scene and time point.

    Opening reads headers only, and no reader keeps its file open: a thousand of them
    cost a thousand headers and can be sent to worker processes.
    """

    @property
    def path(self) -> Path:
        """The file or folder that was asked for."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file whose bytes decide what is read, in a stable order."""
        ...

    @property
    def chosen(self) -> tuple[tuple[str, str], ...]:
        """What was taken of ``CHOICES``, as pairs of name and index; () if all."""
        ...

    @property
    def axes(self) -> str:
        """Axes as stored, slowest first: YX, ZYX, CYX, CZYX or ZCYX."""
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
            Index from 0, or name; see
            :func:`~continual_repmode.volumes.choices.channel_index`.
        planes : slice
            The z planes wanted; all of them by default.

        Returns
        -------
        ndarray, shape (Z, Y, X)
            Raw intensities of type ``dtype``, with memory of their own.

        Raises
        ------
        UserError
            If there is no such channel, or its pixels are missing or damaged.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeHeader:
    """What every reader of this package keeps; see :class:`VolumeReader`."""

    path: Path
    chosen: tuple[tuple[str, str], ...] = ()
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channel_names: tuple[str, ...]
    voxel_size_um: VoxelSize


def check_fetched(path: Path) -> None:
    """Raise if a file is empty, unreadable, or a git-lfs pointer to the real one."""
    if not path.is_file():
        raise UserError(f"{path}: neither a file nor a folder")
    try:
        with path.open("rb") as file:
            head = file.read(len(_POINTER))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise UserError(f"{path}: the file is empty; fetch or save it again")
    if head == _POINTER:
        raise UserError(
            f"{path}: only a pointer to the real file; fetch it with 'git lfs pull'"
        )


def volume_shape(volume: VolumeReader) -> tuple[int, int, int]:
    """Return the (Z, Y, X) shape of every channel; a flat image has one plane."""
    sizes = dict(zip(volume.axes, volume.shape, strict=True))
    return sizes.get("Z", 1), sizes["Y"], sizes["X"]


def missing_chunks(volume: VolumeReader) -> str:
    """Say which share of the chunk files of a Zarr is not there; "" if all are."""
    missing: str = getattr(volume, "missing", "")
    return missing


def refuse_missing_chunks(volume: VolumeReader) -> None:
    """Raise if chunk files of a Zarr are missing.

    Raises UserError: with their share.
    """
    if missing := missing_chunks(volume):
        raise UserError(
            f"{volume.path}: {missing}; copy it again or, if they were left out, "
            "leave out --refuse-missing-chunks (run: data.refuse_missing_chunks=false)"
        )


def origin_um(volume: VolumeReader) -> VoxelSize:
    """Return where the first voxel of a volume lies: micrometres along (z, y, x).

    What a reader knows of it is its attribute ``origin_um``, which it may lack; None
    along axes where it does not know.
    """
    known: VoxelSize = getattr(volume, "origin_um", UNKNOWN_UM)
    return known


def check_size(
    path: Path, shape: Sequence[int], dtype: np.dtype[Any], stored_bytes: int
) -> None:
    """Raise if a header promises pixels that the file cannot hold, or memory cannot.

    To be called before memory is taken for them.

    ``stored_bytes``: how many bytes of the file hold these pixels, compressed or not.
    """
    needed = math.prod(shape) * dtype.itemsize
    if needed > stored_bytes * _MAX_COMPRESSION:
        raise UserError(
            f"{path}: its header promises an image of {tuple(shape)} {dtype}, but the "
            f"file has only {stored_bytes} bytes for it; it is damaged or incomplete"
        )
    memory = memory_bytes()
    if needed > memory:
        raise UserError(
            f"{path}: one channel of {tuple(shape)} {dtype} takes {needed / 1e9:.0f} "
            f"GB, more than this machine's memory of {memory / 1e9:.0f} GB; cut it "
            "into smaller files"
        )


def memory_bytes() -> int:
    """Return the memory of this machine."""
    total: int = psutil.virtual_memory().total
    return total

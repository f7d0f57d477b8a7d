"""Where a streamed prediction comes from and goes to: sources and sinks."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.inference.windows import Box, Size3


class VolumeSource(Protocol):
    """Gives parts of a z-scored signal."""

    @property
    def shape(self) -> Size3:
        """Voxels along (Z, Y, X)."""

    def read(self, box: Box) -> Tensor:
        """Return the signal (z, y, x) within a box, as float32.

        A box holds at most four planes. Boxes come with rising Z, but where memory is
        tight the volume is read in bands, one after the other, that overlap somewhat.
        """


class VolumeSink(Protocol):
    """Takes parts of a prediction."""

    def write(self, box: Box, block: Tensor) -> None:
        """Take the prediction (C, z, y, x) within a box, float32.

        Every voxel comes once; boxes come with rising Z (within a band, see
        :meth:`VolumeSource.read`). The memory of ``block`` is used again afterwards:
        copy what is to stay.
        """


class TensorSource:
    """A z-scored volume in memory.

    Parameters
    ----------
    signal : Tensor, shape (Z, Y, X)
    """

    def __init__(self, signal: Tensor) -> None:
        self._signal = signal
        z, y, x = signal.shape
        self.shape: Size3 = (z, y, x)

    def read(self, box: Box) -> Tensor:
        """Return the signal within a box; see :class:`VolumeSource`."""
        return self._signal[box].float()


class ArraySource:
    """A raw volume in an array or memory map, normalized part by part.

    Parameters
    ----------
    volume : ndarray, shape (Z, Y, X)
        Raw intensities of any integer or floating type; a memory map
        (``np.load(path, mmap_mode="r")``) is read as far as needed.
    mean, std : float
        Intensities that become 0 and 1.

    Raises
    ------
    UserError
        If the array is not three-dimensional or ``std`` is not positive.
    """

    def __init__(
        self, volume: NDArray[Any], *, mean: float = 0.0, std: float = 1.0
    ) -> None:
        if volume.ndim != 3:
            raise UserError(
                f"volume: expected an array of shape (Z, Y, X), got {volume.shape}"
            )
        if not std > 0:
            raise UserError(f"std={std}: use the positive deviation of the volume")
        self._volume, self._mean, self._std = volume, mean, std
        z, y, x = volume.shape
        self.shape: Size3 = (z, y, x)

    def read(self, box: Box) -> Tensor:
        """Return the normalized signal within a box; see :class:`VolumeSource`."""
        raw = self._volume[box]
        signal = np.empty(raw.shape, np.float32)
        for plane, raw_plane in zip(signal, raw, strict=True):
            exact = raw_plane.astype(np.float64)  # camera counts may have large offsets
            exact -= self._mean
            exact /= self._std
            plane[:] = exact
        return torch.from_numpy(signal)


class TensorSink:
    """Collects a prediction in memory.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels of the volume.
    device : torch.device
        Where the prediction is kept.
    """

    def __init__(self, shape: Size3, device: torch.device) -> None:
        self._shape, self._device = shape, device
        self._prediction: Tensor | None = None

    @property
    def prediction(self) -> Tensor:
        """The prediction (C, Z, Y, X); it exists once something was written."""
        assert self._prediction is not None, "nothing was written yet"
        return self._prediction

    def write(self, box: Box, block: Tensor) -> None:
        """Keep a part; see :class:`VolumeSink`."""
        if self._prediction is None:
            shape = (len(block), *self._shape)
            self._prediction = torch.empty(shape, device=self._device)
        self._prediction[:, *box] = block.to(self._device)


class ArraySink:
    """Writes a prediction to a floating-point array, such as a memory-mapped file.

    Parameters
    ----------
    array : ndarray, shape (C, Z, Y, X), or (Z, Y, X) for one channel
        For a file: ``np.lib.format.open_memmap(path, "w+", dtype, shape)``.

    Raises
    ------
    UserError
        If the array cannot hold a prediction.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        if array.ndim not in (3, 4) or not np.issubdtype(array.dtype, np.floating):
            raise UserError(
                f"array of {array.dtype} and shape {array.shape}: use a floating-point "
                "array of shape (C, Z, Y, X)"
            )
        self._array = array if array.ndim == 4 else array[None]

    def write(self, box: Box, block: Tensor) -> None:
        """Write a part; see :class:`VolumeSink`."""
        if len(block) != len(self._array):
            raise UserError(
                f"the prediction has {len(block)} channels, the array to write to "
                f"{len(self._array)}: make an array of as many channels"
            )
        self._array[:, *box] = block.cpu().numpy()

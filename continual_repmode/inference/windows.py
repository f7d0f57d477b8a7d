"""The windows that cover a volume, and how much each counts.

The paper follows nnU-Net (Isensee et al. 2021): overlapping windows, evenly spread,
each counting most in its middle, where the network sees the most context.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.volumes.volume import Size3

Overlap = float | Sequence[float]
"""Share of a window that the next one covers again: of all axes, or of (Z, Y, X)."""

DEFAULT_OVERLAP = 0.5
"""The paper's: what runs test with, and so what their networks are used with."""

FAST_OVERLAP = (0.45, 0.125, 0.125)
"""About half along Z, an eighth along Y and X: about a third of the windows.

Along Z, where windows have few planes, less costs accuracy; ``BENCHMARKS.md`` tells how
much. With 0.45 the 65 planes of the paper's images need three windows of 32 planes
instead of four.
"""

Box = tuple[slice, slice, slice]
"""Part of a volume: voxels along (Z, Y, X), with start and stop given."""


@dataclass(frozen=True)
class WindowGrid:
    """All windows over a volume."""

    #: Voxels of the volume.
    shape: Size3
    #: Voxels of every window, cut down to the volume where they would exceed it.
    sides: Size3
    #: Where windows begin along Z, Y and X; the grid holds every combination.
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @classmethod
    def over(
        cls, shape: Sequence[int], window: Sequence[int], overlap: Overlap
    ) -> "WindowGrid":
        """Lay windows over a volume.

        ``shape``: sides (Z, Y, X) of the volume.
        ``overlap``: share of a window that the next one covers again, at least 0 and
            below 1; for all axes, or for each of (Z, Y, X).
        Raises UserError if an argument is out of range.
        """
        if len(shape) != 3 or min(shape) < 1:
            raise UserError(
                f"volume: expected shape (Z, Y, X), no axis empty, got {tuple(shape)}"
            )
        if len(window) != 3 or min(window) < 1:
            raise UserError(f"window={list(window)}: use three positive sides [z,y,x]")
        shares = overlap_per_axis(overlap)
        size_z, size_y, size_x = shape
        z, y, x = (min(pair) for pair in zip(window, shape, strict=True))
        starts = (
            tuple(window_starts(size_z, z, shares[0])),
            tuple(window_starts(size_y, y, shares[1])),
            tuple(window_starts(size_x, x, shares[2])),
        )
        return cls((size_z, size_y, size_x), (z, y, x), starts)

    @property
    def num_windows(self) -> int:
        """How many windows there are."""
        z, y, x = self.starts
        return len(z) * len(y) * len(x)

    def check_batch_size(self, batch_size: int) -> int:
        """Return the batch size, cut down to all windows.

        Raises UserError if it is below 1.
        """
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: use 1 or more")
        return min(batch_size, self.num_windows)

    def box(self, corner: Size3) -> Box:
        """Return the voxels of the window that begins at a corner."""
        z, y, x = (
            slice(start, start + side)
            for start, side in zip(corner, self.sides, strict=True)
        )
        return z, y, x

    def weights(self, device: torch.device) -> Tensor:
        """Return the weights of one window, float32, shape ``sides``."""
        z, y, x = (gaussian_profile(side).to(device) for side in self.sides)
        return z[:, None, None] * y[:, None] * x

    def weight_sums(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return the summed weights of all windows along Z, Y and X, float32.

        The windows form a grid and their weights a product over axes, so the sum over
        all windows is the product of the three.
        """
        z, y, x = (
            _weight_sum(*axis).to(device)
            for axis in zip(self.shape, self.sides, self.starts, strict=True)
        )
        return z, y, x


def overlap_per_axis(overlap: Overlap) -> tuple[float, float, float]:
    """Return the overlap along (Z, Y, X).

    Raises UserError if it is not one number or three, or out of range.
    """
    shares = (overlap,) * 3 if isinstance(overlap, int | float) else tuple(overlap)
    if len(shares) != 3 or not all(0 <= share < 1 for share in shares):
        raise UserError(
            f"overlap={overlap}: use 0 or more, and less than 1; one number, or "
            "three for Z, Y and X"
        )
    z, y, x = shares
    return z, y, x


def window_starts(size: int, side: int, overlap: float) -> list[int]:
    """Return where windows begin along one axis.

    The step that the overlap allows says how many windows are needed; these are spread
    evenly from border to border, as in nnU-Net.

    ``size``, ``side``: voxels of the axis and of the window; the window must fit.
    ``overlap``: share of a window that the next one covers again at least, from 0 to
        below 1.
    Returns: rising; every voxel lies in a window.
    """
    step = max(1, int(side * (1 - overlap) + 1e-6))  # 10 * (1 - 0.8) is just under 2
    last = size - side
    gaps = -(-last // step)
    return [(2 * i * last + gaps) // (2 * gaps) for i in range(gaps)] + [last]


def gaussian_profile(side: int) -> Tensor:
    """Return the weights of a window along one axis.

    Returns: (side,); a Gaussian of standard deviation ``side / 8`` that peaks at 1 on
        the middle voxel. The corner of a 3D window weighs exp(-24), small but never
        zero.
    """
    offset = torch.arange(side, dtype=torch.float64) - side // 2
    return torch.exp(-0.5 * (offset / (side / 8)) ** 2).float()


def _weight_sum(size: int, side: int, starts: Sequence[int]) -> Tensor:
    summed = torch.zeros(size, dtype=torch.float64)
    for start in starts:
        summed[start : start + side] += gaussian_profile(side)
    return summed.float()

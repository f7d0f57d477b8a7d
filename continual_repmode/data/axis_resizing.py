"""Resizing along one axis as weighted sums of near neighbours.

Both methods of :mod:`continual_repmode.data.resampling` work on each axis by itself,
and every new voxel depends on a few old ones: the spline filter of ``paper`` forgets a
voxel by a factor of 3.7 with each step, and ``fast`` looks no further than a voxel is
wide. So a part of the result needs a part of the volume only.
"""

import numpy as np
from numpy.typing import NDArray

from continual_repmode.data.resampling import ResizeMethod, resize

_REACH = 16
"""Voxels after which the spline filter has forgotten all but 1e-9."""

_LEAST_WEIGHT = 1e-8
_BLOCK = 64
_VOXEL_BYTES = 2000
"""More than the weights take for each voxel along an axis while they are found."""


class AxisResizing:
    """What :func:`~continual_repmode.data.resampling.resize` does along one axis.

    The weights are found by resizing combs, whose teeth stand so far apart that every
    new voxel sees one of them only; so there is no second account of the methods here.

    Parameters
    ----------
    num_in, num_out : int
        Voxels along the axis before and after.
    method : {"paper", "fast"}
    """

    def __init__(self, num_in: int, num_out: int, method: ResizeMethod) -> None:
        self.num_in, self.num_out = num_in, num_out
        self.is_identity = num_in == num_out
        self.num_bytes = 0 if self.is_identity else _VOXEL_BYTES * (num_in + num_out)
        if self.is_identity:
            return
        reach = _REACH + -(-num_in // num_out)
        period = min(2 * reach + 2, num_in)
        seen = _resized_combs(num_in, num_out, period, method)

        # The methods disagree on where a new voxel lies by half of its width at most.
        center = (np.arange(num_out) + 0.5) * num_in / num_out
        voxel = center.astype(int)[:, None] + np.arange(-reach, reach + 1)
        weights = np.take_along_axis(seen, voxel % period, axis=1)
        weights[(voxel < 0) | (voxel >= num_in)] = 0
        matters = np.abs(weights) > _LEAST_WEIGHT
        weights[~matters] = 0
        self._voxel, self._weights = voxel, weights
        first = matters.argmax(axis=1)
        last = 2 * reach - matters[:, ::-1].argmax(axis=1)
        rows = np.arange(num_out)
        first, last = voxel[rows, first], voxel[rows, last]
        self._first = np.minimum.accumulate(first[::-1])[::-1]
        self._last = np.maximum.accumulate(last)

    def needed(self, outputs: slice) -> slice:
        """Return the old voxels on which some new ones depend; both ends only rise.

        Parameters
        ----------
        outputs : slice
            With both ends, not empty.
        """
        if self.is_identity:
            return outputs
        first, last = self._first[outputs.start], self._last[outputs.stop - 1]
        return slice(int(first), int(last) + 1)

    def most_needed(self, step: int) -> int:
        """Return how many old voxels at most ``step`` new ones depend on."""
        needed = [self.needed(outputs) for outputs in parts(self.num_out, step)]
        return max(int(part.stop - part.start) for part in needed)

    def apply(
        self, values: NDArray[np.float32], axis: int, first: int, outputs: slice
    ) -> NDArray[np.float32]:
        """Resize along one axis of an array.

        Parameters
        ----------
        values : ndarray of float32, shape (..., n, ...)
            Old voxels along ``axis``, which is one of the last two.
        axis : int
            -2 or -1.
        first : int
            The old voxel that comes first in ``values``.
        outputs : slice
            The new voxels wanted, with both ends; ``values`` has what they need.

        Returns
        -------
        ndarray of float32, shape (..., n', ...)
            A view of ``values`` if nothing is to be resized.
        """
        if self.is_identity:
            part = slice(outputs.start - first, outputs.stop - first)
            return values[..., part, :] if axis == -2 else values[..., part]
        shape = list(values.shape)
        shape[axis] = outputs.stop - outputs.start
        resized = np.empty(shape, np.float32)
        for new in parts(shape[axis], _BLOCK):
            block = slice(outputs.start + new.start, outputs.start + new.stop)
            needed = self.needed(block)
            weights = self._matrix(block, needed)
            old = slice(needed.start - first, needed.stop - first)
            if axis == -2:
                np.matmul(weights, values[..., old, :], out=resized[..., new, :])
            else:
                np.matmul(values[..., old], weights.T, out=resized[..., new])
        return resized

    def _matrix(self, outputs: slice, needed: slice) -> NDArray[np.float32]:
        """Return the weights (new, old)."""
        voxel, weights = self._voxel[outputs], self._weights[outputs]
        matrix = np.zeros((len(voxel), needed.stop - needed.start), np.float32)
        row, tap = np.nonzero(weights)
        matrix[row, voxel[row, tap] - needed.start] = weights[row, tap]
        return matrix


def _resized_combs(
    num_in: int, num_out: int, period: int, method: ResizeMethod
) -> NDArray[np.float32]:
    """Return resized combs (num_out, period); column k has a 1 at k + n * period."""
    resized = np.empty((num_out, period), np.float32)
    for columns in parts(period, _BLOCK):
        combs = np.zeros((num_in, columns.stop - columns.start), np.float32)
        for column in range(columns.start, columns.stop):
            combs[column::period, column - columns.start] = 1
        shape = num_out, combs.shape[1]
        resized[:, columns] = resize(combs, shape, method)
    return resized


def parts(length: int, step: int) -> list[slice]:
    """Return slices that follow each other from 0 to ``length``."""
    return [slice(at, min(at + step, length)) for at in range(0, length, step)]

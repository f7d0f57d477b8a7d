"""Points and threads: scatter them, let them grow, draw them into a volume."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continual_repmode.synthetic.grid import FloatVolume, Grid, look_up

Points = NDArray[np.float32]

STEP_UM = 0.25
"""Distance between neighbouring points of a thread."""


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads as points in growing order."""

    #: (N, 3).
    points_um: Points
    #: (N,). Distance of each point from the start of its thread.
    arc_um: NDArray[np.float32]
    #: (N,). Which thread a point belongs to.
    thread: NDArray[np.intp]


def scatter(
    grid: Grid, likelihood: FloatVolume, per_um3: float, rng: np.random.Generator
) -> Points:
    """Draw random points (N, 3), on average ``per_um3 * likelihood`` of them per um**3.

    ``likelihood`` lies between 0 and 1.
    """
    extent = np.array(grid.shape) * grid.voxel_um
    candidates = rng.random((rng.poisson(per_um3 * extent.prod()), 3)) * extent
    kept = rng.random(len(candidates)) < look_up(likelihood, candidates, grid.voxel_um)
    return candidates[kept].astype(np.float32)


def grow(
    grid: Grid,
    starts_um: Points,
    directions: Points,
    lengths_um: NDArray[np.float32],
    room_um: FloatVolume,
    rng: np.random.Generator,
    *,
    wander: float,
    clearance_um: float,
) -> Threads:
    """Let threads grow from their starts, turning away from walls.

    ``starts_um``, ``directions``: (N, 3); directions of any length but 0.
    ``lengths_um``: (N,).
    ``room_um``: (Z, Y, X); signed distance to the nearest wall, positive where threads
        may be. A thread ends where it would pass through a wall or leave the box.
    ``wander``: random change of direction per step.
    ``clearance_um``: distance from a wall at which a thread begins to turn; 0 gives
        straight threads that do not wander either.
    """
    position = starts_um
    direction = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    thread = np.arange(len(position))
    extent = np.array(grid.shape, np.float32) * np.float32(grid.voxel_um)
    points, arcs, threads = [], [], []
    for step in range(int(lengths_um.max(initial=0) / STEP_UM) + 1):
        room = look_up(room_um, position, grid.voxel_um)
        in_box = np.all((position >= 0) & (position < extent), axis=1)
        going = (room > 0) & in_box & (lengths_um[thread] >= step * STEP_UM)
        position, direction, thread = position[going], direction[going], thread[going]
        room = room[going]
        if len(thread) == 0:
            break
        points.append(position)
        arcs.append(np.full(len(thread), step * STEP_UM, np.float32))
        threads.append(thread)
        if clearance_um > 0:
            push = np.maximum(1 - room / np.float32(clearance_um), 0)[:, None]
            noise = rng.standard_normal(position.shape, dtype=np.float32)
            direction = direction + np.float32(wander) * noise
            direction += 0.8 * push * _uphill(room_um, position, grid.voxel_um)
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        position = position + np.float32(STEP_UM) * direction
    if not points:
        return Threads(np.empty((0, 3), np.float32), np.empty(0, np.float32), thread)
    return Threads(
        np.concatenate(points), np.concatenate(arcs), np.concatenate(threads)
    )


def _uphill(volume: FloatVolume, points_um: Points, voxel_um: float) -> Points:
    """Gradient (N, 3) of ``volume`` per micrometer, by central differences."""
    nearest = np.rint(points_um * np.float32(1 / voxel_um)).astype(np.intp)
    nearest = np.minimum(np.maximum(nearest, 1), np.array(volume.shape) - 2)
    strides = np.array(volume.strides) // volume.itemsize
    center = (nearest * strides).sum(1)[:, None]
    flat = volume.reshape(-1)
    difference = flat[center + strides] - flat[center - strides]
    return np.asarray(difference / np.float32(2 * voxel_um))


def draw_points(
    grid: Grid, points_um: Points, peaks: NDArray[np.float32], radius_um: float
) -> FloatVolume:
    """Draw Gaussian spots, which add up, with the given peak heights.

    ``points_um``: (N, 3); points closer to the edge of the box than a spot reaches are
        left out.
    ``peaks``: (N,).
    ``radius_um``: standard deviation of a spot. A spot smaller than 0.6 voxels is drawn
        that wide and keeps its integral.
    """
    sigma = max(radius_um / grid.voxel_um, 0.6)
    peaks = peaks * np.float32((radius_um / grid.voxel_um / sigma) ** 3)
    reach = max(round(2 * sigma), 1)
    nearest = np.rint(points_um / grid.voxel_um).astype(np.intp)
    fits = np.all((nearest >= reach) & (nearest < np.array(grid.shape) - reach), axis=1)
    nearest, peaks = nearest[fits], peaks[fits]
    offset = np.arange(-reach, reach + 1)
    residue = (points_um[fits] / grid.voxel_um - nearest)[:, :, None] - offset
    z, y, x = np.exp(-0.5 * (residue / np.float32(sigma)) ** 2).transpose(1, 0, 2)
    values = (
        (z * peaks[:, None])[:, :, None, None] * y[:, None, :, None] * x[:, None, None]
    )
    strides = np.array([grid.shape[1] * grid.shape[2], grid.shape[2], 1])
    kernel = np.add.outer(
        np.add.outer(offset * strides[0], offset * strides[1]), offset
    )
    places = (nearest * strides).sum(1)[:, None, None, None] + kernel
    drawn = np.bincount(
        places.ravel(), values.ravel(), minlength=int(np.prod(grid.shape))
    )
    return drawn.reshape(grid.shape).astype(np.float32)


def draw_threads(
    grid: Grid,
    threads: Threads,
    radius_um: float,
    weights: NDArray[np.float32] | float = 1,
) -> FloatVolume:
    """Draw threads with a Gaussian profile that peaks at ``weights`` on the axis."""
    # Spots STEP_UM apart add up along the thread to sqrt(2 pi) radius / step.
    overlap = max(np.sqrt(2 * np.pi) * radius_um / STEP_UM, 1.0)
    peaks = np.full(len(threads.points_um), 1 / overlap, np.float32) * weights
    return draw_points(grid, threads.points_um, peaks.astype(np.float32), radius_um)

"""The cells' nuclei: where they lie, what shape they have, what is in and beside them.

Positions are in micrometres from the first voxel of the box, axes (z, y, x).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continual_repmode.synthetic.grid import (
    FloatVolume,
    Grid,
    look_up,
    random_directions,
    soft_step,
)
from continual_repmode.synthetic.kinds import CellKind

MITOTIC_FRACTION = 0.04
SURFACE_GAP_UM = 0.5
"""Least distance between a nucleus and the surface of its cell."""
FAR_UM = 6.0
"""Stands for every distance larger than anything looks at."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: where its nucleus lies (or, in mitosis, its metaphase plate)."""

    #: (3,).
    center_um: NDArray[np.float64]
    #: (3,). Of the nuclear ellipsoid: vertical, long lateral, short lateral.
    semi_axes_um: NDArray[np.float64]
    #: Of the long lateral axis, in radians from x to y.
    angle: float
    mitotic: bool

    def local(
        self, grid: Grid, reach: float
    ) -> tuple[tuple[slice, ...], list[FloatVolume]]:
        """Return the voxels around the nucleus and their coordinates in its own frame.

        ``reach``: half extent of the neighborhood, in multiples of the longest
            semi-axis.

        Returns
        -------
        box : tuple of slice
        coordinates_um : list of three ndarrays
            z, and the offsets along the long and the short lateral axis.
        """
        vertical, *lateral = self.semi_axes_um
        half = reach * np.array([vertical + 1, max(lateral), max(lateral)])
        low = np.maximum(np.floor((self.center_um - half) / grid.voxel_um), 0)
        high = np.maximum(np.ceil((self.center_um + half) / grid.voxel_um), 0)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        z, y, x = grid.axes_um()
        z = z[box[0]] - np.float32(self.center_um[0])
        y = y[:, box[1]] - np.float32(self.center_um[1])
        x = x[:, :, box[2]] - np.float32(self.center_um[2])
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        return box, [z, cos * x + sin * y, cos * y - sin * x]


def draw_cell(
    center: NDArray[np.float64],
    room_um: float,
    floor_um: float,
    height_um: float,
    kind: CellKind,
    rng: np.random.Generator,
) -> Cell:
    """Draw a nucleus to fit a disc of radius ``room_um`` around ``center`` (y, x)."""
    half_height = height_um * rng.uniform(*kind.nucleus_height)
    long = room_um * rng.uniform(*kind.nucleus_length)
    semi_axes = np.array([half_height, long, long * rng.uniform(*kind.nucleus_width)])
    middle = floor_um + height_um * rng.uniform(0.44, 0.54)
    angle = rng.uniform(0, np.pi)
    return Cell(
        center_um=np.array([middle, *center]),
        semi_axes_um=semi_axes,
        angle=angle,
        mitotic=bool(rng.uniform() < MITOTIC_FRACTION),
    )


def ellipsoid_distance(
    coordinates_um: list[FloatVolume], semi_axes_um: NDArray[np.float64]
) -> FloatVolume:
    """Return roughly the distance to an ellipsoid at the origin, negative inside."""
    axes = semi_axes_um.astype(np.float32)
    z, y, x = (c / axis for c, axis in zip(coordinates_um, axes, strict=True))
    radius = np.sqrt(z**2 + y**2 + x**2)
    steepness = np.sqrt((z / axes[0]) ** 2 + (y / axes[1]) ** 2 + (x / axes[2]) ** 2)
    distance = radius * (radius - 1) / np.maximum(steepness, np.float32(1e-3))
    return np.asarray(distance, np.float32)


def nuclear_distance(
    grid: Grid,
    cells: list[Cell],
    cell_index: NDArray[np.int16],
    inside_um: FloatVolume,
    rough: FloatVolume,
) -> FloatVolume:
    """Return the signed distance to the nearest interphase nucleus.

    Outlines are dented, and flattened where a nucleus would touch its cell's surface.
    """
    distance = np.full(grid.shape, FAR_UM, np.float32)
    for number, cell in enumerate(cells):
        if cell.mitotic:
            continue
        box, coordinates = cell.local(grid, reach=1.7)
        here = ellipsoid_distance(coordinates, cell.semi_axes_um) + 0.18 * rough[box]
        np.maximum(here, np.float32(SURFACE_GAP_UM) - inside_um[box], out=here)
        here[cell_index[box] != number] = FAR_UM
        np.minimum(distance[box], here, out=distance[box])
    return distance


def draw_nucleoli(
    grid: Grid,
    cells: list[Cell],
    nucleus_um: FloatVolume,
    rough: FloatVolume,
    rng: np.random.Generator,
) -> FloatVolume:
    """Draw one to four bumpy droplets into every interphase nucleus, 0 to 1."""
    density = np.zeros(grid.shape, np.float32)
    for cell in cells:
        box, coordinates = cell.local(grid, reach=1.0)
        if cell.mitotic or density[box].size == 0:
            continue
        distance = np.full(density[box].shape, FAR_UM, np.float32)
        for _ in range(rng.integers(1, 5)):
            vertical, long, _ = cell.semi_axes_um
            radius = long * rng.uniform(0.16, 0.3)
            radii = np.array([min(radius, 0.55 * vertical), radius, radius])
            reach = np.maximum(cell.semi_axes_um - radii - 0.5, 0)
            place = reach * random_directions(1, rng)[0] * rng.uniform(0.2, 0.9)
            shifted = [
                c - p
                for c, p in zip(coordinates, place.astype(np.float32), strict=True)
            ]
            np.minimum(distance, ellipsoid_distance(shifted, radii), out=distance)
        blob = soft_step(-distance - np.float32(0.12) * rough[box], 0.12)
        blob *= soft_step(-nucleus_um[box] - np.float32(0.3))
        np.maximum(density[box], blob, out=density[box])
    return density


def place_centrosomes(
    grid: Grid, cells: list[Cell], room_um: FloatVolume, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Choose a place (N, 3) beside each nucleus, away from other surfaces."""
    places: list[NDArray[np.float64]] = []
    for cell in cells:
        ways = rng.standard_normal((24, 3)) * [0.6, 1, 1]
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        vertical, *lateral = cell.semi_axes_um
        radii = np.array([vertical, *[np.mean(lateral)] * 2])
        candidates = cell.center_um + ways * (radii + 0.8)
        places.append(candidates[look_up(room_um, candidates, grid.voxel_um).argmax()])
    return np.array(places, np.float32)

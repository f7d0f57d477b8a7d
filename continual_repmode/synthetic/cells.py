"""A monolayer of cells: their outlines, their heights and what divides them.

Positions are in micrometres from the first voxel of the box, axes (z, y, x), z upward
from the cover glass.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from continual_repmode.synthetic.grid import (
    FloatVolume,
    Grid,
    band_noise,
    smooth_plane,
)
from continual_repmode.synthetic.kinds import CellKind, Range
from continual_repmode.synthetic.nuclei import (
    Cell,
    draw_cell,
    draw_nucleoli,
    nuclear_distance,
    place_centrosomes,
)

CLEFT_UM = 0.12
"""Half the width of the gap between neighboring cells, blurred by the voxels."""


@dataclass(frozen=True, slots=True)
class CellLayer:
    """The geometry all structures of a field share."""

    grid: Grid
    cells: list[Cell]
    #: (N, 3). One per cell, next to the nucleus where there is most room.
    centrosomes_um: NDArray[np.float32]
    #: (Z, Y, X). Which cell a voxel belongs to (also above and below the layer).
    cell_index: NDArray[np.int16]
    #: (Z, Y, X). Distance to the nearest border between two cells.
    border_um: FloatVolume
    #: Depth below the apical surface and height above the basal one, broadcastable to
    #: (Z, Y, X).
    below_top_um: FloatVolume
    above_floor_um: FloatVolume
    #: (Z, Y, X). Signed distance to the surface of the cell, positive inside.
    inside_um: FloatVolume
    #: (Z, Y, X). Signed distance to the nuclear envelope, negative inside a nucleus.
    nucleus_um: FloatVolume
    #: (Z, Y, X). Signed distance to the nearest surface that an organelle cannot cross.
    room_um: FloatVolume
    #: (Z, Y, X). 1 inside a nucleolus, 0 outside.
    nucleoli: FloatVolume
    #: (Z, Y, X). Gaussian random textures of unit variance.
    rough: FloatVolume
    fine: FloatVolume


def _centers(
    grid: Grid, spacing_um: Range, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Cell centers (N, 2) in y and x: a jittered, turned hexagonal lattice."""
    spacing = rng.uniform(*spacing_um)
    extent = np.array(grid.shape[1:]) * grid.voxel_um
    reach = int(np.ceil(np.hypot(*extent) / 2 / spacing * 1.2)) + 2
    row, column = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    lattice = np.stack([row * np.sqrt(0.75), column + 0.5 * (row % 2)], -1)
    lattice = lattice.reshape(-1, 2) + rng.uniform(0, 1, 2)
    lattice += rng.normal(0, 0.14, lattice.shape)
    angle = rng.uniform(0, np.pi)
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    centers = (lattice[:, :, None] * np.array(turn)[None]).sum(1) * spacing + extent / 2
    near = np.all(
        (centers > -1.5 * spacing) & (centers < extent + 1.5 * spacing), axis=1
    )
    return np.asarray(centers[near])


def _tessellate(
    grid: Grid, centers: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Voronoi cells with wavy borders: cell index and border distance, both (Y, X)."""
    _, y, x = grid.axes_um()
    y = y[0] + 0.5 * smooth_plane(grid, 1.8, rng)
    x = x[0] + 0.5 * smooth_plane(grid, 1.8, rng)
    places = centers.astype(np.float32)
    squared = (y - places[:, 0, None, None]) ** 2 + (x - places[:, 1, None, None]) ** 2
    nearest = squared.argmin(0)
    first = squared.min(0)
    np.put_along_axis(squared, nearest[None], np.inf, axis=0)
    second = squared.argmin(0)
    apart = np.linalg.norm(places[nearest] - places[second], axis=-1)
    border = (squared.min(0) - first) / (2 * apart)
    return nearest.astype(np.int16), border.astype(np.float32)


def _shear(
    grid: Grid,
    cell_index: NDArray[np.int16],
    border_um: NDArray[np.float32],
    middle_um: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int16], FloatVolume]:
    """Extend the plan view (Y, X) into leaning columns (Z, Y, X)."""
    height, width = cell_index.shape
    rows, columns = np.indices(cell_index.shape, dtype=np.float32)
    lean_y, lean_x = (0.25 * smooth_plane(grid, 4.0, rng) for _ in range(2))
    indices = np.empty(grid.shape, np.int16)
    borders = np.empty(grid.shape, np.float32)
    for plane in range(grid.shape[0]):
        rise = np.float32(plane - middle_um / grid.voxel_um)
        at = [rows + rise * lean_y, columns + rise * lean_x]
        ndimage.map_coordinates(
            border_um, at, order=1, mode="nearest", output=borders[plane]
        )
        row = np.clip(np.rint(at[0]), 0, height - 1).astype(np.intp)
        column = np.clip(np.rint(at[1]), 0, width - 1).astype(np.intp)
        indices[plane] = cell_index[row, column]
    return indices, borders


def _make_cells(
    centers: NDArray[np.float64],
    floor_um: float,
    height_um: float,
    kind: CellKind,
    rng: np.random.Generator,
) -> list[Cell]:
    """Draw the cell around each center, its nucleus as large as its neighbors allow."""
    offsets = np.linalg.norm(centers[:, None] - centers[None], axis=-1)
    np.fill_diagonal(offsets, np.inf)
    rooms_um = np.sort(offsets, axis=1)[:, :5].mean(1) / 2
    return [
        draw_cell(center, room, floor_um, height_um, kind, rng)
        for center, room in zip(centers, rooms_um, strict=True)
    ]


def _apex(
    grid: Grid,
    border_um: FloatVolume,
    height_um: float,
    dome: float,
    rng: np.random.Generator,
) -> FloatVolume:
    """Height of the apical surface above the floor: lowest at the borders."""
    rise = dome * (1 - np.exp(-border_um / np.float32(0.2 * height_um)))
    waves = 0.05 * smooth_plane(grid, 6.0, rng)
    return np.asarray(np.float32(height_um) * (1.04 - dome + rise + waves), np.float32)


def grow_layer(grid: Grid, kind: CellKind, rng: np.random.Generator) -> CellLayer:
    """Draw a monolayer: tightly packed cells on the glass, each with one nucleus.

    The plan view is a Voronoi diagram with wavy borders, the columns lean, the apical
    surface is a dome over every cell, and a few cells are in mitosis.
    """
    depth_um = grid.volume_shape[0] * grid.voxel_um
    middle_um = (grid.margin[0] + grid.volume_shape[0] / 2) * grid.voxel_um
    height_um = float(np.clip(0.78 * depth_um, *kind.height_um))
    height_um *= rng.uniform(0.92, 1.08)
    floor_um = middle_um - height_um / 2 + 0.03 * depth_um * rng.uniform(-1, 1)

    centers = _centers(grid, kind.spacing_um, rng)
    plan = _tessellate(grid, centers, rng)
    cell_index, border_um = _shear(grid, *plan, middle_um, rng)
    cells = _make_cells(centers, floor_um, height_um, kind, rng)
    rough, fine = band_noise(grid, kind.grain_um, rng)

    above_floor_um = grid.axes_um()[0] - np.float32(floor_um)
    below_top_um = _apex(grid, border_um, height_um, kind.dome, rng)
    below_top_um -= above_floor_um
    inside_um = np.minimum(below_top_um, above_floor_um)
    np.minimum(inside_um, border_um - np.float32(CLEFT_UM), out=inside_um)
    nucleus_um = nuclear_distance(grid, cells, cell_index, inside_um, rough)
    room_um = np.minimum(inside_um, nucleus_um)
    return CellLayer(
        grid=grid,
        cells=cells,
        centrosomes_um=place_centrosomes(grid, cells, room_um, rng),
        cell_index=cell_index,
        border_um=border_um,
        below_top_um=below_top_um,
        above_floor_um=above_floor_um,
        inside_um=inside_um,
        nucleus_um=nucleus_um,
        room_um=room_um,
        nucleoli=draw_nucleoli(grid, cells, nucleus_um, rough, rng),
        rough=rough,
        fine=fine,
    )

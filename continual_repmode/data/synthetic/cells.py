"""Where the cells of a generated monolayer are, and where their nuclei lie in them.

Positions are in micrometres from the first voxel of the grid, axes (z, y, x), z upward
from the cover glass. Distances are signed so that a positive value means "inside the
cytoplasm's side": inside the cell, outside the nucleus.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

FloatVolume = NDArray[np.float32]

CELL_SPACING_UM = (9.5, 11.5)
"""Range of the mean distance between neighbouring cells of a colony."""
LAYER_HEIGHT_UM = (4.0, 8.0)
"""Flattest and tallest monolayer; a shallow volume gets flat, spread-out cells."""
CLEFT_UM = 0.12
"""Half the width of the gap between neighbouring cells, blurred by the voxels."""
NUCLEUS_INSET_UM = 0.5
"""Least distance between a nucleus and the surface of its cell."""
MITOTIC_FRACTION = 0.04


@dataclass(frozen=True, slots=True)
class Grid:
    """The simulated box: the volume asked for and a margin of neighbourhood around it.

    The margin lets cells outside the volume blur into it and keeps the periodic
    Fourier transforms from joining opposite faces.
    """

    volume_shape: tuple[int, int, int]
    voxel_um: float
    margin_um: tuple[float, float, float] = (1.75, 2.3, 2.3)

    @property
    def margin(self) -> tuple[int, ...]:
        """Voxels before the first voxel of the volume, per axis."""
        return tuple(round(m / self.voxel_um) for m in self.margin_um)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the box, a size that the Fourier transform is quick at."""
        z, y, x = (
            fft.next_fast_len(size + 2 * margin, real=True)
            for size, margin in zip(self.volume_shape, self.margin, strict=True)
        )
        return z, y, x

    def crop(self, box: FloatVolume) -> FloatVolume:
        """Return the volume asked for out of the box."""
        starts_and_sizes = zip(self.margin, self.volume_shape, strict=True)
        return box[
            tuple(slice(start, start + size) for start, size in starts_and_sizes)
        ]

    def axes_um(self) -> tuple[FloatVolume, FloatVolume, FloatVolume]:
        """Coordinates along z, y and x, shaped to broadcast over the box."""
        z, y, x = (np.arange(n, dtype=np.float32) * self.voxel_um for n in self.shape)
        return z[:, None, None], y[None, :, None], x[None, None, :]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: where its nucleus lies (or, in mitosis, its metaphase plate).

    Attributes
    ----------
    center_um : ndarray, shape (3,)
    semi_axes_um : ndarray, shape (3,)
        Of the nuclear ellipsoid: vertical, long lateral, short lateral.
    angle : float
        Of the long lateral axis, in radians from x to y.
    mitotic : bool
    """

    center_um: NDArray[np.float64]
    semi_axes_um: NDArray[np.float64]
    angle: float
    mitotic: bool

    def local(
        self, grid: Grid, reach: float
    ) -> tuple[tuple[slice, ...], list[FloatVolume]]:
        """Voxels around the nucleus and their coordinates in the nucleus' own frame.

        Parameters
        ----------
        grid : Grid
        reach : float
            Half extent of the neighbourhood, in multiples of the longest semi-axis.

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


@dataclass(frozen=True, slots=True)
class CellLayer:
    """The geometry all structures of a field share.

    Attributes
    ----------
    grid : Grid
    cells : list of Cell
    centrosomes_um : ndarray, shape (N, 3)
        One per cell, beside the nucleus where there is most room.
    cell_index : ndarray of int16, shape (Z, Y, X)
        Which cell a voxel belongs to (also above and below the layer).
    border_um : ndarray, shape (Z, Y, X)
        Distance to the nearest border between two cells.
    below_top_um, above_floor_um : ndarray, broadcastable to (Z, Y, X)
        Depth below the apical surface and height above the basal one.
    inside_um : ndarray, shape (Z, Y, X)
        Signed distance to the surface of the cell, positive inside.
    nucleus_um : ndarray, shape (Z, Y, X)
        Signed distance to the nuclear envelope, negative inside a nucleus.
    rough, fine : ndarray, shape (Z, Y, X)
        Gaussian random textures of unit variance (about 1.2 and 0.3 um).
    """

    grid: Grid
    cells: list[Cell]
    centrosomes_um: NDArray[np.float32]
    cell_index: NDArray[np.int16]
    border_um: FloatVolume
    below_top_um: FloatVolume
    above_floor_um: FloatVolume
    inside_um: FloatVolume
    nucleus_um: FloatVolume
    rough: FloatVolume
    fine: FloatVolume

    @property
    def room_um(self) -> FloatVolume:
        """Signed distance to the nearest surface that an organelle cannot cross."""
        return np.minimum(self.inside_um, self.nucleus_um)


def look_up(
    volume: NDArray[Any], points_um: NDArray[Any], voxel_um: float
) -> NDArray[Any]:
    """Value of ``volume`` at the voxel nearest to each of the points (N, 3): (N,)."""
    last = np.array(volume.shape) - 1
    nearest = np.rint(points_um * (1 / voxel_um)).astype(np.intp)
    z, y, x = np.minimum(np.maximum(nearest, 0), last).T
    return np.asarray(volume[z, y, x])


def band_noise(
    grid: Grid, sizes_um: tuple[float, ...], rng: np.random.Generator
) -> list[FloatVolume]:
    """Gaussian random volumes of unit variance, one per texture size.

    Each is white noise seen through a Gaussian of the given size minus one of twice
    that size, so neighbouring sizes are nearly independent.
    """
    spectrum = fft.rfftn(rng.standard_normal(grid.shape, dtype=np.float32))
    square = _squared_frequency(grid)
    volumes = []
    for size_um in sizes_um:
        decay = np.exp(np.float32(-2 * np.pi**2 * size_um**2) * square)
        decay -= np.square(np.square(decay))
        volume = fft.irfftn(spectrum * decay, s=grid.shape)
        volumes.append(volume / volume.std())
    return volumes


def _squared_frequency(grid: Grid) -> FloatVolume:
    """Squared spatial frequency (cycles/um)**2 in the layout of ``rfftn``."""
    depth, height, width = grid.shape
    z = fft.fftfreq(depth, grid.voxel_um).astype(np.float32)
    y = fft.fftfreq(height, grid.voxel_um).astype(np.float32)
    x = fft.rfftfreq(width, grid.voxel_um).astype(np.float32)
    return z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2


def _smooth_plane(
    grid: Grid, size_um: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Gaussian random image (Y, X) of about unit variance and the given smoothness."""
    sigma = size_um / grid.voxel_um
    noise = rng.standard_normal(grid.shape[1:], dtype=np.float32)
    # A Gaussian of width sigma shrinks white noise by 2 sqrt(pi) sigma.
    smooth = ndimage.gaussian_filter(noise, sigma, mode="wrap", truncate=3)
    return np.asarray(smooth * np.float32(2 * np.sqrt(np.pi) * sigma), np.float32)


def _colony(grid: Grid, rng: np.random.Generator) -> NDArray[np.float64]:
    """Cell centres (N, 2) in y and x: a jittered, turned hexagonal lattice."""
    spacing = rng.uniform(*CELL_SPACING_UM)
    extent = np.array(grid.shape[1:]) * grid.voxel_um
    reach = int(np.ceil(np.hypot(*extent) / 2 / spacing * 1.2)) + 2
    row, column = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    lattice = np.stack([row * np.sqrt(0.75), column + 0.5 * (row % 2)], -1)
    lattice = lattice.reshape(-1, 2) + rng.uniform(0, 1, 2)
    lattice += rng.normal(0, 0.14, lattice.shape)
    angle = rng.uniform(0, np.pi)
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    centers = (lattice[:, :, None] * np.array(turn)[None]).sum(1) * spacing + extent / 2
    near = np.all((centers > -spacing) & (centers < extent + spacing), axis=1)
    return np.asarray(centers[near])


def _tessellate(
    grid: Grid, centers: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Voronoi cells with wavy borders: cell index and border distance, both (Y, X)."""
    _, y, x = grid.axes_um()
    y = y[0] + 0.5 * _smooth_plane(grid, 1.8, rng)
    x = x[0] + 0.5 * _smooth_plane(grid, 1.8, rng)
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
    """Extend the plan view (Y, X) into columns (Z, Y, X) that lean this way and that."""
    height, width = cell_index.shape
    rows, columns = np.indices(cell_index.shape, dtype=np.float32)
    lean_y, lean_x = (0.25 * _smooth_plane(grid, 4.0, rng) for _ in range(2))
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


def _make_cell(
    center: NDArray[np.float64],
    room_um: float,
    floor_um: float,
    height_um: float,
    rng: np.random.Generator,
) -> Cell:
    """Draw one cell's nucleus, to fit a disc of radius ``room_um`` around ``center``."""
    half_height = height_um * rng.uniform(0.3, 0.37)
    long = room_um * rng.uniform(0.76, 0.95)
    semi_axes = np.array([half_height, long, long * rng.uniform(0.7, 0.95)])
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
    """Approximate signed distance to an ellipsoid at the origin, negative inside."""
    scaled = [
        c / np.float32(a) for c, a in zip(coordinates_um, semi_axes_um, strict=True)
    ]
    radius = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
    steepness = np.sqrt(
        sum((s / np.float32(a)) ** 2 for s, a in zip(scaled, semi_axes_um, strict=True))
    )
    distance = radius * (radius - 1) / np.maximum(steepness, np.float32(1e-3))
    return np.asarray(distance, np.float32)


def _nuclear_distance(
    grid: Grid,
    cells: list[Cell],
    cell_index: NDArray[np.int16],
    inside_um: FloatVolume,
    rough: FloatVolume,
) -> FloatVolume:
    """Signed distance to the nearest interphase nucleus.

    Outlines are dented, and flattened where a nucleus would touch its cell's surface.
    """
    distance = np.full(grid.shape, 6.0, np.float32)
    for number, cell in enumerate(cells):
        if cell.mitotic:
            continue
        box, coordinates = cell.local(grid, reach=1.7)
        here = ellipsoid_distance(coordinates, cell.semi_axes_um) + 0.18 * rough[box]
        np.maximum(here, np.float32(NUCLEUS_INSET_UM) - inside_um[box], out=here)
        here[cell_index[box] != number] = 6.0
        np.minimum(distance[box], here, out=distance[box])
    return distance


def _centrosomes(
    grid: Grid, cells: list[Cell], room_um: FloatVolume, rng: np.random.Generator
) -> NDArray[np.float32]:
    """One place (N, 3) per cell just outside its nucleus, away from other surfaces."""
    places = []
    for cell in cells:
        ways = rng.standard_normal((24, 3)) * [0.6, 1, 1]
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        vertical, *lateral = cell.semi_axes_um
        radii = np.array([vertical, *[np.mean(lateral)] * 2])
        candidates = cell.center_um + ways * (radii + 0.8)
        places.append(candidates[look_up(room_um, candidates, grid.voxel_um).argmax()])
    return np.array(places, np.float32)


def grow_layer(grid: Grid, rng: np.random.Generator) -> CellLayer:
    """Draw a monolayer: tightly packed cells on the glass, each with one nucleus.

    The plan view is a Voronoi diagram with wavy borders, the columns lean, the apical
    surface is a dome over every cell, and about one cell in twenty is in mitosis.
    """
    depth_um = grid.volume_shape[0] * grid.voxel_um
    height_um = float(np.clip(0.78 * depth_um, *LAYER_HEIGHT_UM)) * rng.uniform(
        0.92, 1.08
    )
    middle_um = (grid.margin[0] + grid.volume_shape[0] / 2) * grid.voxel_um
    floor_um = middle_um - height_um / 2 + 0.03 * depth_um * rng.uniform(-1, 1)

    centers = _colony(grid, rng)
    plan_index, plan_border = _tessellate(grid, centers, rng)
    cell_index, border_um = _shear(grid, plan_index, plan_border, middle_um, rng)
    offsets = np.linalg.norm(centers[:, None] - centers[None], axis=-1)
    np.fill_diagonal(offsets, np.inf)
    rooms = np.sort(offsets, axis=1)[:, :5].mean(1) / 2
    cells = [
        _make_cell(center, room, floor_um, height_um, rng)
        for center, room in zip(centers, rooms, strict=True)
    ]
    rough, fine = band_noise(grid, (0.9, 0.3), rng)

    z = grid.axes_um()[0]
    dome = 0.28 * (1 - np.exp(-border_um / np.float32(0.2 * height_um)))
    waves = 0.05 * _smooth_plane(grid, 6.0, rng)
    top = np.float32(floor_um) + np.float32(height_um) * (0.76 + dome + waves)
    below_top_um = (top - z).astype(np.float32)
    above_floor_um = z - np.float32(floor_um)
    inside_um = np.minimum(below_top_um, above_floor_um)
    np.minimum(inside_um, border_um - np.float32(CLEFT_UM), out=inside_um)
    nucleus_um = _nuclear_distance(grid, cells, cell_index, inside_um, rough)
    return CellLayer(
        grid=grid,
        cells=cells,
        centrosomes_um=_centrosomes(
            grid, cells, np.minimum(inside_um, nucleus_um), rng
        ),
        cell_index=cell_index,
        border_um=border_um,
        below_top_um=below_top_um,
        above_floor_um=above_floor_um,
        inside_um=inside_um,
        nucleus_um=nucleus_um,
        rough=rough,
        fine=fine,
    )

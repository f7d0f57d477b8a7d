"""The twelve structures of the paper, drawn into a layer of cells.

Every function returns how much of its structure (dimensionless, about 0 to 1) each
voxel of the box holds, shape (Z, Y, X) float32, before any blur or noise.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.synthetic.cells import CellLayer
from continual_repmode.synthetic.curves import (
    Threads,
    draw_points,
    draw_threads,
    grow,
    scatter,
)
from continual_repmode.synthetic.grid import (
    FloatVolume,
    look_up,
    random_directions,
    shell,
    soft_step,
)
from continual_repmode.synthetic.nuclei import ellipsoid_distance


def cytoplasm(layer: CellLayer) -> FloatVolume:
    """All that is inside the cells and outside the nuclei."""
    return soft_step(layer.inside_um) * soft_step(layer.nucleus_um)


def _saturate(density: FloatVolume) -> FloatVolume:
    """Where threads cross, a voxel can hold no more than 1."""
    return np.asarray(1 - np.exp(-density), np.float32)


def _levels(
    evenness: float, items: NDArray[Any], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Brightness per item, of mean 1 and variance ``1 / evenness``."""
    levels = rng.standard_gamma(evenness, len(items)) / evenness
    return levels.astype(np.float32)


def nucleolus(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Draw the droplets inside every interphase nucleus."""
    return layer.nucleoli


def dna(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Chromatin: textured, denser at the envelope, thin in nucleoli; mitotic plates."""
    depth_um = -layer.nucleus_um
    texture = np.clip(0.55 + 0.22 * layer.fine + 0.12 * layer.rough, 0.05, 1.5)
    rim = 1 + 0.35 * shell(depth_um - 0.35, 0.3)
    chromatin = soft_step(depth_um) * texture * rim * (1 - 0.7 * layer.nucleoli)
    return np.asarray(chromatin + 1.5 * mitotic_plates(layer))


def mitotic_plates(layer: CellLayer) -> FloatVolume:
    """Metaphase chromosomes of the cells in mitosis."""
    plates = np.zeros(layer.grid.shape, np.float32)
    for cell in layer.cells:
        if cell.mitotic:
            box, coordinates = cell.local(layer.grid, reach=1.2)
            vertical, long, _ = cell.semi_axes_um
            radii = np.array([0.9 * vertical, 0.8 * long, 0.9])
            distance = ellipsoid_distance(coordinates, radii)
            plates[box] = soft_step(-distance - 0.25 * layer.rough[box])
    return plates


def nuclear_envelope(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Lamina: a thin shell just inside the nuclear surface, faint within."""
    lamina = shell(layer.nucleus_um + np.float32(0.1), 0.16)
    return np.asarray(lamina + 0.08 * soft_step(-layer.nucleus_um))


def cell_membrane(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Outer membrane: double on the borders, single and ruffled above and below."""
    within = soft_step(np.minimum(layer.below_top_um, layer.above_floor_um) + 0.1)
    lateral = shell(layer.border_um, 0.2) * within
    between = soft_step(layer.border_um)
    apical = shell(layer.below_top_um + 0.15 * layer.rough, 0.2) * between
    basal = shell(layer.above_floor_um, 0.2) * between
    return np.asarray(np.maximum(lateral, 0.55 * np.maximum(apical, basal)))


def _belt_height(layer: CellLayer) -> FloatVolume:
    """Height above the ring where neighbouring cells are sealed together."""
    return np.float32(0.6) - layer.below_top_um


def tight_junction(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Belt of tight junctions around the apex of every cell."""
    belt = shell(layer.border_um, 0.16) * shell(_belt_height(layer), 0.3)
    return np.asarray(belt * np.clip(0.8 + 0.25 * layer.rough, 0.1, None))


def desmosome(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Puncta below the resolution limit, strewn over the lateral borders."""
    within = (layer.below_top_um > 0.6) & (layer.above_floor_um > 0.4)
    likelihood = shell(layer.border_um, 0.12) * within
    points = scatter(layer.grid, likelihood, 1.1, rng)
    return draw_points(layer.grid, points, _levels(2, points, rng), 0.14)


def mitochondria(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Worm-like threads in the cytoplasm, most of them near the nucleus."""
    room = layer.room_um
    flat = np.array([0.4, 1, 1], np.float32)
    likelihood = (room > 0.4) * np.exp(-np.maximum(layer.nucleus_um - 0.6, 0) / 1.8)
    starts = scatter(layer.grid, likelihood.astype(np.float32), 0.2, rng)
    threads = grow(
        layer.grid,
        starts,
        random_directions(len(starts), rng) * flat,
        rng.uniform(1.5, 7.0, len(starts)).astype(np.float32),
        room,
        rng,
        wander=0.12,
        clearance_um=0.8,
    )
    return _saturate(1.5 * draw_threads(layer.grid, threads, 0.2))


def endoplasmic_reticulum(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Sheets and tubes around the nucleus that thin out toward the cell's edge."""
    sheets = shell(layer.fine + 0.4 * layer.rough, 0.45)
    fading = 0.15 + 0.85 * np.exp(-np.maximum(layer.nucleus_um, 0) / np.float32(2.2))
    envelope = 0.7 * shell(layer.nucleus_um - np.float32(0.1), 0.18)
    return np.asarray(cytoplasm(layer) * sheets * fading + envelope)


def golgi_apparatus(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Compact ribbon beside the nucleus of every interphase cell."""
    interphase = [not cell.mitotic for cell in layer.cells]
    centers = np.repeat(layer.centrosomes_um[interphase], 7, axis=0)
    sizes = np.array([0.35, 0.8, 0.8], np.float32)
    starts = centers + sizes * rng.standard_normal(centers.shape, dtype=np.float32)
    threads = grow(
        layer.grid,
        starts,
        random_directions(len(starts), rng),
        rng.uniform(0.6, 2.2, len(starts)).astype(np.float32),
        layer.room_um,
        rng,
        wander=0.45,
        clearance_um=0.4,
    )
    return _saturate(1.5 * draw_threads(layer.grid, threads, 0.16))


def microtubule(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Thin curved filaments from the centrosome, spindles in mitosis, free tubulin."""
    interphase = [not cell.mitotic for cell in layer.cells]
    centers = np.repeat(layer.centrosomes_um[interphase], 45, axis=0)
    directions = random_directions(len(centers), rng)
    threads = grow(
        layer.grid,
        centers + 0.3 * directions,
        directions,
        rng.uniform(3.0, 13.0, len(centers)).astype(np.float32),
        layer.room_um,
        rng,
        wander=0.08,
        clearance_um=0.8,
    )
    filaments = _saturate(draw_threads(layer.grid, threads, 0.15))
    return 0.7 * filaments + 0.3 * cytoplasm(layer) + spindles(layer)


def spindles(layer: CellLayer) -> FloatVolume:
    """Two cones of microtubules that meet at the plate of a mitotic cell."""
    density = np.zeros(layer.grid.shape, np.float32)
    for cell in layer.cells:
        if cell.mitotic:
            box, (z, along, across) = cell.local(layer.grid, reach=1.2)
            length = np.float32(0.85 * cell.semi_axes_um[1])
            waist = np.maximum(length - np.abs(across), 0) / 2
            off_axis = np.sqrt(along**2 + z**2)
            fibers = 0.7 + 0.3 * np.cos(3 * np.pi * along / np.maximum(waist, 0.3))
            density[box] = soft_step(waist - off_axis, 0.3) * fibers
    return density


def _basal_fibers(
    layer: CellLayer, per_um3: float, rng: np.random.Generator
) -> tuple[Threads, NDArray[np.float32]]:
    """Straight bundles on the floor, aligned within a cell; brightness per point."""
    grid = layer.grid
    on_floor = shell(layer.above_floor_um - np.float32(0.3), 0.15)
    likelihood = on_floor * (layer.border_um > 0.3)
    starts = scatter(grid, likelihood, per_um3, rng)
    cell_angles = rng.uniform(0, np.pi, len(layer.cells)).astype(np.float32)
    angle = look_up(cell_angles[layer.cell_index], starts, grid.voxel_um)
    angle += 0.12 * rng.standard_normal(len(starts), dtype=np.float32)
    threads = grow(
        grid,
        starts,
        np.stack([np.zeros_like(angle), np.sin(angle), np.cos(angle)], axis=1),
        rng.uniform(2.0, 8.0, len(starts)).astype(np.float32),
        layer.border_um - np.float32(0.15),
        rng,
        wander=0.0,
        clearance_um=0.0,
    )
    return threads, _levels(4, starts, rng)[threads.thread]


def actin_filament(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Cortex under the whole membrane, stress fibers on the floor, a diffuse pool."""
    threads, brightness = _basal_fibers(layer, 0.5, rng)
    fibers = draw_threads(layer.grid, threads, 0.13, 0.7 * brightness)
    inside = soft_step(layer.inside_um + 0.1)
    cortex = shell(layer.inside_um - np.float32(0.1), 0.3)
    microvilli = shell(layer.below_top_um, 0.25) * np.clip(layer.fine, 0, None)
    return np.asarray(inside * (0.75 * cortex + 0.4 * microvilli + 0.2) + fibers)


def actomyosin_bundle(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Myosin: patches of an apical belt, puncta along sparse basal bundles."""
    threads, brightness = _basal_fibers(layer, 0.09, rng)
    beads = 0.5 + 0.5 * np.cos(2 * np.pi * threads.arc_um / 0.9)
    bundles = draw_threads(layer.grid, threads, 0.16, 0.9 * brightness * beads)
    belt = shell(layer.border_um, 0.25) * shell(_belt_height(layer) + 0.2, 0.3)
    patches = np.clip(0.4 + 0.5 * layer.rough, 0, None)
    return np.asarray(belt * patches + bundles + 0.04 * cytoplasm(layer))


def lipid_droplets(layer: CellLayer, rng: np.random.Generator) -> FloatVolume:
    """Small droplets that no stain shows but that stand out in transmitted light."""
    points = scatter(layer.grid, (layer.room_um > 0.4).astype(np.float32), 0.006, rng)
    return draw_points(layer.grid, points, _levels(6, points, rng), 0.25)


STRUCTURES: Mapping[str, Callable[[CellLayer, np.random.Generator], FloatVolume]] = {
    "actin_filament": actin_filament,
    "actomyosin_bundle": actomyosin_bundle,
    "cell_membrane": cell_membrane,
    "desmosome": desmosome,
    "dna": dna,
    "endoplasmic_reticulum": endoplasmic_reticulum,
    "golgi_apparatus": golgi_apparatus,
    "microtubule": microtubule,
    "mitochondria": mitochondria,
    "nuclear_envelope": nuclear_envelope,
    "nucleolus": nucleolus,
    "tight_junction": tight_junction,
}
"""How each structure of the paper is drawn."""

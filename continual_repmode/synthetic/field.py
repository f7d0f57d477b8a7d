"""One simulated field of view: its structures, its transmitted light, its stain."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continual_repmode.synthetic.cells import CellLayer, grow_layer
from continual_repmode.synthetic.grid import FloatVolume, Grid, shell, soft_step
from continual_repmode.synthetic.kinds import COLONY, CellKind
from continual_repmode.synthetic.optics import (
    camera_counts,
    fluorescence_blur,
    transmitted_light,
)
from continual_repmode.synthetic.structures import (
    STRUCTURES,
    lipid_droplets,
)

SIMULATOR_VERSION = 1
"""Raised with every change of what a seed generates, so that no stale file is used."""

VOXEL_SIZE_UM = 0.29
"""Isotropic voxel of the paper's model grid (Section 4.1)."""

Seed = int | Sequence[int]


@dataclass(frozen=True, slots=True)
class Stain:
    """How brightly and how evenly a structure is labelled."""

    #: Photo-electrons per voxel where the structure fills it, before blurring.
    electrons: float
    #: Photo-electrons per voxel everywhere.
    background: float
    #: Share of the light that comes from out of focus, 0 to 1.
    haze: float
    #: Spread between cells (standard deviation of the logarithm).
    variation: float


STAINS: Mapping[str, Stain] = {
    "actin_filament": Stain(160, 20, 0.25, 0.12),
    "actomyosin_bundle": Stain(180, 25, 0.15, 0.3),
    "cell_membrane": Stain(90, 25, 0.1, 0.15),
    "desmosome": Stain(500, 30, 0.1, 0.3),
    "dna": Stain(70, 20, 0.2, 0.25),
    "endoplasmic_reticulum": Stain(150, 20, 0.25, 0.15),
    "golgi_apparatus": Stain(300, 30, 0.1, 0.35),
    "microtubule": Stain(150, 15, 0.3, 0.1),
    "mitochondria": Stain(190, 15, 0.2, 0.15),
    "nuclear_envelope": Stain(200, 10, 0.15, 0.12),
    "nucleolus": Stain(250, 10, 0.1, 0.1),
    "tight_junction": Stain(220, 20, 0.1, 0.2),
}

INDEX_CONTRAST: Mapping[str, float] = {
    "dna": 0.004,
    "endoplasmic_reticulum": 0.010,
    "microtubule": 0.005,
    "mitochondria": 0.028,
    "nuclear_envelope": 0.006,
    "nucleolus": 0.022,
    "actin_filament": 0.003,
}
"""Refractive index that a voxel full of a structure adds to its surroundings.

Structures not named here add nothing: light shows them, if at all, by where they lie.
"""
CYTOPLASM_INDEX = 0.026
NUCLEOPLASM_INDEX = 0.020
DROPLET_INDEX = 0.06
"""Refractive index minus that of the medium."""
GRAIN_INDEX = 0.002
"""Standard deviation of the refractive index within the cytoplasm."""
CLEFT_DEPTH = 0.35
"""Share of the cytoplasm's refractive index that is lost on the border of two cells."""
ABSORPTION = 0.04
"""Imaginary part of the refractive index, as a share of its real excess."""


def _stream(seed: Seed, purpose: str) -> np.random.Generator:
    """Random numbers for one purpose, independent of what else is drawn."""
    words = [seed] if isinstance(seed, int) else list(seed)
    key = zlib.crc32(purpose.encode())
    return np.random.default_rng(np.random.SeedSequence([*words, key]))


def _layer(
    seed: Seed, shape: tuple[int, int, int], voxel_size_um: float, kind: CellKind
) -> CellLayer:
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape must be three positive sizes (Z, Y, X), got {shape}")
    if not voxel_size_um > 0:
        raise ValueError(f"voxel_size_um must be positive, got {voxel_size_um}")
    return grow_layer(Grid(shape, voxel_size_um), kind, _stream(seed, "layer"))


def simulate_structures(
    seed: Seed,
    shape: tuple[int, int, int],
    voxel_size_um: float = VOXEL_SIZE_UM,
    kind: CellKind = COLONY,
) -> dict[str, FloatVolume]:
    """Every structure of one field, before any optics.

    ``seed``: not negative; the same seed gives the same cells as in
        :func:`simulate_field`.
    ``shape``: (Z, Y, X).
    ``voxel_size_um``: edge of an isotropic voxel.
    ``kind``: size, shape and texture of the cells.
    Returns: (Z, Y, X); amount of each structure of ``continual_repmode.tasks.TASKS``,
        about 0 to 1.
    """
    layer = _layer(seed, shape, voxel_size_um, kind)
    return {
        task: layer.grid.crop(draw(layer, _stream(seed, task)))
        for task, draw in STRUCTURES.items()
    }


def simulate_field(
    seed: Seed,
    shape: tuple[int, int, int],
    task: str,
    voxel_size_um: float = VOXEL_SIZE_UM,
    kind: CellKind = COLONY,
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Simulate one field in transmitted light and one of its structures stained.

    The light depends on the seed alone: the same field stained for another structure
    has the very same light image.

    Parameters
    ----------
    seed : int or sequence of int
        Not negative; the same seed gives the same bytes.
    shape : tuple of int
        (Z, Y, X).
    task : str
        The structure to stain, one of ``continual_repmode.tasks.TASKS``.
    voxel_size_um : float
        Edge of an isotropic voxel.
    kind : CellKind
        Size, shape and texture of the cells.

    Returns
    -------
    light, fluorescence : ndarray of uint16, shape (Z, Y, X)
        Raw camera counts.

    Raises
    ------
    ValueError
        If a size is not positive or the task is not simulated.
    """
    if task not in STRUCTURES:
        raise ValueError(f"task must be one of {', '.join(STRUCTURES)}, got {task!r}")
    layer = _layer(seed, shape, voxel_size_um, kind)
    drawn = {
        name: STRUCTURES[name](layer, _stream(seed, name))
        for name in STRUCTURES
        if name == task or name in INDEX_CONTRAST
    }
    light = _photograph(layer, drawn, seed)
    return light, _stain(
        layer, drawn[task], STAINS[task], _stream(seed, f"stain {task}")
    )


def refractive_index(
    layer: CellLayer, structures: Mapping[str, FloatVolume], seed: Seed
) -> FloatVolume:
    """Refractive index minus that of the medium, shape (Z, Y, X) of the whole box.

    Cytoplasm with a slightly thinner nucleus, to which the structures of
    ``INDEX_CONTRAST`` add; lipid droplets and debris that no stain shows.
    """
    gaps = 1 - np.float32(CLEFT_DEPTH) * shell(layer.border_um, 0.15)
    vertical = np.minimum(layer.below_top_um, layer.above_floor_um)
    filling = gaps * soft_step(vertical) * soft_step(layer.nucleus_um)
    index = filling * (CYTOPLASM_INDEX + GRAIN_INDEX * layer.fine)
    index += NUCLEOPLASM_INDEX * soft_step(-layer.nucleus_um)
    for name, contrast in INDEX_CONTRAST.items():
        index += np.float32(contrast) * structures[name]
    index += DROPLET_INDEX * lipid_droplets(layer, _stream(seed, "droplets"))
    return np.asarray(index, np.float32)


def _photograph(
    layer: CellLayer, structures: Mapping[str, FloatVolume], seed: Seed
) -> NDArray[np.uint16]:
    """Brightfield image of the layer under slightly uneven illumination."""
    index = refractive_index(layer, structures, seed)
    image = transmitted_light(index, layer.grid.voxel_um, ABSORPTION)
    image = np.clip(layer.grid.crop(image), 0.05, None)
    rng = _stream(seed, "light")
    lamp = rng.uniform(4000, 7000)
    slope = 0.06 * rng.uniform(-1, 1, 5)
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in image.shape[1:])
    y, x = y[:, None], x[None, :]
    uneven = (
        slope[0] * y
        + slope[1] * x
        + slope[2] * y * x
        + slope[3] * y**2
        + slope[4] * x**2
    )
    electrons = np.float32(lamp) * image * (1 + uneven).astype(np.float32)
    return camera_counts(electrons, 2.0, 100.0, 6.0, rng)


def _stain(
    layer: CellLayer, density: FloatVolume, stain: Stain, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Fluorescence image of one structure, unevenly labelled from cell to cell."""
    levels = np.exp(stain.variation * rng.standard_normal(len(layer.cells)))
    labeled = density * levels.astype(np.float32)[layer.cell_index]
    blurred = fluorescence_blur(labeled, layer.grid.voxel_um, stain.haze)
    brightness = stain.electrons * np.exp(0.25 * rng.standard_normal())
    electrons = brightness * layer.grid.crop(blurred) + stain.background
    return camera_counts(electrons, 2.0, 100.0, 2.0, rng)

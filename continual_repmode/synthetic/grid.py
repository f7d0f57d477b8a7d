"""The simulated box of voxels and what is generally done with it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

FloatVolume = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Grid:
    """The simulated box: the volume asked for and a margin of neighborhood around it.

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


def look_up(
    volume: NDArray[Any], points_um: NDArray[Any], voxel_um: float
) -> NDArray[Any]:
    """Return the values (N,) of the voxels nearest to points (N, 3)."""
    last = np.array(volume.shape) - 1
    nearest = np.rint(points_um * (1 / voxel_um)).astype(np.intp)
    z, y, x = np.minimum(np.maximum(nearest, 0), last).T
    return np.asarray(volume[z, y, x])


def soft_step(distance_um: NDArray[Any], width_um: float = 0.15) -> FloatVolume:
    """Return a smooth edge from 0 (negative side) to 1, about ``width_um`` wide."""
    ramp = distance_um * np.float32(1 / (2 * width_um)) + np.float32(0.5)
    return np.asarray(np.clip(ramp, 0, 1), np.float32)


def shell(distance_um: NDArray[Any], width_um: float) -> FloatVolume:
    """Return a Gaussian profile, of that standard deviation, around a surface."""
    squared = np.square(distance_um * np.float32(np.sqrt(0.5) / width_um))
    return np.asarray(np.exp(-squared), np.float32)


def frequencies(
    shape: tuple[int, int, int], voxel_um: float
) -> tuple[FloatVolume, FloatVolume, FloatVolume]:
    """Spatial frequencies (cycles/um) of ``rfftn`` along z, y, x, to broadcast."""
    z, y = (fft.fftfreq(n, voxel_um).astype(np.float32) for n in shape[:2])
    x = fft.rfftfreq(shape[2], voxel_um).astype(np.float32)
    return z[:, None, None], y[None, :, None], x[None, None, :]


def band_noise(
    grid: Grid, sizes_um: tuple[float, ...], rng: np.random.Generator
) -> list[FloatVolume]:
    """Draw Gaussian random volumes of unit variance, one per texture size.

    Each is white noise seen through a Gaussian of the given size minus one of twice
    that size, so neighboring sizes are nearly independent.
    """
    spectrum = fft.rfftn(rng.standard_normal(grid.shape, dtype=np.float32))
    z, y, x = frequencies(grid.shape, grid.voxel_um)
    square = z**2 + y**2 + x**2
    volumes = []
    for size_um in sizes_um:
        decay = np.exp(np.float32(-2 * np.pi**2 * size_um**2) * square)
        decay -= np.square(np.square(decay))
        volume = fft.irfftn(spectrum * decay, s=grid.shape)
        volumes.append(volume / volume.std())
    return volumes


def smooth_plane(
    grid: Grid, size_um: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw a smooth Gaussian random image (Y, X) of about unit variance."""
    sigma = size_um / grid.voxel_um
    noise = rng.standard_normal(grid.shape[1:], dtype=np.float32)
    # A Gaussian of width sigma shrinks white noise by 2 sqrt(pi) sigma.
    smooth = ndimage.gaussian_filter(noise, sigma, mode="wrap", truncate=3)
    return np.asarray(smooth * np.float32(2 * np.sqrt(np.pi) * sigma), np.float32)


def random_directions(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw unit vectors (count, 3), uniform over the sphere."""
    vectors = rng.standard_normal((count, 3), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

"""How the microscope turns a cell into counts: transmitted light and fluorescence."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from continual_repmode.synthetic.grid import FloatVolume, frequencies

WAVELENGTH_UM = 0.55
MEDIUM_INDEX = 1.337
OBJECTIVE_NA = 1.25
CONDENSER_NA = 0.5


@lru_cache(maxsize=4)
def weak_object_transfer(
    shape: tuple[int, int, int], voxel_um: float
) -> tuple[FloatVolume, FloatVolume]:
    r"""3D transfer functions of partially coherent brightfield for a weak object.

    For a complex refractive index :math:`n_0 + \Delta n + i\kappa` the first Born
    approximation gives the intensity, relative to the empty field,

    .. math:: I(r) = 1 + F^{-1}[ i\,H_P(m)\,\hat{\Delta n}(m) + H_A(m)\,\hat\kappa(m) ]

    .. math:: H_P = k_0 [T(m) - T(-m)], \qquad H_A = -k_0 [T(m) + T(-m)]

    .. math:: T(m) = \frac{1}{\int S} \int S(\nu)\, P(\nu + m_\perp)\,
        \frac{n_0}{\lambda k_z(\nu + m_\perp)}\,
        \delta[m_z - k_z(\nu + m_\perp) + k_z(\nu)]\, d^2\nu

    with the source (condenser aperture) :math:`S`, the pupil (objective aperture)
    :math:`P`, :math:`k_z(\nu) = \sqrt{(n_0/\lambda)^2 - |\nu|^2}` and
    :math:`k_0 = 2\pi/\lambda` (Streibl 1985, J. Opt. Soc. Am. A 2, 121). Phase and
    absorption both enter; :math:`H_P` is odd in :math:`m_z`, so phase contrast
    vanishes in focus and changes sign through it.

    ``shape``: shape (Z, Y, X) of the box.
    Returns: (Z, Y, X // 2 + 1); :math:`H_P` and :math:`H_A` in the layout of ``rfftn``.
        Frequencies that the grid cannot hold are left out.
    """
    depth = shape[0]
    _, y, x = frequencies(shape, voxel_um)
    radius = np.hypot(y[0], x[0])
    step = 0.5 / (max(shape[1:]) * voxel_um)
    num_radii = int(radius.max() / step) + 2
    profile = _transfer_profile(num_radii, step, depth, voxel_um)
    below = (radius / step).astype(np.intp)
    part = radius / step - below
    transfer = profile[:, below] * (1 - part) + profile[:, below + 1] * part
    mirrored = np.roll(transfer[::-1], 1, axis=0)
    wavenumber = 2 * np.pi / WAVELENGTH_UM
    phase = wavenumber * (transfer - mirrored)
    absorption = -wavenumber * (transfer + mirrored)
    return phase.astype(np.float32), absorption.astype(np.float32)


def _transfer_profile(
    num_radii: int, step: float, depth: int, voxel_um: float
) -> NDArray[np.float64]:
    """Tabulate T(m), which has circular symmetry, on (m_z, radius): (Z, R), in um.

    Each source point adds its weight at one axial frequency, shared between the two
    nearest multiples of ``1 / (depth * voxel_um)``.
    """
    aperture = CONDENSER_NA / WAVELENGTH_UM
    points = np.linspace(-aperture, aperture, 41)
    source_y, source_x = (axis.ravel() for axis in np.meshgrid(points, points))
    lit = np.hypot(source_y, source_x) <= aperture
    source_y, source_x = source_y[lit], source_x[lit]
    radii = step * np.arange(num_radii)[:, None]
    sphere = (MEDIUM_INDEX / WAVELENGTH_UM) ** 2
    scattered = (source_x + radii) ** 2 + source_y**2
    passed = scattered <= (OBJECTIVE_NA / WAVELENGTH_UM) ** 2
    axial = np.sqrt(np.where(passed, sphere - scattered, sphere))
    shift = axial - np.sqrt(sphere - source_x**2 - source_y**2)
    weight = passed * (MEDIUM_INDEX / WAVELENGTH_UM) / axial / lit.sum()

    spacing = 1 / (depth * voxel_um)
    position = shift / spacing
    below = np.floor(position).astype(np.intp)
    profile = np.zeros((depth, num_radii))
    column = np.broadcast_to(np.arange(num_radii)[:, None], below.shape)
    for axial_bin, share in (
        (below, 1 - (position - below)),
        (below + 1, position - below),
    ):
        held = np.abs(axial_bin) < depth / 2
        amount = np.where(held, weight * share, 0.0) / spacing
        np.add.at(profile, (axial_bin % depth, column), amount)
    return profile


def transmitted_light(
    index: FloatVolume, voxel_um: float, absorbing_share: float = 0.0
) -> FloatVolume:
    """Brightfield image stack of a weak object, 1 where there is none.

    ``index``: (Z, Y, X); refractive index minus that of the medium.
    ``absorbing_share``: imaginary part of the refractive index as a share of ``index``.
    Returns: (Z, Y, X).
    """
    depth, height, width = index.shape
    phase, absorption = weak_object_transfer((depth, height, width), voxel_um)
    transfer = np.empty(phase.shape, np.complex64)
    transfer.real, transfer.imag = absorbing_share * absorption, phase
    transfer *= fft.rfftn(index)
    return np.asarray(1 + fft.irfftn(transfer, s=index.shape), np.float32)


def fluorescence_blur(
    density: FloatVolume, voxel_um: float, haze: float
) -> FloatVolume:
    """Blur a stained structure as a spinning-disc microscope does.

    The point-spread function is a Gaussian model, not a computed one: a sharp core
    (0.13 um lateral, 0.4 um axial standard deviation) and a broad out-of-focus part
    (1.0 and 2.0 um) holding the share ``haze`` of the light.
    """
    depth, height, width = density.shape
    z, y, x = frequencies((depth, height, width), voxel_um)
    spectrum = fft.rfftn(density)

    def gaussian(lateral_um: float, axial_um: float) -> FloatVolume:
        factor = -2 * np.pi**2
        axial = np.exp(factor * axial_um**2 * z**2)
        lateral = np.exp(factor * lateral_um**2 * y**2)
        lateral = lateral * np.exp(factor * lateral_um**2 * x**2)
        return np.asarray(axial * lateral, np.float32)

    spectrum *= (1 - haze) * gaussian(0.13, 0.4) + haze * gaussian(1.0, 2.0)
    return np.asarray(np.maximum(fft.irfftn(spectrum, s=density.shape), 0))


def camera_counts(
    electrons: FloatVolume,
    gain: float,
    offset: float,
    read_noise: float,
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """Turn electrons into the counts of a noisy 16-bit camera.

    Shot noise is drawn from a normal distribution, close to a Poisson one from ten
    electrons up, which every stain's background ensures.

    ``electrons``: expected photo-electrons per voxel, not negative.
    ``gain``: counts per electron.
    ``offset``: counts in the dark.
    ``read_noise``: standard deviation in electrons.
    """
    noise = rng.standard_normal(electrons.shape, dtype=np.float32)
    noise *= np.sqrt(electrons + np.float32(read_noise**2))
    counts = np.float32(offset) + np.float32(gain) * (electrons + noise)
    return np.asarray(np.clip(np.rint(counts), 0, 65535), np.uint16)

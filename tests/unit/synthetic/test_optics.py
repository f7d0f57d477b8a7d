"""Optics of the generated cells, against the textbook and a direct sum over sources."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import fft

from continual_repmode.synthetic.optics import (
    CONDENSER_NA,
    MEDIUM_INDEX,
    OBJECTIVE_NA,
    WAVELENGTH_UM,
    camera_counts,
    fluorescence_blur,
    transmitted_light,
)

VOXEL_UM = 0.2


def _thin_grating(periods: int) -> NDArray[np.float32]:
    """A grating along x in the middle plane, refractive index 0.001 at its crests."""
    index = np.zeros((32, 24, 24), np.float32)
    index[16] = 0.001 * np.cos(2 * np.pi * periods * np.arange(24) / 24)
    return index


def _contrast(light: NDArray[np.float32], index: NDArray[np.float32]) -> NDArray:
    """Amplitude of the grating in each plane of the image, per unit of its index."""
    grating = index[16]
    return ((light - 1) * grating).sum((1, 2)) / (grating**2).sum()


def _direct_sum(frequency: float, defocus_um: NDArray) -> NDArray:
    """Interference of lit and scattered waves, summed over a polar grid of sources."""
    rings = np.sqrt((np.arange(30) + 0.5) / 30) * CONDENSER_NA / WAVELENGTH_UM
    turns = 2 * np.pi * np.arange(48) / 48
    x = (rings[:, None] * np.cos(turns)).ravel()
    y = (rings[:, None] * np.sin(turns)).ravel()
    medium = MEDIUM_INDEX / WAVELENGTH_UM
    lit = np.sqrt(medium**2 - x**2 - y**2)
    scattered = (x + frequency) ** 2 + y**2
    passed = scattered < (OBJECTIVE_NA / WAVELENGTH_UM) ** 2
    kz = np.sqrt(np.where(passed, medium**2 - scattered, medium**2))
    wave = np.where(passed, medium / kz, 0)
    phases = np.exp(2j * np.pi * np.multiply.outer(defocus_um, kz - lit))
    return 2 * np.pi / WAVELENGTH_UM * (phases * wave).mean(1)


@pytest.mark.parametrize(
    ("periods", "absorbing_share"), [(1, 0.3), (3, 0.0), (3, 0.3), (6, 0.3)]
)
def test_light_agrees_with_the_direct_sum_over_sources(periods, absorbing_share):
    index = _thin_grating(periods)
    frequency = periods / (24 * VOXEL_UM)
    depth_um = 32 * VOXEL_UM
    # The box repeats along z, each repetition faded by a squared sinc.
    repeats = np.arange(-8, 9)[:, None] * depth_um
    defocus_um = (np.arange(32) - 16) * VOXEL_UM + repeats
    waves = [_direct_sum(frequency, row) for row in defocus_um]
    wave = (np.array(waves) * np.sinc(defocus_um / depth_um) ** 2).sum(0) * VOXEL_UM
    expected = 2 * np.real((1j - absorbing_share) * wave)

    light = transmitted_light(index, VOXEL_UM, absorbing_share)

    measured = _contrast(light, index)
    np.testing.assert_allclose(measured, expected, atol=0.03 * np.abs(expected).max())


def test_phase_contrast_vanishes_in_focus_and_flips_through_it():
    index = _thin_grating(3)
    contrast = _contrast(transmitted_light(index, VOXEL_UM), index)
    strongest = np.abs(contrast).max()
    assert abs(contrast[16]) < 1e-3 * strongest
    np.testing.assert_allclose(contrast[17:26], -contrast[15:6:-1], atol=1e-3)
    assert np.abs(contrast[17:22]).max() > 0.9 * strongest


def test_an_absorber_is_dark_in_focus():
    index = _thin_grating(3)
    phase_only = transmitted_light(index, VOXEL_UM)
    absorbing = transmitted_light(index, VOXEL_UM, absorbing_share=0.5)
    contrast = _contrast(absorbing - phase_only + 1, index)
    assert contrast[16] < 0
    assert contrast[16] == contrast.min()


def test_light_holds_no_energy_beyond_the_pass_band():
    rng = np.random.default_rng(0)
    voxel_um, shape = 0.1, (40, 64, 64)
    index = 0.001 * rng.standard_normal(shape, dtype=np.float32)
    spectrum = np.abs(fft.fftn(transmitted_light(index, voxel_um, 0.1) - 1)) ** 2
    z, y, x = (fft.fftfreq(n, voxel_um) for n in shape)
    lateral = np.hypot(y[:, None], x)[None]
    axial = np.abs(z)[:, None, None] - 1 / (shape[0] * voxel_um)  # to the nearest bin
    finest = (OBJECTIVE_NA + CONDENSER_NA) / WAVELENGTH_UM
    deepest = (
        MEDIUM_INDEX - np.sqrt(MEDIUM_INDEX**2 - OBJECTIVE_NA**2)
    ) / WAVELENGTH_UM
    outside = (lateral > finest + 0.05) | (axial > deepest)
    missing_cone = (lateral == 0) & (axial > 0)
    assert outside.mean() > 0.3  # the grid could hold what the lens cannot pass
    assert spectrum[outside | missing_cone].sum() < 1e-9 * spectrum.sum()


def test_an_empty_field_is_evenly_bright():
    light = transmitted_light(np.zeros((8, 16, 16), np.float32), VOXEL_UM, 0.1)
    np.testing.assert_array_equal(light, 1)


def test_fluorescence_keeps_the_light_and_blurs_more_along_z():
    density = np.zeros((41, 41, 41), np.float32)
    density[20, 20, 20] = 1
    image = fluorescence_blur(density, 0.1, haze=0.0)
    distance_um = (np.arange(41) - 20) * 0.1
    axial = np.sqrt((image.sum((1, 2)) * distance_um**2).sum())
    lateral = np.sqrt((image.sum((0, 1)) * distance_um**2).sum())
    assert image.sum() == pytest.approx(1, rel=1e-3)
    assert axial == pytest.approx(0.4, rel=0.02)
    assert lateral == pytest.approx(0.13, rel=0.02)


def test_haze_moves_its_share_of_the_light_away_from_the_point():
    density = np.zeros((81, 41, 41), np.float32)
    density[40, 20, 20] = 1
    near = (slice(28, 53), slice(16, 25), slice(16, 25))
    sharp = fluorescence_blur(density, 0.1, haze=0.0)
    hazy = fluorescence_blur(density, 0.1, haze=0.3)
    assert sharp[near].sum() == pytest.approx(1, abs=0.01)
    assert hazy.sum() == pytest.approx(1, abs=0.01)
    assert hazy[near].sum() == pytest.approx(0.7, abs=0.05)


def test_camera_adds_shot_and_read_noise_of_the_right_size():
    electrons = np.full(200_000, 50, np.float32)
    counts = camera_counts(electrons, 2.0, 100.0, 3.0, np.random.default_rng(0))
    assert counts.dtype == np.uint16
    assert counts.mean() == pytest.approx(100 + 2 * 50, rel=1e-3)
    assert counts.var() == pytest.approx(4 * (50 + 9), rel=0.02)


def test_camera_saturates_instead_of_wrapping_around():
    electrons = np.full(100, 1e6, np.float32)
    counts = camera_counts(electrons, 1.0, 0.0, 1.0, np.random.default_rng(0))
    assert np.all(counts == 65535)

"""What images look like in numbers, and which are unlike those of the training."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import kurtosis, skew

from continual_repmode.data.signals import EDGES_PER_UM, look_of, signal_statistics
from continual_repmode.data.unlikeness import unlikeness
from continual_repmode.synthetic.collection import SyntheticCells
from continual_repmode.volumes.normalization import zscore
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.resampling import resample

DATA = Path(__file__).parents[4] / "shared" / "data"
UM = (0.29, 0.29, 0.29)
OFF = 10  # planes of 0.29 um, 3 um


def said(volume: np.ndarray, statistics, um=UM) -> str | None:
    on_grid = resample(zscore(volume)[0], um, UM, "fast")
    return unlikeness(look_of(on_grid, UM), statistics)


def test_numbers_are_those_of_known_images():
    rng = np.random.default_rng(0)
    noise = rng.gamma(2, size=(30, 300, 520)).astype(np.float32)
    noise = (noise - noise.mean()) / noise.std()

    look = look_of(noise, UM)

    np.testing.assert_allclose(look.power[2:], 0, atol=0.04)  # white: 1 everywhere
    assert look.skewness == pytest.approx(skew(noise, axis=None), rel=0.05)
    expected = np.log(kurtosis(noise, axis=None, fisher=False))
    assert look.kurtosis == pytest.approx(expected, abs=0.05)
    z, x = np.ogrid[:30, :520]
    wave = np.sin(2 * np.pi * 0.6 * UM[2] * x) * np.exp(-(((z - 20) / 5) ** 2))
    look = look_of(np.repeat(wave[:, None], 300, 1) + 0.01 * noise, UM)
    band = np.searchsorted(EDGES_PER_UM, 0.6) - 1
    assert np.nanargmax(look.power) == band
    assert look_of(noise[:, :20], UM) is None
    coarse = look_of(noise, (0.29, 0.5, 0.5))
    assert np.isnan(coarse.power[-1])
    assert np.isfinite(coarse.power[2])


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Return stacks taller than the images, which are cut from the middle of them."""
    folder = tmp_path_factory.mktemp("cells")
    shape = (28 + 2 * OFF, 64, 64)
    made = SyntheticCells(5, 0, 20, shape=shape, tasks=("dna",), cache_dir=folder)
    return [
        [pair.load().signal for pair in made.pairs("dna", split)]
        for split in ("train", "test")
    ]


def test_three_kinds_of_wrong_images_are_told_and_sound_ones_are_not(cells):
    middle = slice(OFF, -OFF)
    statistics = signal_statistics(
        look_of(zscore(stack[middle])[0], UM) for stack in cells[0]
    )
    told = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, change in {
            "sound": lambda stack: said(stack[middle], statistics),
            "focus above": lambda stack: said(stack[: -2 * OFF], statistics),
            "focus below": lambda stack: said(stack[2 * OFF :], statistics),
            "blurred": lambda stack: said(
                gaussian_filter(stack[middle], (0, 1.5, 1.5)), statistics
            ),
            "half": lambda stack: said(stack[middle], statistics, (0.29, 0.145, 0.145)),
            "double": lambda stack: said(stack[middle], statistics, (0.29, 0.5, 0.5)),
        }.items():
            stacks = cells[1] if name == "sound" else cells[1][:8]
            told[name] = [text for stack in stacks if (text := change(stack))]

    numbers = {name: len(texts) for name, texts in told.items()}
    assert numbers["sound"] <= 1, told["sound"]
    least = {"focus above": 7, "focus below": 7, "blurred": 8, "half": 7, "double": 8}
    assert all(numbers[name] >= least[name] for name in least), (numbers, told)
    causes = {"blurred": "blurred", "half": "other mag", "double": "other mag"}
    causes |= {"focus above": "out of focus", "focus below": "out of focus"}
    for name, cause in causes.items():  # each is called what it is
        others = [text for text in told[name] if not text.startswith(cause)]
        assert len(others) <= 1, (name, others)
    # on the model grid, half a voxel size leaves four bands of the spectrum
    small = "or other modality or specimen: the image is too small to tell"
    assert all(text.endswith(small) for text in told["half"] if "mag" in text)
    assert not any(small in text for text in told["double"])


def test_damaged_measures_and_those_of_another_version_say_nothing(cells):
    looks = [look_of(zscore(stack[OFF:-OFF])[0], UM) for stack in cells[0]]
    statistics = signal_statistics(looks)
    coarse = cells[1][0], statistics, (0.29, 0.5, 0.5)
    assert said(*coarse)
    for name in statistics:
        damaged = {**statistics, name: statistics[name][1:]}
        assert said(coarse[0], damaged, coarse[2]) is None or name == "num_images"
    assert unlikeness(looks[0], None) is unlikeness(None, statistics) is None
    assert signal_statistics([None]) is None


def test_real_images_of_other_kinds_are_told_and_other_fields_are_not():
    """Every second part of a field is trained on; the others are sound."""
    if not DATA.is_dir():
        pytest.skip("no real images here")
    field = open_volume(DATA / "allen-fov-tuba1b" / "AICS-12_881_bf_seg.ome.tif")
    um = (0.29, 0.331, 0.294)
    parts = [
        part
        for half in np.array_split(field.read_channel(0), 2, axis=1)
        for part in np.array_split(half, 4, axis=2)
    ]
    looks = [look_of(resample(zscore(part)[0], um, UM, "fast"), UM) for part in parts]

    for first in (1, 0):
        statistics = signal_statistics(looks[first::2])
        assert not any(unlikeness(look, statistics) for look in looks[1 - first :: 2])
    wrong_size = said(parts[1], statistics, (0.29, 0.166, 0.147))
    assert wrong_size is not None
    assert "other magnification or voxel size: structures look 0." in wrong_size
    far = said(parts[1][20:], statistics, um)  # its middle lies 2.9 um higher
    assert far is not None
    assert "out of focus (what is sharp lies" in far
    phase = open_volume(DATA / "isl-neurons" / "phase_contrast_z13.tif")
    assert said(phase.read_channel(0), statistics, (0.5, 0.3, 0.3)) is not None

"""Padding is found where it is, and nothing is found in what has none."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from continual_repmode.errors import UserError
from continual_repmode.volumes.formats import READERS
from continual_repmode.volumes.normalization import zscore
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.padding import hidden_voxels
from continual_repmode.volumes.preparation import Preparation

SHAPE = Z, Y, X = 10, 60, 72
REAL = Path(__file__).parents[4] / "shared" / "data"


def blobs(seed: int, sigma: float = 4.0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, (1, sigma, sigma))
    return smooth / smooth.std()


def light_of(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed + 1).normal(size=SHAPE)
    return np.rint(20000 + 1400 * blobs(seed) + 300 * noise).astype("u2")


def target_of(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed + 2).normal(size=SHAPE)
    return np.rint(400 + 900 * blobs(seed).clip(0) + 15 * noise).astype("u2")


def shapes() -> dict[str, np.ndarray]:
    """Return where padding is, for each way in which it comes about."""
    z, y, x = np.ogrid[:Z, :Y, :X]
    everywhere = np.zeros(SHAPE, bool)

    def turned(degrees: float) -> np.ndarray:
        field = ndimage.rotate(np.ones((Y, X)), degrees, reshape=False, order=0)
        return (field < 0.5) | everywhere

    return {
        "deskewed": (x < 3 * z) | (x >= X - 3 * (Z - 1 - z)) | everywhere,
        "shifted by one": (y < 1) | everywhere,
        "shifted along two axes": (x < 5) | (y >= Y - 3) | everywhere,
        "blank planes": (z < 3) | everywhere,
        "stitched": ((y < 20) & (x < 40)) | ((y >= 45) & (x >= 30)) | everywhere,
        "turned by 8": turned(8),
        "turned by 2": turned(2),
    }


def test_padding_is_found_to_the_voxel() -> None:
    for name, mask in shapes().items():
        for strict, raw in ((False, light_of(0)), (True, target_of(0))):
            least = [] if strict else [float(raw.min())]
            for value in (0.0, float("nan"), *least):
                padded = raw.astype("f4" if np.isnan(value) else "u2")
                padded[mask] = value
                found = hidden_voxels(padded, strict=strict)
                assert found is not None, (name, strict, value)
                np.testing.assert_array_equal(found[1], mask, str((name, value)))
                assert found[0].share == pytest.approx(mask.mean())
                np.testing.assert_equal(found[0].values, (value,))


def test_padding_of_a_light_that_has_its_value_elsewhere_is_found() -> None:
    stretched = (light_of(3) - 20000.0) / 1500 * 40 + 130
    for name, mask in shapes().items():
        if name in ("stitched", "turned by 8"):
            continue  # corners, and no value of its own: nothing tells it from shade
        padded = np.where(mask, 0, stretched.clip(0, 255)).astype("u1")
        found = hidden_voxels(padded)
        assert found is not None, name
        assert not (mask & ~found[1]).any(), name
        assert (found[1] & ~mask).mean() < 0.01, name


def test_dark_and_clipped_images_have_no_padding() -> None:
    random = np.random.default_rng(5)
    y, x = np.ogrid[:128, :128]
    shade = 1 - (np.hypot(y - 64, x - 64) / 70) ** 4 + 0.05 * blobs(1, 6, (6, 128, 128))
    for seed in range(4):
        field = blobs(seed, 6, (6, 128, 128))
        sound = {
            "scattered zeros": np.where(random.random(SHAPE) < 0.2, 0, light_of(seed)),
            "dead line": np.where(np.arange(X) == 30, 0, light_of(seed)),
            "half at the minimum": (100 * field).clip(0).astype("u2"),
            "most at the minimum": (100 * field - 84).clip(0).astype("u2"),
            "some at the minimum": (100 * field + 84).clip(0).astype("f4"),
            "noisy": (100 * field + 50 * random.normal(size=field.shape)).clip(0),
            "shaded": (20000 * shade).clip(0).astype("u2"),
            "mask": ((field > 0.8) * 255).astype("u1"),
            "constant": np.zeros(SHAPE, "u1"),
            "all NaN": np.full(SHAPE, np.nan, "f4"),
            "tiny": random.integers(0, 3, (2, 4, 5)),
        }
        for name, raw in sound.items():
            for strict in (False, True):
                assert hidden_voxels(raw, strict=strict) is None, (name, strict, seed)
        cut_out = np.where(field > 0.8, 100 * field + 300, 0)
        assert hidden_voxels(cut_out, strict=True) is None


@pytest.mark.skipif(not REAL.is_dir(), reason="no real volumes here")
def test_no_real_volume_has_padding() -> None:
    num_channels = 0
    for path in sorted(path for path in REAL.rglob("*") if path.suffix in READERS):
        choices = [{}, {"time": "0"}, {"scene": "0"}, {"scene": "0", "time": "0"}]
        for choice in choices:
            try:
                volume = open_volume(path, choice)
            except UserError:
                continue
            for channel in range(len(volume.channel_names)):
                raw = volume.read_channel(channel)
                for strict in (False, True):
                    assert hidden_voxels(raw, strict=strict) is None, (path, channel)
                num_channels += 1
            break
    assert num_channels > 30


def test_padding_counts_for_nothing_in_a_z_score() -> None:
    raw, mask = light_of(7), shapes()["deskewed"]
    recorded = raw[~mask].astype(np.float64)
    padded = np.where(mask, 0, raw)
    for order in ("zscore_first", "resize_first"):
        preparation = Preparation((0.3, 0.3, 0.3), order=order, storage="float32")
        prepared, intensity = preparation.apply(padded, (0.3, 0.3, 0.3), mask)
        np.testing.assert_array_equal(np.isnan(prepared), mask)
        expected = (recorded - recorded.mean()) / recorded.std()
        np.testing.assert_allclose(prepared[~mask], expected, atol=1e-5)
        assert intensity.mean == pytest.approx(recorded.mean())
    zscored, _ = zscore(padded, mask)
    assert (zscored[mask] == 0).all()


def test_padding_stays_where_it_is_on_another_grid() -> None:
    raw, mask = light_of(8), shapes()["shifted along two axes"]
    padded = np.where(mask, 0, raw)
    for resize in ("paper", "fast"):
        preparation = Preparation((0.3, 0.3, 0.3), resize=resize, storage="float32")
        prepared, _ = preparation.apply(padded, (0.3, 0.1, 0.1), mask)
        assert prepared.shape == (Z, Y // 3, X // 3)
        kept = prepared[:, : Y // 3 - 1, 2:]
        assert np.isfinite(kept).all()
        assert abs(kept).max() < 6  # of raw z-scores up to 5; zeros are at -14
        assert np.isnan(prepared).mean() == pytest.approx(mask.mean(), abs=0.03)

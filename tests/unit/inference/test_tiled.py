import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.inference.tiled import (
    gaussian_profile,
    predict_volume,
    window_starts,
)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def darker_away_from_the_corner(windows: Tensor) -> Tensor:
    """Predict something that depends on the place within the window."""
    sides = windows.shape[2:]
    z, y, x = torch.meshgrid(*[torch.arange(side) for side in sides], indexing="ij")
    return windows.square() - 0.1 * z + 0.05 * y - 0.02 * x


@given(st.integers(1, 200), st.integers(1, 64), st.floats(0, 0.99))
def test_windows_cover_every_voxel_and_stay_inside(
    size: int, side: int, overlap: float
) -> None:
    side = min(side, size)
    starts = window_starts(size, side, overlap)

    covered = np.zeros(size, int)
    for start in starts:
        assert 0 <= start <= size - side
        covered[start : start + side] += 1
    assert covered.min() >= 1
    assert starts == sorted(set(starts))


def test_half_overlapping_windows_and_the_last_one_pushed_back() -> None:
    assert window_starts(65, 32, 0.5) == [0, 16, 32, 33]
    assert window_starts(64, 32, 0.5) == [0, 16, 32]
    assert window_starts(32, 32, 0.5) == [0]
    assert window_starts(5, 2, 0.0) == [0, 2, 3]
    assert window_starts(4, 1, 0.5) == [0, 1, 2, 3]


@pytest.mark.parametrize("side", [8, 16, 32, 128])
def test_weights_are_a_blurred_point_scaled_to_one(side: int) -> None:
    point = np.zeros(side)
    point[side // 2] = 1
    blurred = ndimage.gaussian_filter(point, side / 8, mode="constant")
    blurred /= blurred.max()
    blurred[blurred == 0] = blurred[blurred > 0].min()

    np.testing.assert_allclose(gaussian_profile(side), blurred, rtol=1e-5)


def test_the_smallest_weight_of_a_window_is_not_zero() -> None:
    z, y, x = (gaussian_profile(side) for side in (32, 128, 128))
    weights = z[:, None, None] * y[:, None] * x

    assert weights.max() == 1
    assert weights.min() > 1e-11


def slow_reference(
    volume: np.ndarray, window: tuple[int, int, int], overlap: float
) -> np.ndarray:
    """Average each voxel over all windows that hold it, one voxel at a time."""
    sides = [min(pair) for pair in zip(window, volume.shape, strict=True)]
    axes = [
        window_starts(size, side, overlap)
        for size, side in zip(volume.shape, sides, strict=True)
    ]
    predictions = {}
    for corner in itertools.product(*axes):
        box = tuple(slice(a, a + side) for a, side in zip(corner, sides, strict=True))
        patch = torch.from_numpy(volume[box].copy())[None, None]
        predictions[corner] = darker_away_from_the_corner(patch)[0, 0].numpy()
    result = np.zeros(volume.shape)
    for voxel in np.ndindex(*volume.shape):
        weight_sum = 0.0
        for corner, patch in predictions.items():
            place = tuple(v - c for v, c in zip(voxel, corner, strict=True))
            if all(0 <= p < side for p, side in zip(place, sides, strict=True)):
                distance = sum(
                    ((p - side // 2) / (side / 8)) ** 2
                    for p, side in zip(place, sides, strict=True)
                )
                weight = np.exp(-0.5 * distance)
                weight_sum += weight
                result[voxel] += weight * patch[place]
        result[voxel] /= weight_sum
    return result


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
@pytest.mark.parametrize("window", [(4, 6, 5), (3, 4, 32)])
def test_each_voxel_is_the_weighted_mean_of_its_windows(
    window: tuple[int, int, int], overlap: float
) -> None:
    volume = noise(7, 9, 11)

    found = predict_volume(
        darker_away_from_the_corner,
        volume,
        window=window,
        overlap=overlap,
        batch_size=3,
    )

    expected = slow_reference(volume.double().numpy(), window, overlap)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(7, 20, 33), (1, 7, 20, 33), (40, 16, 16)])
def test_the_identity_returns_the_volume(shape: tuple[int, ...]) -> None:
    volume = noise(*shape)

    found = predict_volume(lambda x: x, volume, window=(8, 16, 16))

    assert found.shape == volume.shape
    torch.testing.assert_close(found, volume, rtol=1e-5, atol=1e-6)


def test_a_constant_prediction_has_no_seams() -> None:
    found = predict_volume(
        lambda x: torch.full_like(x, 3.7), noise(9, 40, 40), window=(8, 16, 16)
    )

    torch.testing.assert_close(found, torch.full_like(found, 3.7), rtol=1e-5, atol=0)


@pytest.mark.parametrize("batch_size", [2, 5, 1000])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    volume = noise(9, 20, 20)
    sizes = []

    def predict(windows: Tensor) -> Tensor:
        sizes.append(len(windows))
        return darker_away_from_the_corner(windows)

    one = predict_volume(darker_away_from_the_corner, volume, window=(4, 8, 8))
    many = predict_volume(predict, volume, window=(4, 8, 8), batch_size=batch_size)

    assert torch.equal(one, many)
    assert max(sizes) == min(batch_size, sum(sizes))


def test_a_window_larger_than_the_volume_shrinks_to_it() -> None:
    shapes = []

    def predict(windows: Tensor) -> Tensor:
        shapes.append(tuple(windows.shape))
        return windows

    predict_volume(predict, noise(6, 10, 12), window=(32, 8, 128))

    assert set(shapes) == {(1, 1, 6, 8, 12)}
    assert len(shapes) == 2


def test_half_precision_predictions_are_averaged_in_full() -> None:
    volume = noise(8, 16, 16)

    found = predict_volume(lambda x: x.bfloat16(), volume, window=(4, 8, 8))

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, volume.bfloat16().float(), rtol=1e-5, atol=1e-6)


def test_no_gradients_are_kept() -> None:
    layer = torch.nn.Conv3d(1, 1, 3, padding=1)

    assert not predict_volume(layer, noise(4, 8, 8), window=(4, 4, 4)).requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"volume": torch.zeros(2, 4, 4, 4)},
            r"volume: expected shape .*\(2, 4, 4, 4\)",
        ),
        ({"volume": torch.zeros(4, 4)}, "volume: expected shape"),
        ({"volume": torch.zeros(0, 4, 4)}, "volume: expected shape"),
        ({"window": (4, 4)}, r"window=\[4, 4\]"),
        ({"window": (4, 0, 4)}, r"window=\[4, 0, 4\]"),
        ({"overlap": 1.0}, "overlap=1.0"),
        ({"overlap": -0.1}, "overlap=-0.1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"predict": lambda x: x[..., 1:]}, "predict returned shape"),
    ],
)
def test_impossible_arguments_are_named(
    arguments: dict[str, object], message: str
) -> None:
    settings = {"predict": lambda x: x, "volume": torch.zeros(4, 4, 4)} | arguments
    with pytest.raises(UserError, match=message):
        predict_volume(settings.pop("predict"), settings.pop("volume"), **settings)

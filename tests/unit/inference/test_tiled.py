import itertools
import logging
import sys
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.inference.tiled import predict_into, predict_volume
from continual_repmode.inference.windows import WindowGrid, window_starts


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def darker_away_from_the_corner(windows: Tensor) -> Tensor:
    """Predict something that depends on the place within the window."""
    sides = windows.shape[2:]
    z, y, x = torch.meshgrid(*[torch.arange(side) for side in sides], indexing="ij")
    return windows.square() - 0.1 * z + 0.05 * y - 0.02 * x


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
def test_each_voxel_is_the_weighted_mean_of_its_windows(window, overlap):
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


def test_the_identity_returns_the_volume():
    for shape in ((7, 20, 33), (1, 7, 20, 33), (40, 16, 16)):
        volume = noise(*shape)
        found = predict_volume(lambda x: x, volume, window=(8, 16, 16))
        torch.testing.assert_close(found, volume, rtol=1e-5, atol=1e-6)


def test_the_batch_size_changes_nothing():
    volume, sizes = noise(9, 20, 20), []

    def predict(windows):
        sizes.append(len(windows))
        return darker_away_from_the_corner(windows)

    one = predict_volume(darker_away_from_the_corner, volume, window=(4, 8, 8))
    for batch_size in (2, 5, 1000):
        sizes.clear()
        many = predict_volume(predict, volume, window=(4, 8, 8), batch_size=batch_size)
        assert torch.equal(one, many), batch_size
        assert max(sizes) == min(batch_size, sum(sizes))


def test_a_window_larger_than_the_volume_shrinks_to_it():
    shapes = []

    def predict(windows: Tensor) -> Tensor:
        shapes.append(tuple(windows.shape))
        return windows

    predict_volume(predict, noise(6, 10, 12), window=(32, 8, 128))

    assert set(shapes) == {(1, 1, 6, 8, 12)}
    assert len(shapes) == 2


@pytest.mark.parametrize("shape", [(8, 16, 16), (1, 8, 16, 16)])
def test_several_channels_are_predicted_from_one_reading(shape):
    volume = noise(*shape)
    arguments = {"window": (4, 8, 8), "batch_size": 2}

    both = predict_volume(
        lambda x: torch.cat([darker_away_from_the_corner(x), -x], dim=1),
        volume,
        **arguments,
    )

    assert both.shape == (2, 8, 16, 16)
    one = predict_volume(darker_away_from_the_corner, volume, **arguments)
    other = predict_volume(lambda x: -x, volume, **arguments)
    assert torch.equal(both, torch.stack([one, other]).reshape(both.shape))


@settings(deadline=None, max_examples=50)
@given(
    st.tuples(st.integers(1, 16), st.integers(1, 24), st.integers(1, 24)),
    st.tuples(st.integers(2, 8), st.integers(4, 10), st.integers(4, 10)),
    st.sampled_from([0.0, 0.2, 0.5, 0.6]),
    st.integers(1, 40),
)
def test_volumes_in_files_and_batches_of_any_size_give_the_same_bits(
    shape, window, overlap, batch_size
):
    volume = noise(*shape)
    grid = WindowGrid.over(shape, window, overlap)
    expected = predict_volume(
        darker_away_from_the_corner, volume, window=window, overlap=overlap
    )

    with TemporaryDirectory() as folder:
        signal = np.lib.format.open_memmap(
            Path(folder) / "signal.npy", "w+", np.float32, shape
        )
        signal[:] = volume.numpy()
        found = np.lib.format.open_memmap(
            Path(folder) / "prediction.npy", "w+", np.float32, (1, *shape)
        )
        predict_into(
            darker_away_from_the_corner,
            signal,
            lambda channels: found,
            grid,
            batch_size=batch_size,
        )
        np.testing.assert_array_equal(found[0], expected.numpy())


class SmallDevice:
    """Predicts up to so many windows at a time, and has no memory for more."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.batches: list[int] = []

    def __call__(self, windows: Tensor) -> Tensor:
        if len(self.batches) == 4:
            self.most = min(self.most, 2)  # something else takes memory meanwhile
        self.batches.append(len(windows))
        if len(windows) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return darker_away_from_the_corner(windows)


def test_the_batch_halves_when_memory_runs_out_and_the_run_goes_on(caplog):
    volume, options = noise(9, 20, 20), {"window": (4, 8, 8), "overlap": 0.5}
    predict = SmallDevice(most=5)

    with caplog.at_level(logging.WARNING):
        found = predict_volume(predict, volume, batch_size=16, **options)

    assert predict.batches[:7] == [16, 8, 4, 4, 4, 2, 2]
    assert len(caplog.records) == 3
    assert torch.equal(
        found, predict_volume(darker_away_from_the_corner, volume, **options)
    )


def test_a_window_that_does_not_fit_the_device_is_named():
    with pytest.raises(UserError, match=r"window=\[4, 8, 8\] with batch_size=1: cpu"):
        predict_volume(
            SmallDevice(most=0), noise(9, 20, 20), window=(4, 8, 8), batch_size=8
        )


def test_the_bar_counts_windows(monkeypatch):
    terminal = StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)

    predict_volume(
        lambda x: x,
        noise(8, 16, 16),
        window=(4, 8, 8),
        overlap=0.5,
        batch_size=4,
        progress=True,
    )

    assert "27/27" in terminal.getvalue()
    assert "window/s" in terminal.getvalue()


def test_half_precision_predictions_are_averaged_in_full():
    volume = noise(8, 16, 16)

    found = predict_volume(lambda x: x.bfloat16(), volume, window=(4, 8, 8))

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, volume.bfloat16().float(), rtol=1e-5, atol=1e-6)


def test_no_gradients_are_kept():
    layer = torch.nn.Conv3d(1, 1, 3, padding=1)

    assert not predict_volume(layer, noise(4, 8, 8), window=(4, 4, 4)).requires_grad


def test_impossible_arguments_are_named():
    for arguments, message in (
        ({"volume": torch.zeros(2, 4, 4, 4)}, r"volume: .* shape .*\(2, 4, 4, 4\)"),
        ({"volume": torch.zeros(4, 4)}, "volume: expected shape"),
        ({"volume": torch.zeros(0, 4, 4)}, "volume: expected shape"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"predict": lambda x: x[..., 1:]}, "predict returned shape"),
    ):
        settings = {"predict": lambda x: x, "volume": torch.zeros(4, 4, 4)} | arguments
        with pytest.raises(UserError, match=message):
            predict_volume(**settings)


def test_what_was_not_recorded_is_not_predicted() -> None:
    volume = noise(6, 20, 40)
    volume[..., 22:] = torch.nan
    seen: list[int] = []

    def predict(windows: Tensor) -> Tensor:
        seen.append(len(windows))
        assert windows.isfinite().all()
        return darker_away_from_the_corner(windows)

    for batch_size in (1, 4):
        seen.clear()
        found = predict_volume(
            predict, volume, window=(4, 8, 8), overlap=0.5, batch_size=batch_size
        )
        grid = WindowGrid.over((6, 20, 40), (4, 8, 8), 0.5)
        filled = slow_reference(volume.nan_to_num(0).numpy(), (4, 8, 8), 0.5)
        np.testing.assert_allclose(found[..., :22], filled[..., :22], atol=1e-5)
        assert found[..., 22:].isnan().all()
        assert sum(seen) < 0.75 * grid.num_windows
    with pytest.raises(UserError, match="nothing to predict from"):
        predict_volume(predict, torch.full((4, 8, 8), torch.nan), window=(4, 8, 8))

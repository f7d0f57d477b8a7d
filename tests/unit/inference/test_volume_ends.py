from pathlib import Path

import numpy as np
import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.inference.volume_ends import (
    ArraySink,
    ArraySource,
    TensorSink,
    TensorSource,
)

BOX = (slice(1, 3), slice(0, 4), slice(2, 5))


@pytest.mark.parametrize("dtype", ["u1", ">u2", "i4", "f2", "f4", ">f8"])
def test_arrays_of_any_type_are_normalized_as_they_are_read(dtype: str) -> None:
    volume = np.random.default_rng(0).integers(0, 200, (4, 5, 6)).astype(dtype)

    found = ArraySource(volume, mean=90.5, std=31.0).read(BOX)

    assert found.dtype == torch.float32
    expected = ((volume.astype(np.float64) - 90.5) / 31.0).astype(np.float32)
    np.testing.assert_array_equal(found, expected[BOX])


def test_a_large_offset_leaves_the_contrast_exact() -> None:
    volume = np.full((1, 1, 2), 100_000_000, np.int32)
    volume[0, 0, 1] += 1

    found = ArraySource(volume, mean=1e8, std=1.0).read((slice(0, 1),) * 2 + BOX[1:2])

    assert found.flatten().tolist() == [0.0, 1.0]


def test_a_memory_map_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "volume.npy"
    np.save(path, np.arange(60, dtype=np.float32).reshape(3, 4, 5))

    source = ArraySource(np.load(path, mmap_mode="r"), mean=30, std=7)

    assert source.shape == (3, 4, 5)
    source.read(BOX).zero_()
    assert np.load(path)[2, 3, 4] == 59


def test_tensors_are_read_as_float32() -> None:
    signal = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0)).half()

    found = TensorSource(signal).read(BOX)

    assert found.dtype == torch.float32
    assert torch.equal(found, signal.float()[BOX])


def test_blocks_land_where_they_belong(tmp_path: Path) -> None:
    block = torch.arange(48.0).reshape(2, 2, 4, 3)
    path = tmp_path / "prediction.npy"
    mapped = np.lib.format.open_memmap(path, "w+", np.float16, (2, 4, 5, 6))
    in_memory = TensorSink((4, 5, 6), torch.device("cpu"))

    ArraySink(mapped).write(BOX, block)
    in_memory.write(BOX, block)
    mapped.flush()

    np.testing.assert_array_equal(np.load(path)[:, 1:3, 0:4, 2:5], block.numpy())
    assert np.load(path).sum() == block.sum()
    assert in_memory.prediction.shape == (2, 4, 5, 6)
    assert torch.equal(in_memory.prediction[:, *BOX], block)


def test_an_array_without_a_channel_axis_takes_one_channel() -> None:
    array = np.zeros((4, 5, 6), np.float32)

    ArraySink(array).write(BOX, torch.ones(1, 2, 4, 3))

    assert array.sum() == 24
    assert array[BOX].all()


def test_arrays_that_do_not_serve_are_named() -> None:
    with pytest.raises(UserError, match=r"\(Z, Y, X\), got \(4, 5\)"):
        ArraySource(np.zeros((4, 5)))
    with pytest.raises(UserError, match=r"std=0\.0"):
        ArraySource(np.zeros((4, 5, 6)), std=0.0)
    with pytest.raises(UserError, match="array of uint8"):
        ArraySink(np.zeros((4, 5, 6), np.uint8))
    with pytest.raises(UserError, match="2 channels, the array to write to 1"):
        ArraySink(np.zeros((4, 5, 6))).write(BOX, torch.ones(2, 2, 4, 3))

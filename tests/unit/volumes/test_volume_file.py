import errno
import os

import numpy as np
import pytest

from continual_repmode.measuring import resident_bytes
from continual_repmode.volumes.volume_file import VolumeFile


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_it_is_used_like_an_array_and_numpy_reads_the_file(tmp_path):
    volume, expected = VolumeFile(tmp_path / "a.npy", (5, 6, 7)), np.zeros((5, 6, 7))
    volume.create()
    for box in (
        np.s_[1:4, 2:5, :3],
        np.s_[1:4, 2:5, 3:],
        np.s_[:2, 1:4],
        np.s_[4],
        np.s_[:, 5],
    ):
        volume[box] = expected[box] = noise(*expected[box].shape)
        np.testing.assert_array_equal(volume[box], expected[box])
    volume.settle()

    np.testing.assert_array_equal(np.load(volume.path), expected.astype(np.float32))
    opened = VolumeFile(volume.path, (5, 6, 7))
    part = opened[:2]
    part += 1
    np.testing.assert_array_equal(opened[:2] + 1, part, "parts are copies")

    volume.create()
    assert not volume[:].any()


@pytest.mark.parametrize("reserving", [True, False])
def test_its_space_on_the_disk_is_reserved_before_anything_is_written(
    tmp_path, monkeypatch, reserving
):
    if not reserving:
        monkeypatch.delattr(os, "posix_fallocate")
    volume = VolumeFile(tmp_path / "a.npy", (16, 256, 255))
    volume.create()
    assert 512 * volume.path.stat().st_blocks >= 4 * 16 * 256 * 255
    assert not np.load(volume.path).any()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if reserving:
        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="No space left"):
            volume.create()


def test_passing_through_a_file_takes_no_more_memory_than_a_part(tmp_path):
    volume = VolumeFile(tmp_path / "large.npy", (256, 512, 512))
    volume.create()
    before = resident_bytes()
    assert before is not None
    plane = np.ones((1, 512, 512), np.float32)
    for z in range(256):
        volume[z : z + 1] = plane
    for z in range(256):
        assert volume[z : z + 1].sum() == plane.size

    assert resident_bytes() - before < 80_000_000 < volume.path.stat().st_size

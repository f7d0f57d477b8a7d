import numpy as np
import pytest
import torch

from continual_repmode.data.collection import Intensity
from continual_repmode.measuring import resident_bytes
from continual_repmode.prediction.volume_file import (
    FileSink,
    FileSource,
    ScaledPlanes,
    VolumeFile,
)

BOX = (slice(1, 4), slice(2, 5), slice(0, 3))


@pytest.fixture
def volume(tmp_path) -> VolumeFile:
    made = VolumeFile(tmp_path / "volume.npy", (5, 6, 7))
    made.create()
    return made


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_what_is_written_in_boxes_is_an_array_that_numpy_reads(volume):
    expected = np.zeros(volume.shape, np.float32)
    for x in (slice(0, 3), slice(3, 7)):
        box = (slice(1, 4), slice(2, 5), x)
        expected[box] = noise(3, 3, x.stop - x.start)
        volume.write_box(box, expected[box])

    np.testing.assert_array_equal(np.load(volume.path), expected)
    np.testing.assert_array_equal(volume.read_box(BOX), expected[BOX])
    np.testing.assert_array_equal(volume.read(slice(2, 4)), expected[2:4])


def test_rows_of_planes_are_assigned_as_to_an_array(volume):
    block = noise(2, 3, 7)

    volume[slice(0, 2), slice(1, 4)] = block

    np.testing.assert_array_equal(np.load(volume.path)[:2, 1:4], block)


def test_it_is_a_source_and_a_sink_of_predictions(volume):
    block = torch.from_numpy(noise(1, 3, 3, 3))

    FileSink(volume).write(BOX, block)

    assert FileSource(volume).shape == volume.shape
    assert torch.equal(FileSource(volume).read(BOX), block[0])


def test_scaled_planes_undo_a_zscore(volume):
    volume[slice(0, 5), slice(0, 6)] = noise(5, 6, 7)

    scaled = ScaledPlanes(volume, Intensity(400.0, 20.0))

    expected = noise(5, 6, 7)[1:3] * 20 + 400
    np.testing.assert_allclose(scaled.read(slice(1, 3)), expected, rtol=1e-6)
    assert scaled.shape == volume.shape


def test_passing_through_a_file_takes_no_more_memory_than_a_part(tmp_path):
    volume = VolumeFile(tmp_path / "large.npy", (64, 512, 512))
    volume.create()
    before = resident_bytes("VmRSS")
    if before is None:
        pytest.skip("the system does not tell")
    plane = np.ones((1, 512, 512), np.float32)
    for z in range(64):
        volume[slice(z, z + 1), slice(0, 512)] = plane
    for z in range(64):
        assert volume.read(slice(z, z + 1)).sum() == plane.size

    assert resident_bytes("VmRSS") - before < 20_000_000 < volume.path.stat().st_size

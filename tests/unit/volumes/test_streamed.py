from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.volumes import streamed
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.normalization import zscore
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.source_channels import SourceChannel
from continual_repmode.volumes.streamed import ZscoredChannel, channel_statistics
from continual_repmode.volumes.volume import VolumeReader

UM = (0.3, 0.1, 0.1)


def saved(folder: Path, *channels: np.ndarray, take: int = 0) -> SourceChannel:
    """Return one of the channels of a file."""
    names = [f"c{index}" for index in range(len(channels))]
    path = save_volume(
        folder / "a.npy", np.stack(channels), axes="CZYX", voxel_size_um=UM,
        channel_names=names,
    )  # fmt: skip
    return SourceChannel.whole(open_volume(path), take)


@dataclass
class Recording:
    """A reader that remembers which planes it was asked for."""

    volume: VolumeReader
    asked: list[slice] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        return getattr(self.volume, name)

    def read_channel(self, channel: int, planes: slice) -> np.ndarray:
        self.asked.append(planes)
        return self.volume.read_channel(channel, planes)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
def test_statistics_are_those_of_the_whole_channel(
    tmp_path: Path, offset: float
) -> None:
    rng = np.random.default_rng(0)
    trend = np.linspace(0, 50, 9)[:, None, None]  # so that planes differ in their mean
    channel = offset + trend + 3 * rng.standard_normal((9, 20, 30))
    source = saved(tmp_path, -channel, channel, take=1)

    found = channel_statistics(source).intensity

    _, expected = zscore(channel)
    assert found.mean == pytest.approx(expected.mean, rel=1e-13)
    assert found.std == pytest.approx(expected.std, rel=1e-11)


def test_a_channel_is_read_a_few_planes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = np.arange(7 * 4 * 5, dtype=np.uint16).reshape(7, 4, 5)
    source = saved(tmp_path, channel)
    volume = Recording(source.volume)
    monkeypatch.setattr(streamed, "_BLOCK_BYTES", 2 * 4 * 5 * 3 + 1)

    known = channel_statistics(replace(source, volume=volume))

    found = known.intensity
    assert volume.asked == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert found.mean == 69.5
    assert found.std == pytest.approx(channel.std())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted_and_refused(
    tmp_path: Path, bad: float
) -> None:
    channel = np.random.default_rng(0).random((5, 6, 7))
    channel[1, 2, 3] = channel[4, 0, 0] = bad
    with pytest.raises(UserError, match=r"a\.npy, channel 0 \(c0\): .*2 NaN or inf"):
        channel_statistics(saved(tmp_path, channel))


def test_a_constant_channel_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path, np.zeros((5, 6, 7)), np.full((5, 6, 7), 12.5), take=1)

    with pytest.raises(UserError, match=r"channel 1 \(c1\): .*every voxel is 12\.5"):
        channel_statistics(source)


def test_planes_that_are_constant_each_make_no_constant_channel(tmp_path: Path) -> None:
    planes = np.repeat(np.array([1.0, 2.0, 4.0]), 30).reshape(3, 5, 6)

    found = channel_statistics(saved(tmp_path, planes)).intensity

    assert (found.mean, found.std) == pytest.approx((planes.mean(), planes.std()))


def test_planes_are_those_of_the_z_score(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    channel = rng.integers(60_000, 60_010, (6, 7, 8)).astype(np.uint16)
    expected, intensity = zscore(channel)

    source = ZscoredChannel(saved(tmp_path, channel), intensity)

    assert source.shape == (6, 7, 8)
    planes = source[2:5]
    assert planes.dtype == np.float32
    np.testing.assert_array_equal(planes, expected[2:5])

import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.prediction.preparing import prepare_channel
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.preparation import Preparation
from continual_repmode.volumes.source_channels import SourceChannel
from continual_repmode.volumes.volume_file import VolumeFile

UM = (0.3, 0.1, 0.12)
CROP = (slice(1, 6), slice(3, 20), slice(0, 11))


@pytest.fixture
def source(tmp_path, light) -> SourceChannel:
    path = tmp_path / "light.ome.tif"
    channels = np.stack([light[::-1], light])
    save_volume(path, channels, axes="CZYX", voxel_size_um=UM)
    return SourceChannel.whole(open_volume(path), 1)


@pytest.mark.parametrize("order", ["zscore_first", "resize_first"])
@pytest.mark.parametrize("resize", ["paper", "fast"])
@pytest.mark.parametrize("box", [None, CROP])
def test_it_equals_the_preparation_for_training(
    tmp_path, source, light, order, resize, box
):
    box = box or source.box
    preparation = Preparation((0.3, 0.3, 0.3), resize, order, "float32")
    expected, intensity = preparation.apply(light[box], UM)
    target = VolumeFile(tmp_path / "signal.npy", expected.shape)

    found = prepare_channel(
        SourceChannel(source.volume, 1, box), target, preparation,
        memory_bytes=20_000_000,
    )  # fmt: skip

    np.testing.assert_allclose(np.load(target.path), expected, atol=2e-5)
    assert found.intensity.mean == pytest.approx(intensity.mean, rel=1e-6)
    assert found.intensity.std == pytest.approx(intensity.std, rel=1e-5)
    assert [path.name for path in tmp_path.glob("*.npy")] == ["signal.npy"]


@pytest.mark.parametrize("order", ["zscore_first", "resize_first"])
def test_padding_is_nan_as_in_the_preparation_for_training(tmp_path, order):
    raw = np.random.default_rng(0).integers(200, 400, (2, 6, 40, 30)).astype("u2")
    raw[0, :, :9] = 0
    raw[1, :2] = 0
    path = save_volume(
        tmp_path / "a.ome.tif", raw, axes="CZYX", voxel_size_um=(0.3, 0.1, 0.1)
    )
    volume, hidden = open_volume(path), [raw[0] == 0, (raw == 0).any(axis=0)]
    preparation = Preparation((0.3, 0.3, 0.3), "paper", order, "float32")
    known = []
    for channel, name in enumerate(("signal", "target")):
        expected, intensity = preparation.apply(raw[channel], UM, hidden[channel])
        made = VolumeFile(tmp_path / f"{name}.npy", expected.shape)
        known.append(
            prepare_channel(
                SourceChannel.whole(volume, channel), made, preparation,
                memory_bytes=20_000_000, strict=channel == 1,
                beside=known[0].hidden if known else None,
            )
        )  # fmt: skip
        np.testing.assert_allclose(np.load(made.path), expected, atol=2e-5)
        assert known[-1].intensity.mean == pytest.approx(intensity.mean, rel=1e-6)
    assert known[0].padding.share == 9 / 40
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_a_constant_channel_is_refused_by_its_name(tmp_path):
    path = save_volume(
        tmp_path / "flat.ome.tif", np.ones((3, 4, 5), np.uint8), axes="ZYX",
        voxel_size_um=UM,
    )  # fmt: skip
    source = SourceChannel.whole(open_volume(path), 0)
    target = VolumeFile(tmp_path / "signal.npy", (3, 1, 2))

    with pytest.raises(UserError, match=r"flat\.ome\.tif.*constant"):
        prepare_channel(source, target, Preparation(), memory_bytes=20_000_000)


def test_planes_of_a_box_are_those_of_the_crop(source, light):
    box = SourceChannel(source.volume, 1, CROP)

    assert box.shape == (5, 17, 11)
    np.testing.assert_array_equal(box.read(), light[CROP])
    np.testing.assert_array_equal(box.read(slice(1, 3)), light[CROP][1:3])
    np.testing.assert_array_equal(box.read(slice(3, 9)), light[CROP][3:])

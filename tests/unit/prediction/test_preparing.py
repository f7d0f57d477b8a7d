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
    assert found.mean == pytest.approx(intensity.mean, rel=1e-6)
    assert found.std == pytest.approx(intensity.std, rel=1e-5)
    assert [path.name for path in tmp_path.glob("*.npy")] == ["signal.npy"]


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

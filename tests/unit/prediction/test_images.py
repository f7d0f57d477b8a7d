from pathlib import Path

import numpy as np
import pytest
import zarr

from continual_repmode.errors import UserError
from continual_repmode.prediction.images import light_channel, open_image, with_target
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume

UM = (0.3, 0.1, 0.1)
MODEL_UM = (0.3, 0.3, 0.3)


def save(path: Path, *channel_names: str, shape=(3, 8, 9), um=UM) -> Path:
    array = np.arange(len(channel_names) * np.prod(shape), dtype=np.uint16)
    return save_volume(
        path,
        array.reshape(len(channel_names), *shape),
        axes="CZYX",
        voxel_size_um=um,
        channel_names=channel_names,
    )


def opened(path: Path, **options):
    defaults = {"channel": None, "choices": {}, "source_um": None, "model_um": MODEL_UM}
    return open_image(path, path.stem, **{**defaults, **options})


def test_the_only_channel_named_like_light_is_the_signal(tmp_path):
    path = save(tmp_path / "a.ome.tif", "EGFP", "TL Brightfield", "DAPI")

    image = opened(path)

    assert image.signal.channel == 1
    assert image.shape == image.signal.shape == (3, 8, 9)
    assert image.voxel_size_um == pytest.approx(UM)


def test_a_single_channel_needs_no_name(tmp_path):
    assert opened(save(tmp_path / "a.ome.tif", "whatever")).signal.channel == 0


@pytest.mark.parametrize("wanted", ["DAPI", "dapi", "1", 1])
def test_the_channel_may_be_chosen_by_name_or_index(tmp_path, wanted):
    volume = open_volume(save(tmp_path / "a.ome.tif", "Bright", "DAPI"))

    assert light_channel(volume, wanted) == 1


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("EGFP", "DAPI"), "no channel is named like"),
        (("Bright_1", "EGFP", "Bright_2"), "several channels look like"),
    ],
)
def test_an_open_choice_is_told_with_the_channels_and_the_flag(
    tmp_path, names, problem
):
    volume = open_volume(save(tmp_path / "a.ome.tif", *names))

    with pytest.raises(UserError, match=f"{problem}.*0 '{names[0]}'.*--channel"):
        light_channel(volume, None)


def test_an_unknown_voxel_size_is_refused_unless_it_is_given(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((3, 4, 5)))

    with pytest.raises(UserError, match=r"a\.npy.*--voxel-size Z Y X"):
        opened(path)
    assert opened(path, source_um=UM).voxel_size_um == UM


def test_a_given_voxel_size_wins_over_the_file_and_this_is_said(tmp_path):
    path = save(tmp_path / "a.ome.tif", "light")

    image = opened(path, source_um=(9.0, 9.0, 9.0))

    assert image.signal_um == image.voxel_size_um == (9.0, 9.0, 9.0)
    assert image.note == "as given, not 0.3 x 0.1 x 0.1 µm in its metadata"
    assert opened(path).note == opened(path, source_um=UM).note == ""


def test_an_absurd_voxel_size_is_mended_by_the_one_that_is_given(tmp_path):
    path = save(tmp_path / "a.npy", "light")
    sidecar = path.with_suffix(".json")
    sidecar.write_text(sidecar.read_text().replace("0.3", "7366"))

    with pytest.raises(UserError, match=r"7366 um along z.*--voxel-size Z Y X"):
        opened(path)
    assert opened(path, source_um=UM).signal_um == UM


def test_a_coarser_level_is_read_but_the_finest_is_the_grid(tmp_path):
    path = save(tmp_path / "a.ome.zarr", "light", shape=(3, 8, 12))
    group = zarr.open_group(str(path), mode="r+")
    half = np.asarray(group["0"])[..., ::2, ::2]
    group.create_array("1", data=half, dimension_names=["c", "z", "y", "x"])
    ome = dict(group.attrs["ome"])
    scale = {"type": "scale", "scale": [1.0, 0.3, 0.2, 0.2]}
    ome["multiscales"][0]["datasets"].append(
        {"path": "1", "coordinateTransformations": [scale]}
    )
    group.attrs["ome"] = ome

    image = opened(path)
    chosen = opened(path, choices={"level": "1"})
    given = opened(path, source_um=(1.0, 1.0, 1.0))

    assert (image.signal.shape, image.shape) == ((3, 4, 6), (3, 8, 12))
    assert (image.signal_um, image.voxel_size_um) == ((0.3, 0.2, 0.2), UM)
    assert (chosen.shape, chosen.voxel_size_um) == ((3, 4, 6), (0.3, 0.2, 0.2))
    assert given.signal.shape == given.shape == (3, 8, 12)  # of the full resolution


def test_a_target_is_a_channel_or_a_file_of_the_same_shape(tmp_path):
    image = opened(save(tmp_path / "a.ome.tif", "Bright", "DAPI"))
    other = open_volume(save(tmp_path / "t.ome.tif", "DAPI"))
    small = open_volume(save(tmp_path / "s.ome.tif", "DAPI", shape=(3, 8, 8)))

    assert with_target(image, "dna", "dapi").targets["dna"].channel == 1
    assert with_target(image, "dna", other).targets["dna"].volume is other
    with pytest.raises(UserError, match=r"s\.ome\.tif.*\(3, 8, 8\)"):
        with_target(image, "dna", small)
    coarse = open_volume(save(tmp_path / "c.ome.tif", "DAPI", um=(0.3, 0.2, 0.2)))
    with pytest.raises(
        UserError, match=r"c\.ome\.tif: has voxels of 0\.3 x 0\.2 x 0\.2"
    ):
        with_target(image, "dna", coarse)
    assert with_target(image, "dna", coarse, size_given=True).targets
    with pytest.raises(UserError, match="is the signal"):
        with_target(image, "dna", 0)
    with pytest.raises(UserError, match="a target of 2 channels"):
        with_target(image, "dna", image.signal.volume)

"""Stacks of one plane per file, against the arrays that were written."""

from pathlib import Path

import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.manifests.manifest import ManifestCollection
from continual_repmode.volumes.formats import plain_stem
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume

UM = (0.5, 0.2, 0.2)


def write_planes(folder: Path, name: str, stack: np.ndarray, first=8) -> None:
    for z, plane in enumerate(stack, first):
        path = folder / name.format(z=z)
        save_volume(path, plane, axes="YX", voxel_size_um=UM)


@pytest.fixture
def stacks(tmp_path: Path) -> dict[str, np.ndarray]:
    """Return what was written to ``B02 (1)/<channel>_z<number>.ome.tif``."""
    rng = np.random.default_rng(0)
    made = {c: rng.integers(0, 999, (5, 6, 7)).astype(np.uint16) for c in ("bf", "c10")}
    for channel, stack in made.items():
        write_planes(tmp_path / "B02 (1)", f"{channel}_z{{z}}.ome.tif", stack)
    return made


def test_planes_are_read_in_the_order_of_their_numbers(tmp_path, stacks):
    volume = open_volume(tmp_path / "B02 (1)" / "{channel}_z{z}.ome.tif")

    assert (volume.axes, volume.shape) == ("CZYX", (2, 5, 6, 7))
    assert volume.channel_names == ("bf", "c10")
    assert volume.voxel_size_um == pytest.approx(UM)
    assert len(volume.files) == 10  # 8, 9, 10, 11, 12: not as texts are sorted
    for channel, stack in stacks.items():
        np.testing.assert_array_equal(volume.read_channel(channel), stack)
        part = volume.read_channel(channel, slice(3, 0, -2))
        np.testing.assert_array_equal(part, stack[3:0:-2])
        one = open_volume(tmp_path / "B02 (1)" / f"{channel}_z{{z}}.ome.tif")
        assert (one.axes, one.shape) == ("ZYX", (5, 6, 7))
        np.testing.assert_array_equal(one.read_channel(0), stack)
    assert plain_stem(volume.path) == "stack"
    assert plain_stem(Path("plate/A1-{channel}_z{z}.ome.tif")) == "A1"


def test_folders_may_have_the_numbers_and_files_several_channels(tmp_path):
    stack = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(3, 2, 4, 5)
    for z in range(3):
        save_volume(
            tmp_path / f"z{z:02}" / f"field_{z:02}.ome.tif", stack[z],
            axes="CYX", voxel_size_um=UM, channel_names=["Bright", "DAPI"],
        )  # fmt: skip

    volume = open_volume(tmp_path / "z{z}" / "field_{z}.ome.tif")

    assert volume.channel_names == ("Bright", "DAPI")
    np.testing.assert_array_equal(volume.read_channel("DAPI"), stack[:, 1])


def test_a_manifest_lists_them_in_its_path_columns(tmp_path, stacks):
    (tmp_path / "one.csv").write_text(
        "task,path,channel_signal,channel_target,split\n"
        "dna,B02 (1)/{channel}_z{z}.ome.tif,bf,c10,train\n"
    )
    (tmp_path / "two.csv").write_text(
        "task,path_signal,path_target,split\n"
        "dna,B02 (1)/bf_z{z}.ome.tif,B02 (1)/c10_z{z}.ome.tif,train\n"
    )
    for name in ("one", "two"):
        collection = ManifestCollection(
            tmp_path / f"{name}.csv", voxel_size_um=UM, storage="float32",
            cache_dir=tmp_path / name,
        )  # fmt: skip
        (pair,) = collection.pairs("dna", "train")
        loaded = pair.load()
        for found, channel in ((loaded.signal, "bf"), (loaded.target, "c10")):
            expected = stacks[channel].astype(np.float64)
            expected = (expected - expected.mean()) / expected.std()
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_is_no_whole_stack_is_told_in_a_line(tmp_path, stacks):
    folder = tmp_path / "B02 (1)"
    save_volume(folder / "s_z1.ome.tif", stacks["bf"], axes="ZYX", voxel_size_um=UM)
    (folder / "d_z1.npy").touch()
    (folder / "d_z01.npy").touch()
    (folder / "c10_z12.ome.tif").unlink()
    (folder / "bf_z9.ome.tif").unlink()
    odd = np.zeros((6, 8), np.uint16)
    for z in (1, 2):
        plane = odd if z == 2 else odd[:, :7]
        save_volume(folder / f"o_z{z}.ome.tif", plane, axes="YX", voxel_size_um=UM)
    for name, message in (
        ("x_z{z}.tif", r"no file is named so; \{z\} stands for a number"),
        ("d_z{z}.npy", "d_z0?1.npy and d_z0?1.npy are both plane 1; keep one"),
        ("s_z{z}.ome.tif", r"holds 5 planes; \{z\} is for files of one plane"),
        ("bf_z{z}.ome.tif", "planes (8 and 10|10 and 11) follow each other"),
        ("{channel}_z{z}.ome.tif", "is not there in every channel"),
    ):
        with pytest.raises(UserError, match=message):
            open_volume(folder / name)
    volume = open_volume(folder / "o_z{z}.ome.tif")
    with pytest.raises(UserError, match=r"o_z2.*the first plane of the stack has"):
        volume.read_channel(0)

"""Levels, colors and compression of what is written, read by other programs."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from continual_repmode.tasks import TASKS
from continual_repmode.volumes.formats.image_metadata import colors
from continual_repmode.volumes.formats.pyramid import num_levels
from continual_repmode.volumes.formats.stream_writing import open_writer
from continual_repmode.volumes.opening import open_volume

UM = (0.3, 0.1, 0.1)
NAMES = ("dna", "nucleolus", "dna_std")


def test_each_level_is_the_mean_of_four_voxels_of_the_finer_one(tmp_path: Path):
    from yaozarrs import validate_zarr_store

    rng = np.random.default_rng(0)
    data = rng.normal(3, 5, (3, 4, 301, 517)).astype(np.float32)
    data[0, 1, :100, :99] = np.nan
    path = tmp_path / "a.ome.zarr"
    with open_writer(
        path, shape_czyx=data.shape, dtype="float32", voxel_size_um=UM,
        channel_names=NAMES, origin_um=(1.0, 2.0, 3.0),
    ) as writer:  # fmt: skip
        for channel, stack in enumerate(data):
            writer.write(channel, slice(None), stack)

    ome = validate_zarr_store(str(path)).ome_metadata()
    levels = ome.multiscales[0].datasets
    assert [level.path for level in levels] == ["0", "1", "2"]
    expected = data
    for index, level in enumerate(levels):
        if index:
            _, _, y, x = expected.shape
            padded = np.pad(
                expected.astype(np.float64),
                ((0, 0), (0, 0), (0, y % 2), (0, x % 2)),
                constant_values=np.nan,
            )
            four = np.stack([padded[..., i::2, k::2] for i in (0, 1) for k in (0, 1)])
            known = np.isfinite(four)
            sums = np.where(known, four, 0).sum(0)
            with np.errstate(invalid="ignore"):
                expected = (sums / known.sum(0)).astype(np.float32)
        found = np.asarray(zarr.open_array(str(path / level.path), mode="r")[:])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        stored = [f for f in (path / level.path).rglob("*") if f.is_file()]
        assert len(stored) == 1 + 3  # metadata, and a shard or chunk per channel
        scale, moved = level.coordinateTransformations
        assert scale.scale == pytest.approx([1, 0.3, 0.1 * 2**index, 0.1 * 2**index])
        corner = 0.1 * (2**index - 1) / 2
        assert moved.translation == pytest.approx([0, 1, 2 + corner, 3 + corner])
    coarse = open_volume(path, voxel_size_um=(0.3, 0.29, 0.29))
    assert coarse.shape == (3, 4, 151, 259)
    listed = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["omero"]
    dna, nucleolus, deviation = (c["color"] for c in listed["channels"])
    assert dna == deviation != nucleolus
    assert "FFFFFF" not in (dna, nucleolus)


def test_small_planes_have_one_level_and_whole_numbers_stay_whole(tmp_path: Path):
    assert [num_levels(y, 9) for y in (1, 256, 257, 512, 513, 5000)] == [
        *(1, 1, 2, 2, 3, 6)
    ]
    data = np.arange(2 * 300 * 4, dtype=np.uint16).reshape(1, 2, 300, 4)
    path = tmp_path / "a.zarr"
    with open_writer(
        path, shape_czyx=data.shape, dtype="uint16", voxel_size_um=UM
    ) as writer:
        writer.write(0, slice(None), data[0])

    four = data.reshape(1, 2, 150, 2, 2, 2).mean((3, 5))
    found = zarr.open_array(str(path / "1"), mode="r")[:]
    np.testing.assert_array_equal(found, np.rint(four))


def test_every_structure_has_a_color_of_its_own():
    assert len({*colors(TASKS)}) == len(TASKS)
    assert colors(["light", ""]) != colors(["dna", "dna-round"])
    assert colors(["Bright", "", "a", "b", "a_std"])[:2] == ["FFFFFF"] * 2
    one, other, again = colors(["Bright", "", "a", "b", "a_std"])[2:]
    assert one == again != other
    assert colors(["lysosome"]) == ["FFFFFF"]


def test_an_ome_tiff_is_compressed_once_all_is_written(tmp_path: Path, monkeypatch):
    from ome_types import from_tiff

    smooth = np.linspace(0, 3, 3 * 4 * 50 * 60, dtype=np.float32).round(1)
    data = smooth.reshape(3, 4, 50, 60)
    path, work = tmp_path / "a.ome.tif", tmp_path / "work"
    image = {
        "shape_czyx": data.shape, "dtype": "float32", "voxel_size_um": UM,
        "channel_names": NAMES, "work_path": work, "attributes": {"unit": "z"},
    }  # fmt: skip
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        replaced = replace(self, target)
        if self.suffix == ".packed":
            raise KeyboardInterrupt
        return replaced

    monkeypatch.setattr(Path, "replace", killed)

    def write() -> None:
        with open_writer(path, **image) as writer:
            for channel, stack in enumerate(data):
                writer.write(channel, slice(0, 3), stack[:3])
                writer.write(channel, slice(3, 4), stack[3:])

    with pytest.raises(KeyboardInterrupt):
        write()
    monkeypatch.undo()
    with open_writer(path, **image) as writer:
        assert not any(map(writer.missing, range(3)))

    assert not work.exists()
    with tifffile.TiffFile(path) as tif:
        assert tif.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        np.testing.assert_array_equal(tif.series[0].asarray(), data)
    assert path.stat().st_size < data.nbytes / 2
    channels = from_tiff(path).images[0].pixels.channels
    assert [channel.name for channel in channels] == [*NAMES]
    shown = [channel.color.as_rgb_tuple()[:3] for channel in channels]
    assert shown == [tuple(bytes.fromhex(color)) for color in colors(NAMES)]
    for channel, stack in enumerate(data):
        found = open_volume(path).read_channel(channel, slice(1, 4, 2))
        np.testing.assert_array_equal(found, stack[1:4:2])

import json
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from continual_repmode import files as disk
from continual_repmode.errors import UserError
from continual_repmode.volumes.formats import shards
from continual_repmode.volumes.formats.pixel_files import TiffPixels, ZarrPixels
from continual_repmode.volumes.formats.stream_writing import (
    VolumeWriter,
    check_writable,
    open_writer,
)
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.resampling import resize
from continual_repmode.volumes.stream_resizing import least_resize_bytes, resize_stream
from tests.unit.volumes.formats.sharing import UM, read_all, read_elsewhere

SUFFIXES = [".ome.zarr", ".zarr", ".ome.tif", ".ome.tiff"]
SHAPE = (2, 40, 130, 9)
NAMES = ["nucleolus <µ>", "DNA & more"]
ATTRIBUTES = {"model": "a.safetensors", "mean_um": [0.29, 0.1], "unit": "z-score"}
IMAGE: dict[str, Any] = {
    "shape_czyx": SHAPE, "dtype": "float32", "voxel_size_um": UM,
    "channel_names": NAMES,
}  # fmt: skip


CHUNK_BYTES = 4 * 32 * 128 * 128


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(3, 5, shape).astype(np.float32)


def write_all(writer: VolumeWriter, data: np.ndarray, step: int = 7) -> None:
    """Write the last planes first, all channels of some planes at a time."""
    for start in reversed(range(0, data.shape[1], step)):
        planes = slice(start, min(start + step, data.shape[1]))
        for channel in reversed(range(len(data))):
            writer.write(channel, planes, data[channel, planes])


def write_some(
    path: Path, data: np.ndarray, *parts: tuple[int, slice], **options: Any
) -> None:
    """Write some planes of some channels."""
    with open_writer(path, **{**IMAGE, **options}) as writer:
        for channel, planes in parts:
            writer.write(channel, planes, data[channel, planes])


def be_interrupted(
    path: Path, data: np.ndarray, *parts: tuple[int, slice], **options: Any
) -> None:
    """Write some planes of some channels until something happens."""
    with open_writer(path, **{**IMAGE, **options}) as writer:
        for channel, planes in parts:
            writer.write(channel, planes, data[channel, planes])
        raise KeyboardInterrupt


@pytest.fixture(params=[".ome.zarr", ".ome.tif"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / f"a{request.param}"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("step", [7, 32])
def test_planes_written_in_any_order_open_in_other_programs(
    tmp_path: Path, suffix: str, step: int
) -> None:
    path, data = tmp_path / "new" / f"a{suffix}", noise(*SHAPE)

    with open_writer(path, **IMAGE, attributes=ATTRIBUTES) as writer:
        write_all(writer, data, step)
        assert not path.exists()

    assert list(path.parent.iterdir()) == [path]
    pixels, size_um, names, attributes = read_elsewhere(path)
    np.testing.assert_array_equal(pixels, data)
    assert size_um == pytest.approx(UM)
    assert names == NAMES
    if suffix.startswith(".ome.tif"):  # all but texts are JSON there
        attributes["mean_um"] = json.loads(attributes["mean_um"])
    assert attributes == ATTRIBUTES
    volume = open_volume(path)
    assert volume.channel_names == tuple(NAMES)
    assert volume.voxel_size_um == pytest.approx(UM)
    np.testing.assert_array_equal(read_all(path), data)


NARROW = [(1, 1, 5, 4), (3, 1, 4, 3), (1, 3, 3, 3), (2, 4, 3, 1), (4, 2, 1, 7)]


def test_images_of_one_channel_or_plane_and_narrow_ones_come_back(path: Path) -> None:
    for shape in NARROW:
        image = {"shape_czyx": shape, "dtype": "float32", "voxel_size_um": UM}
        with open_writer(path, **image, overwrite=True) as writer:
            write_all(writer, noise(*shape))
        np.testing.assert_array_equal(read_all(path).reshape(shape), noise(*shape))


def test_types_of_pixels_are_kept(path: Path) -> None:
    dtypes = "int8 uint8 uint16 uint32 float32 float64 "
    dtypes += "int32" if path.suffix == ".tif" else "bool int64"
    for dtype in dtypes.split():
        data = (np.abs(noise(1, 4, 6, 5)) > 2).astype(dtype)
        image = {"shape_czyx": data.shape, "dtype": dtype, "voxel_size_um": UM}
        with open_writer(path, **image, overwrite=True) as writer:
            write_all(writer, data, 3)
        found = open_volume(path).read_channel(0)
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found, data[0])


def test_precision_may_be_lost_but_no_float_becomes_an_integer(path: Path) -> None:
    image = {"shape_czyx": (1, 2, 3, 4), "voxel_size_um": UM}
    data = noise(2, 3, 4).astype(np.float64)

    with open_writer(path, **image, dtype="float32") as writer:
        writer.write(0, slice(0, 2), data)
    np.testing.assert_array_equal(read_all(path)[0], data.astype(np.float32))
    with pytest.raises(TypeError, match="Cannot cast"):
        write_some(
            path, data[None], (0, slice(0, 2)), **image, dtype="uint16",
            channel_names=(), overwrite=True,
        )  # fmt: skip


def test_a_channel_is_the_target_of_a_streamed_resize(path: Path) -> None:
    source, shape = noise(8, 20, 7), (12, 36, 9)
    least = least_resize_bytes(source.shape, shape)

    with open_writer(path, **{**IMAGE, "shape_czyx": (2, *shape)}) as writer:
        for channel, memory_bytes in enumerate((least, 10**9)):
            assert writer.missing(channel) == list(range(12))
            target = writer.channel(channel)
            resize_stream(
                source, target, "fast", scratch=path.parent, memory_bytes=memory_bytes
            )
            assert writer.missing(channel) == []

    expected = resize(source, shape, "fast")
    np.testing.assert_allclose(read_all(path), [expected] * 2, atol=1e-4)


def test_nothing_stays_of_a_file_that_was_not_finished(path: Path) -> None:
    data = noise(*SHAPE)
    with pytest.raises(KeyboardInterrupt):
        be_interrupted(path, data, (0, slice(0, 40)))
    with pytest.raises(ValueError, match="channel 1: 39 planes are missing"):
        write_some(path, data, (0, slice(0, 40)), (1, slice(1, 2)))
    assert list(path.parent.iterdir()) == []


def test_a_plane_is_missing_until_all_its_rows_are_written(path: Path) -> None:
    data = noise(1, 2, 9, 4)
    image = {**IMAGE, "shape_czyx": data.shape, "channel_names": ()}
    with open_writer(path, **image) as writer:
        writer.write(0, slice(0, 2), data[0, :, 3:], slice(3, 9))
        assert writer.missing(0) == [0, 1]
        writer.write(0, slice(1, 2), data[0, 1:, :3], slice(0, 3))
        assert writer.missing(0) == [0]
        writer.write(0, slice(0, 1), data[0, :1, :5], slice(0, 5))
    np.testing.assert_array_equal(read_all(path), data)


def test_what_is_there_is_replaced_only_if_asked_and_only_by_a_whole_file(
    path: Path,
) -> None:
    old, new = noise(2, 3, 12, 10), noise(*SHAPE)
    save_volume(path, old, axes="CZYX", voxel_size_um=UM)

    with (
        pytest.raises(UserError, match="exists; remove it or ask to overwrite it"),
        open_writer(path, **IMAGE),
    ):
        pass
    with (
        pytest.raises(RuntimeError, match="stop"),
        open_writer(path, **IMAGE, overwrite=True),
    ):
        raise RuntimeError("stop")
    np.testing.assert_array_equal(read_all(path), old)

    with open_writer(path, **IMAGE, overwrite=True) as writer:
        write_all(writer, new)
    np.testing.assert_array_equal(read_all(path), new)
    assert list(path.parent.iterdir()) == [path]


def test_unfinished_work_goes_on_where_it_stopped(path: Path) -> None:
    work, data = path.parent / "work", noise(*SHAPE)
    data[0, 3, 2, 1], data[0, 4, 2, 1] = -1000, 1000  # the range of channel 0

    options = {"attributes": ATTRIBUTES, "work_path": work}
    with pytest.raises(KeyboardInterrupt):
        be_interrupted(path, data, (0, slice(0, 40)), (1, slice(8, 16)), **options)
    journal = work / "written.jsonl"
    journal.write_bytes(journal.read_bytes() + b"[1, 0, 8, 0")  # as if killed
    assert not path.exists()

    with open_writer(path, **IMAGE, **options) as writer:
        assert writer.missing(0) == []
        assert writer.missing(1) == [*range(8), *range(16, 40)]
        writer.write(1, slice(0, 8), data[1, 0:8])
        writer.write(1, slice(16, 40), data[1, 16:40])

    np.testing.assert_array_equal(read_elsewhere(path)[0], data)
    assert list(path.parent.iterdir()) == [path]


def test_unfinished_work_on_another_image_is_begun_anew(path: Path) -> None:
    changes = {
        "dtype": "float64",
        "shape_czyx": (2, 41, 130, 9),
        "attributes": {"a": 1},
    }
    for field, value in changes.items():
        work = path.parent / f"work {field}"
        with pytest.raises(KeyboardInterrupt):
            be_interrupted(path, noise(*SHAPE), (0, slice(0, 40)), work_path=work)
        with (
            pytest.raises(ValueError, match="planes are missing"),
            open_writer(path, **{**IMAGE, field: value}, work_path=work) as writer,
        ):
            assert len(writer.missing(0)) >= 40


def test_a_folder_with_other_things_is_not_taken_for_unfinished_work(
    tmp_path: Path,
) -> None:
    precious = tmp_path / "work" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("all of it")

    with (
        pytest.raises(UserError, match=r"holds thesis\.txt"),
        open_writer(tmp_path / "a.zarr", **IMAGE, work_path=precious.parent),
    ):
        pass
    assert precious.read_text() == "all of it"


def test_what_cannot_be_written_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "thesis.zarr").mkdir()
    (tmp_path / "folder.ome.tif").mkdir()
    before = sorted(tmp_path.rglob("*"))
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("a.png", {}, r"cannot write '\.png'; use \.ome\.zarr"),
        ("a.tif", {}, r"cannot write '\.tif'"),
        ("a.ome.tif", {"dtype": "int64"}, "OME-TIFF has no pixels of type int64"),
        ("a.ome.tif", {"dtype": "bool"}, "bits cannot be written plane by plane"),
        ("a.zarr", {"dtype": "complex64"}, "pixels of type complex64"),
        ("a.zarr", {"shape_czyx": (2, 0, 5, 5)}, r"shape \(2, 0, 5, 5\)"),
        ("a.zarr", {"voxel_size_um": (None, 0.1, 0.1)}, "three positive numbers"),
        ("a.ome.tif", {"channel_names": ["a"]}, "1 channel names for 2 channels"),
        ("a.zarr", {"shape_czyx": (2, 10**6, 10**5, 10**5)}, "needs .* GB, but"),
        ("file/a.zarr", {}, "file is not a directory; choose another path"),
        ("thesis.zarr", {"overwrite": True}, "exists and is not a Zarr folder"),
        ("folder.ome.tif", {"overwrite": True}, "exists and is a folder"),
    ]
    for name, change, message in refused:
        with pytest.raises(UserError, match=message):
            check_writable(tmp_path / name, **{**IMAGE, **change})
        with (
            pytest.raises(UserError, match=message),
            open_writer(tmp_path / name, **{**IMAGE, **change}),
        ):
            pass
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere

    with pytest.raises(UserError, match="is not writable; choose another path"):
        check_writable(tmp_path / "new" / "a.zarr", **IMAGE)


def test_what_was_written_before_needs_no_room_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = path.parent / "work"
    with pytest.raises(KeyboardInterrupt):
        be_interrupted(path, noise(*SHAPE), (0, slice(0, 40)), work_path=work)
    free = noise(*SHAPE).nbytes * 3 // 4
    usage = type("Usage", (), {"free": free})()
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)

    with pytest.raises(UserError, match="free some space"):
        check_writable(path, **IMAGE)
    check_writable(path, **IMAGE, work_path=work)


def test_a_disk_that_fills_up_is_told_in_one_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ZarrPixels, "write", fail)
    monkeypatch.setattr(TiffPixels, "write", fail)
    message = re.escape(
        f"{path.name}: cannot be written (No space left on device: 4.68 kB needed, "
    )
    with (
        pytest.raises(UserError, match=message),
        open_writer(path, **IMAGE) as writer,
    ):
        writer.write(0, slice(0, 1), noise(1, 130, 9))
    assert list(path.parent.iterdir()) == []


def test_blocks_that_do_not_fit_are_refused(path: Path) -> None:
    data = noise(*SHAPE)
    with open_writer(path, **IMAGE) as writer:
        with pytest.raises(ValueError, match=r"expected \(2, 130, 9\)"):
            writer.write(0, slice(0, 2), data[0, :3])
        with pytest.raises(ValueError, match=r"expected \(1, 130, 9\)"):
            writer.write(0, slice(39, 41), data[0, :2])
        with pytest.raises(ValueError, match="channel=2: there are 2"):
            writer.write(2, slice(0, 1), data[0, :1])
        write_all(writer, data)


def test_a_tiff_beyond_four_gigabytes_is_a_bigtiff(tmp_path: Path) -> None:
    path, side = tmp_path / "a.ome.tif", 2**15
    image = check_writable(
        path, shape_czyx=(1, 5, side, side), dtype="uint8", voxel_size_um=UM
    )
    pixels = TiffPixels(path, image, {})  # takes no room: what is not written has none
    pixels.create()
    last = np.arange(side, dtype=np.uint8)[None, None]

    pixels.write(0, slice(4, 5), slice(side - 1, side), last)

    with tifffile.TiffFile(path) as tif:
        assert tif.is_bigtiff
        assert tif.series[0].shape[-3:] == (5, side, side)
    memory_map = tifffile.memmap(path, mode="r").reshape(5, side, side)
    np.testing.assert_array_equal(memory_map[4, -1], last[0, 0])


def test_chunks_of_zeros_are_stored_in_one_shard_per_channel(tmp_path: Path) -> None:
    with open_writer(tmp_path / "a.zarr", **IMAGE) as writer:
        write_all(writer, np.zeros(SHAPE, np.float32))

    files = [f for f in (tmp_path / "a.zarr/0/c").rglob("*") if f.is_file()]
    assert len(files) == 2
    for shard in files:
        index = np.frombuffer(shard.read_bytes()[-4 - 4 * 16 : -4], "<u8")
        assert (index.reshape(2 * 2, 2)[:, 1] < 2**20).all()  # none is said to be empty


@pytest.mark.parametrize("largest", [1, 2 * CHUNK_BYTES, 5 * CHUNK_BYTES])
def test_shards_that_do_not_divide_the_chunks_open_in_other_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    monkeypatch.setattr(shards, "_LARGEST", largest)
    path, data = tmp_path / "a.zarr", noise(2, 70, 250, 140)  # 3 x 2 x 2 chunks
    image = {**IMAGE, "shape_czyx": data.shape, "attributes": ATTRIBUTES}
    with open_writer(path, **image) as writer:
        write_all(writer, data, 32)
        with pytest.raises(ValueError, match="all of it is written already"):
            writer.write(0, slice(0, 32), data[0, :32])
    np.testing.assert_array_equal(read_elsewhere(path)[0], data)
    np.testing.assert_array_equal(read_all(path), data)
    files = {f.relative_to(path) for f in (path / "0/c").rglob("*") if f.is_file()}
    counts = zarr.open_array(str(path / "0"), mode="r").shards or (1, 32, 128, 128)
    grid = [-(-n // side) for n, side in zip(data.shape, counts, strict=True)]
    assert len(files) == np.prod(grid)
    assert np.prod(counts) * 4 <= max(largest, CHUNK_BYTES)
    assert list(tmp_path.iterdir()) == [path]


WRITES_PLANES = """
import sys
from pathlib import Path
import numpy as np
from continual_repmode.volumes.formats import shards
from continual_repmode.volumes.formats.stream_writing import open_writer
shards._LARGEST = 2**22
folder, data = Path(sys.argv[1]), np.load(sys.argv[1] + "/data.npy")
with open_writer(
    folder / "a.zarr", shape_czyx=data.shape, dtype="float32", voxel_size_um=(1, 1, 1),
    work_path=folder / "work",
) as writer:
    (folder / "begun").touch()
    for channel, stack in enumerate(data):
        for first in writer.missing(channel)[::16]:
            last = first + 16
            writer.write(channel, slice(first, last), stack[first:last])
"""


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_killed_writer_leaves_only_whole_shards(tmp_path: Path, kills: int) -> None:
    rng, data = random.Random(kills), noise(2, 64, 160, 256)
    np.save(tmp_path / "data.npy", data)
    path, begun = tmp_path / "a.zarr", tmp_path / "begun"

    def write(kill_after_s: float | None) -> float:
        begun.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", WRITES_PLANES, str(tmp_path)])
        while not begun.exists() and process.poll() is None:
            time.sleep(0.005)
        start = time.monotonic()
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            process.kill()
        process.wait()
        return time.monotonic() - start

    longest_s = write(None)
    shutil.rmtree(path)
    for _ in range(kills):
        write(rng.uniform(0, longest_s))
        folder = (path if path.exists() else tmp_path / "work/volume.zarr") / "0"
        array = zarr.open_array(str(folder), mode="r")
        for shard in folder.glob("c/*/*/*/[0-9]*"):
            cell = map(int, shard.relative_to(folder / "c").parts)
            box = tuple(
                slice(i * n, (i + 1) * n)
                for i, n in zip(cell, array.shards, strict=True)
            )
            np.testing.assert_array_equal(array[box], data[box])
        if path.exists():
            shutil.rmtree(path)
    assert write(None)
    np.testing.assert_array_equal(read_all(path), data)
    assert {p.name for p in tmp_path.iterdir()} == {"a.zarr", "begun", "data.npy"}


def test_infinite_intensities_leave_a_range_that_viewers_can_show(
    tmp_path: Path,
) -> None:
    data = noise(1, 2, 5, 5)
    data[0, 0, 0, 0], data[0, 1, 0, 0] = np.nan, np.inf
    with open_writer(
        tmp_path / "a.zarr", shape_czyx=(1, 2, 5, 5), dtype="float32", voxel_size_um=UM
    ) as writer:
        write_all(writer, data, 1)

    metadata = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    [channel] = metadata["attributes"]["ome"]["omero"]["channels"]
    assert channel["window"] == {"min": 0, "start": 0, "end": 1, "max": 1}

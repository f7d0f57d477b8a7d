import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from continual_repmode.errors import UserError
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.resampling import resample, resampled_shape, resize
from continual_repmode.volumes.volume import volume_shape
from tests.unit.volumes.formats.sharing import UM, read_all, read_elsewhere, stack

FORMATS = [".ome.tif", ".zarr", ".tif"]
MODEL_UM = (0.29, 0.29, 0.29)


def in_file_axes(czyx: np.ndarray, axes: str) -> np.ndarray:
    """Return an array (C, Z, Y, X) with the axes of a volume."""
    order = ["CZYX".index(axis) for axis in axes]
    dropped = [k for k in range(4) if k not in order]
    return np.transpose(czyx, dropped + order).reshape([czyx.shape[k] for k in order])


def test_an_ome_tiff_is_compressed(tmp_path: Path) -> None:
    array = np.zeros((8, 64, 64), np.uint16)
    array[3, 5:9] = 700
    path = tmp_path / "a.ome.tif"
    save_volume(path, array, axes="ZYX", voxel_size_um=UM)
    assert path.stat().st_size < array.nbytes / 10
    assert np.array_equal(open_volume(path).read_channel(0), array)


names_of_channels = st.text("abcXYZ 019_-µ/<&\"'é", min_size=1, max_size=8).filter(
    lambda name: name == name.strip()
)


@st.composite
def images(draw: st.DrawFn) -> tuple[np.ndarray, tuple[float, ...], list[str]]:
    """Draw an array (C, Z, Y, X), a voxel size and channel names."""
    shape = draw(st.tuples(st.integers(1, 3), *[st.integers(1, 9)] * 3))
    size_um = st.floats(0.02, 3.0)
    voxel_size_um = draw(st.tuples(size_um, size_um, size_um))
    names = draw(st.lists(names_of_channels, min_size=shape[0], max_size=shape[0]))
    dtype = draw(st.sampled_from(["uint8", "uint16", "float32"]))
    seed = draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(seed).uniform(0, 250, shape)
    return values.astype(dtype), voxel_size_um, names


@pytest.mark.parametrize("suffix", FORMATS)
@given(image=images())
@settings(
    max_examples=15, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_file_to_model_grid_to_file_keeps_everything_but_the_pixels(
    tmp_path: Path, suffix: str, image: tuple[Any, Any, Any]
) -> None:
    czyx, voxel_size_um, names = image
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    metadata = {"voxel_size_um": voxel_size_um, "channel_names": names}
    save_volume(source, czyx, axes="CZYX", **metadata, overwrite=True)

    before = open_volume(source)
    back = [through_model_grid(c, before.voxel_size_um) for c in read_all(source)]
    save_volume(
        target, in_file_axes(np.stack(back).astype(before.dtype), before.axes),
        axes=before.axes, voxel_size_um=before.voxel_size_um,
        channel_names=before.channel_names, overwrite=True,
    )  # fmt: skip
    after = open_volume(target)

    assert (after.axes, after.shape, after.dtype) == (
        before.axes, before.shape, before.dtype
    )  # fmt: skip
    assert after.channel_names == tuple(names)
    assert after.voxel_size_um == pytest.approx(voxel_size_um, rel=1e-6)
    data, size_um_elsewhere, names_elsewhere, _ = read_elsewhere(target)
    np.testing.assert_array_equal(data, read_all(target))
    np.testing.assert_array_equal(read_elsewhere(source)[0], czyx)
    assert size_um_elsewhere == pytest.approx(voxel_size_um, rel=1e-6)
    assert names_elsewhere == names


def through_model_grid(channel: np.ndarray, from_um: Any) -> np.ndarray:
    """Resample to the model grid and to the explicit shape of before."""
    coarse = resample(channel.astype(np.float32), from_um, MODEL_UM)
    assert coarse.shape == resampled_shape(channel.shape, from_um, MODEL_UM)
    return resize(coarse, channel.shape)


def test_pixels_come_back_as_they_were(tmp_path: Path) -> None:
    data = stack(2, 4, 12, 10)
    for axes, pixels, expected in (
        ("ZYX", data[0], data[:1]),
        ("CZYX", data, data),
        ("ZCYX", data.swapaxes(0, 1), data),
    ):
        for suffix in (*FORMATS, ".npy"):
            path = tmp_path / f"{axes}{suffix}"
            save_volume(path, pixels, axes=axes, voxel_size_um=UM)
            volume = open_volume(path)
            assert volume_shape(volume) == (4, 12, 10)
            assert set(volume.channel_names) == {""}
            np.testing.assert_array_equal(read_all(path), expected)
            assert volume.voxel_size_um == pytest.approx(UM, rel=1e-6)
            assert pickle.loads(pickle.dumps(volume)) == volume  # sent to a worker


TYPES = {
    ".ome.tif": "bool int8 int32 uint8 uint16 uint32 float32 float64",
    ".zarr": "bool int8 int64 uint8 uint16 uint32 float16 float32 float64",
    ".tif": "uint8 uint16 float32",
    ".npy": "bool int8 int64 uint8 uint16 uint32 float16 float32 float64",
}


def test_types_of_pixels_are_kept(tmp_path: Path) -> None:
    for suffix, dtypes in TYPES.items():
        for dtype in dtypes.split():
            data = (stack(4, 12, 10) % 3).astype(dtype)
            path = tmp_path / f"{dtype}{suffix}"
            save_volume(path, data, axes="ZYX", voxel_size_um=UM)
            channel = open_volume(path).read_channel(0)
            assert channel.dtype == data.dtype
            np.testing.assert_array_equal(channel, data)


def test_big_endian_pixels_are_written_by_value(tmp_path: Path) -> None:
    data = stack(4, 12, 10, dtype=">u2")
    for suffix in (*FORMATS, ".npy"):
        path = save_volume(tmp_path / f"a{suffix}", data, axes="ZYX", voxel_size_um=UM)
        np.testing.assert_array_equal(open_volume(path).read_channel(0), data)


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    for suffix, dtype, message in (
        (".tif", "uint32", "ImageJ TIFF has no pixels of type uint32; convert to one"),
        (".tif", "bool", "ImageJ TIFF has no pixels of type bool"),
        (".ome.tif", "int64", "OME-TIFF has no pixels of type int64"),
        (".zarr", "complex64", "cannot write pixels of type complex64"),
        (".png", "uint8", r"cannot write '\.png'; use \.ome\.tif"),
    ):
        pixels = stack(4, 12, 10, dtype=dtype)
        with pytest.raises(UserError, match=message):
            save_volume(tmp_path / f"a{suffix}", pixels, axes="ZYX", voxel_size_um=UM)
    huge = np.broadcast_to(np.uint16(0), (40, 10_000, 10_000))
    with pytest.raises(UserError, match=r"at most 4 GB; save it as \.ome\.tif"):
        save_volume(tmp_path / "a.tif", huge, axes="ZYX", voxel_size_um=UM)
    assert list(tmp_path.iterdir()) == []


def test_incomplete_metadata_are_refused(tmp_path: Path) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"voxel_size_um": (None, 0.1, 0.1)}, "three positive numbers in micrometres"),
        ({"voxel_size_um": (0.0, 0.1, 0.1)}, "three positive numbers"),
        ({"voxel_size_um": (0.1, 0.1)}, "three positive numbers"),
        ({"voxel_size_um": (0.1, 0.1, float("nan"))}, "three positive numbers"),
        ({"axes": "CZYX"}, r"axes='CZYX' for an array of shape \(4, 12, 10\)"),
        ({"axes": "XYZ"}, "axes='XYZ'"),
        ({"channel_names": ["a", "b"]}, "2 channel names for 1 channels"),
        ({"channel_names": ["a\0b"]}, "is not printable"),
    ]
    for suffix in (*FORMATS, ".npy"):
        for change, message in changes:
            options = {"axes": "ZYX", "voxel_size_um": UM, **change}
            with pytest.raises(UserError, match=message):
                save_volume(tmp_path / f"a{suffix}", stack(4, 12, 10), **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [*FORMATS, ".npy"])
def test_what_is_there_is_replaced_only_if_asked_and_as_a_whole(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    save_volume(path, stack(4, 12, 10), axes="ZYX", voxel_size_um=UM)
    smaller = stack(2, 6, 5) + 1
    with pytest.raises(UserError, match="exists; remove it or ask to overwrite it"):
        save_volume(path, smaller, axes="ZYX", voxel_size_um=UM)
    names = sorted(file.name for file in tmp_path.iterdir())

    save_volume(path, smaller, axes="ZYX", voxel_size_um=UM, overwrite=True)

    np.testing.assert_array_equal(open_volume(path).read_channel(0), smaller)
    assert sorted(file.name for file in tmp_path.iterdir()) == names


@pytest.mark.parametrize("suffix", [*FORMATS, ".npy"])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / f"a{suffix}", stack(4, 12, 10)
    save_volume(path, data, axes="ZYX", voxel_size_um=UM)
    names = sorted(file.name for file in tmp_path.iterdir())
    failing = {
        ".zarr": "zarr.create_array", ".npy": "numpy.save",
    }.get(suffix, "tifffile.imwrite")  # fmt: skip

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(UserError, match="cannot be written"):
        save_volume(path, data + 1, axes="ZYX", voxel_size_um=UM, overwrite=True)

    monkeypatch.undo()
    np.testing.assert_array_equal(open_volume(path).read_channel(0), data)
    assert sorted(file.name for file in tmp_path.iterdir()) == names


def test_a_folder_that_is_no_zarr_is_never_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "a.zarr" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("all of it")

    with pytest.raises(UserError, match="exists and is not a Zarr folder"):
        save_volume(
            tmp_path / "a.zarr", stack(4, 12, 10), axes="ZYX", voxel_size_um=UM,
            overwrite=True,
        )  # fmt: skip
    assert precious.read_text() == "all of it"


def test_zarr_shards_hold_one_channel_each(tmp_path: Path) -> None:
    data = np.zeros((2, 40, 130, 10), np.uint16)
    path = save_volume(tmp_path / "a.zarr", data, axes="CZYX", voxel_size_um=UM)

    shards = {
        file.relative_to(path / "0" / "c").as_posix()
        for file in (path / "0" / "c").rglob("*")
        if file.is_file()
    }

    assert shards == {"0/0/0/0", "1/0/0/0"}
    assert open_volume(path).read_channel(1).max() == 0

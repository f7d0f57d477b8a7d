import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from continual_repmode.errors import UserError
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.volume import volume_shape
from tests.unit.volumes.formats.sharing import one_line_error, read_all, stack

TYPES = {"t": "time", "c": "channel"}
VERSIONS = ["0.4", "0.5"]


def image_metadata(
    version: str,
    axes: str = "czyx",
    *,
    scales: Mapping[str, tuple[float, ...]] | None = None,
    names: tuple[str, ...] = (),
    unit: str | None = "micrometer",
    **more: Any,
) -> dict[str, Any]:
    """Return NGFF attributes of an image."""
    scales = scales or {"0": (1.0,) * len(axes)}
    space = {"type": "space"} | ({"unit": unit} if unit else {})
    multiscale = {
        "axes": [
            {"name": axis, **({"type": TYPES[axis]} if axis in TYPES else space)}
            for axis in axes
        ],
        "datasets": [
            {
                "path": path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": list(scale)},
                    {"type": "translation", "translation": [0.5] * len(axes)},
                ],
            }
            for path, scale in scales.items()
        ],
        **more,
    }
    omero = {"channels": [{"label": name} for name in names]}
    if version == "0.4":
        return {"multiscales": [{"version": "0.4", **multiscale}], "omero": omero}
    return {"ome": {"version": "0.5", "multiscales": [multiscale], "omero": omero}}


def write_image(
    path: Path,
    levels: np.ndarray | Mapping[str, np.ndarray],
    version: str = "0.5",
    axes: str = "czyx",
    *,
    chunks: tuple[int, ...] | None = None,
    shards: tuple[int, ...] | None = None,
    separator: str = "/",
    **metadata: Any,
) -> Path:
    """Write an image with the Zarr library and metadata of our own."""
    if not isinstance(levels, Mapping):
        levels = {"0": levels}
    group = zarr.create_group(
        str(path),
        attributes=image_metadata(version, axes, **metadata),
        zarr_format=2 if version == "0.4" else 3,
    )
    for name, data in levels.items():
        encoding = {"name": "v2" if version == "0.4" else "default"}
        array = group.create_array(
            name,
            shape=data.shape,
            dtype=data.dtype,
            chunks=chunks or (1,) * (data.ndim - 2) + data.shape[-2:],
            shards=shards,
            chunk_key_encoding={**encoding, "separator": separator},  # type: ignore[arg-type]
        )
        array[...] = data
    return path


@contextmanager
def edited(file: Path, change: Callable[[dict[str, Any]], Any]) -> Iterator[None]:
    """Change a JSON file while the block runs."""
    text = file.read_text()
    content = json.loads(text)
    change(content)
    file.write_text(json.dumps(content))
    yield
    file.write_text(text)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("separator", ["/", "."])
def test_axes_names_and_sizes_come_from_the_metadata(
    tmp_path: Path, version: str, separator: str
) -> None:
    data = stack(2, 4, 12, 10)
    path = write_image(
        tmp_path / "a.zarr", data, version, separator=separator,
        scales={"0": (1, 290, 108, 108)}, unit="nanometer", names=("light", "DNA"),
    )  # fmt: skip

    volume = open_volume(path)

    assert (volume.axes, volume.shape) == ("CZYX", (2, 4, 12, 10))
    assert volume.dtype == np.dtype("uint16")
    assert volume.voxel_size_um == pytest.approx((0.29, 0.108, 0.108))
    assert volume.channel_names == ("light", "DNA")
    assert volume.chosen == ()
    for channel in range(2):
        np.testing.assert_array_equal(volume.read_channel(channel), data[channel])
    np.testing.assert_array_equal(volume.read_channel("DNA", slice(1, 3)), data[1, 1:3])
    np.testing.assert_array_equal(
        volume.read_channel(1, slice(3, 0, -2)), data[1, 3:0:-2]
    )
    assert volume.read_channel(1, slice(2, 2)).shape == (0, 12, 10)


@pytest.mark.parametrize("version", VERSIONS)
def test_any_axes_and_types_of_a_volume_are_read(tmp_path: Path, version: str) -> None:
    lengths = {"t": 1, "c": 3, "z": 4, "y": 12, "x": 10}
    for axes in ("zyx", "yx", "czyx", "cyx", "tczyx", "tzyx"):
        data = stack(*(lengths[axis] for axis in axes))
        path = write_image(tmp_path / f"{axes}.zarr", data, version, axes)
        volume = open_volume(path)
        assert volume.axes == axes.replace("t", "").upper()
        assert volume_shape(volume) == (4 if "z" in axes else 1, 12, 10)
        expected = data.reshape(-1, *volume_shape(volume))
        np.testing.assert_array_equal(read_all(path), expected)
    for number, dtype in enumerate(("bool", "int16", "uint32", ">f4", "float64")):
        data = (stack(4, 12, 10, dtype="int64") % 3).astype(dtype)
        path = write_image(tmp_path / f"{number}.zarr", data, version, "zyx")
        volume = open_volume(path)
        channel = volume.read_channel(0)
        assert channel.dtype == volume.dtype == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(channel, data)


def test_scales_of_level_and_image_multiply(tmp_path: Path) -> None:
    path = write_image(
        tmp_path / "a.zarr", stack(2, 4, 12, 10), scales={"0": (1, 2.0, 0.5, 0.5)},
        coordinateTransformations=[{"type": "scale", "scale": [1, 0.25, 0.5, 0.5]}],
    )  # fmt: skip

    assert open_volume(path).voxel_size_um == (0.5, 0.25, 0.25)


def test_a_scale_of_another_length_leaves_the_voxel_size_unknown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = stack(2, 4, 12, 10)
    for own, common in (((1, 2, 2, 2), [1, 1, 1]), ((1, 1, 1), [1, 1, 1, 1])):
        path = write_image(
            tmp_path / f"{len(own)}.zarr", pixels, scales={"0": own},
            coordinateTransformations=[{"type": "scale", "scale": common}],
        )  # fmt: skip
        volume = open_volume(path)
        assert volume.voxel_size_um == (None, None, None)
        assert np.array_equal(volume.read_channel(1), pixels[1])
        assert "not one number for each of 4 axes" in caplog.text
        caplog.clear()


def test_a_scale_without_a_unit_of_length_is_unknown(tmp_path: Path) -> None:
    for unit in (None, "pixel", "second"):
        path = write_image(tmp_path / f"{unit}.zarr", stack(2, 4, 12, 10), unit=unit)
        assert open_volume(path).voxel_size_um == (None, None, None)


def test_sharded_arrays_read_one_channel(tmp_path: Path) -> None:
    data, sizes = (
        stack(2, 4, 16, 16),
        {"chunks": (1, 2, 8, 8), "shards": (1, 4, 16, 16)},
    )
    path = write_image(tmp_path / "a.zarr", data, **sizes)

    np.testing.assert_array_equal(open_volume(path).read_channel(1), data[1])


@pytest.mark.parametrize("version", VERSIONS)
def test_reading_one_channel_touches_no_chunk_of_another(
    tmp_path: Path, version: str
) -> None:
    data = stack(3, 4, 12, 10)
    path = write_image(tmp_path / "a.zarr", data, version, chunks=(1, 2, 6, 5))
    folder = path / "0" / ("" if version == "0.4" else "c")
    for file in (*folder.glob("0/**/*"), *folder.glob("2/**/*")):
        if file.is_file():
            file.write_bytes(b"damaged")

    volume = open_volume(path)

    np.testing.assert_array_equal(volume.read_channel(1), data[1])
    for damaged in (0, 2):
        with pytest.raises(UserError, match=r"a\.zarr: damaged pixel data in 0"):
            volume.read_channel(damaged)


def test_one_of_several_time_points_is_chosen(tmp_path: Path) -> None:
    data = stack(3, 2, 4, 12, 10)
    path = write_image(tmp_path / "a.zarr", data, axes="tczyx")

    volume = open_volume(path, {"time": "2"})

    assert (volume.axes, volume.chosen) == ("CZYX", (("time", "2"),))
    np.testing.assert_array_equal(volume.read_channel(1), data[2, 1])
    with pytest.raises(UserError, match=r"holds 3 of 'time'; choose one: 0 to 2"):
        open_volume(path)


def pyramid(path: Path) -> list[np.ndarray]:
    """Write levels of 0.1, 0.2 and 0.4 um in y and x, 0.3 um in z."""
    levels = [stack(2, 4, 32, 32), stack(2, 4, 16, 16), stack(2, 4, 8, 8)]
    write_image(
        path,
        {f"s{k}": level for k, level in enumerate(levels)},
        scales={f"s{k}": (1, 0.3, 0.1 * 2**k, 0.1 * 2**k) for k in range(3)},
    )
    return levels


WANTED_UM = {
    None: 0, (0.29, 0.29, 0.29): 0, (0.3, 0.29, 0.29): 1, (0.298, 0.199, 0.199): 1,
    (1.0, 0.4, 0.4): 2, (1.0, 9.0, 0.1): 0, (0.01, 0.01, 0.01): 0,
}  # fmt: skip


def test_the_coarsest_level_that_is_fine_enough_or_the_chosen_one_is_taken(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.zarr"
    levels = pyramid(path)
    for wanted_um, level in WANTED_UM.items():
        volume = open_volume(path, None, wanted_um)
        assert volume.chosen == (("level", str(level)),)
        assert volume.voxel_size_um[2] == pytest.approx(0.1 * 2**level)
        np.testing.assert_array_equal(volume.read_channel(1), levels[level][1])
    for name in ("2", "s2"):
        volume = open_volume(path, {"level": name}, (0.1, 0.1, 0.1))
        assert volume.chosen == (("level", "2"),)
        np.testing.assert_array_equal(volume.read_channel(0), levels[2][0])
    with pytest.raises(UserError, match=r"no level '3'; choose from 0 to 2 \('s0'"):
        open_volume(path, {"level": "3"})


def test_files_are_the_metadata_and_the_chosen_level(tmp_path: Path) -> None:
    pyramid(tmp_path / "a.zarr")

    files = open_volume(tmp_path / "a.zarr", {"level": "1"}).files

    names = [file.relative_to(tmp_path / "a.zarr").as_posix() for file in files]
    assert names == sorted(names)
    chunks = [f"s1/c/{c}/{z}/0/0" for c in range(2) for z in range(4)]
    assert sorted(names) == sorted(["zarr.json", "s1/zarr.json", *chunks])


def write_collection(path: Path, version: str, *, listed: bool) -> list[np.ndarray]:
    """Write two images in the layout of bioformats2raw."""
    scenes = [stack(2, 4, 12, 10), stack(3, 5, 8, 6)]
    wrap = (lambda content: content) if version == "0.4" else (lambda c: {"ome": c})
    options: Any = {"zarr_format": 2 if version == "0.4" else 3}
    zarr.create_group(
        str(path), attributes=wrap({"bioformats2raw.layout": 3}), **options
    )
    if listed:
        series = wrap({"series": ["0", "1"]})
        zarr.create_group(str(path / "OME"), attributes=series, **options)
    for number, scene in enumerate(scenes):
        write_image(path / str(number), scene, version, name=f"well {number}")
    return scenes


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("listed", [True, False])
def test_an_image_of_a_collection_is_chosen(
    tmp_path: Path, version: str, listed: bool
) -> None:
    path = tmp_path / "a.zarr"
    scenes = write_collection(path, version, listed=listed)

    volume = open_volume(path, {"scene": "1"})

    assert volume == open_volume(path, {"scene": "well 1"})
    assert (volume.shape, volume.chosen) == ((3, 5, 8, 6), (("scene", "1"),))
    np.testing.assert_array_equal(volume.read_channel(2), scenes[1][2])
    inside = open_volume(path / "1")
    assert inside.chosen == ()
    np.testing.assert_array_equal(inside.read_channel(2), scenes[1][2])
    with pytest.raises(UserError, match=r"holds 2 of 'scene'.*'well 0', 'well 1'"):
        open_volume(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_beside_the_levels_do_not_count(tmp_path: Path, version: str) -> None:
    data = stack(2, 4, 12, 10)
    path = write_image(tmp_path / "a.zarr", data, version)
    nuclei = stack(4, 12, 10, dtype="uint32") * 100_000
    write_image(path / "labels" / "nuclei", nuclei, version, "zyx")

    np.testing.assert_array_equal(open_volume(path).read_channel(0), data[0])
    labels = open_volume(path / "labels" / "nuclei")
    np.testing.assert_array_equal(labels.read_channel(0), nuclei)


def test_what_is_no_single_image_tells_which_path_to_give(tmp_path: Path) -> None:
    for kind in ("plate", "well"):
        path = tmp_path / f"{kind}.zarr"
        zarr.create_group(str(path), attributes={"ome": {kind: {}}})
        assert "give the path of one image" in one_line_error(path)
    for version in VERSIONS:
        path = write_image(tmp_path / version, stack(2, 4, 12, 10), version)
        message = one_line_error(path / "0")
        assert "give the folder of the OME-Zarr image above" in message


@pytest.mark.parametrize("version", VERSIONS)
def test_chunks_of_background_may_be_left_out(tmp_path: Path, version: str) -> None:
    data = stack(2, 4, 12, 10)
    data[1, :2] = 0
    path = write_image(tmp_path / "a.zarr", data, version)

    np.testing.assert_array_equal(open_volume(path).read_channel(1), data[1])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_channel_without_any_chunk_is_an_incomplete_copy(
    tmp_path: Path, version: str
) -> None:
    path = write_image(tmp_path / "a.zarr", stack(2, 4, 12, 10) + 1, version)
    shutil.rmtree(path / "0" / ("1" if version == "0.4" else "c/1"))

    volume = open_volume(path)

    assert volume.read_channel(0).min() > 0
    with pytest.raises(UserError, match="none of the 4 chunk files of this channel"):
        volume.read_channel(1)


def test_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    names = {
        "0.4": (".zattrs", "0/.zarray", "0/1/2/0/0"),
        "0.5": ("zarr.json", "0/zarr.json", "0/c/1/2/0/0"),
    }
    for version in VERSIONS:
        path = write_image(tmp_path / f"{version}.zarr", stack(2, 4, 12, 10), version)
        for name in names[version]:
            content = (path / name).read_bytes()
            for part in range(12):
                (path / name).write_bytes(content[: part * len(content) // 12])
                one_line_error(path, (version, name, part))
            (path / name).write_bytes(content)
        read_all(path)


def multiscale_of(content: dict[str, Any]) -> dict[str, Any]:
    return content["attributes"]["ome"]["multiscales"][0]


IMAGE_FAULTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "attributes a list": lambda c: c.update(attributes=[1]),
    "ome a string": lambda c: c["attributes"].update(ome="x"),
    "multiscales gone": lambda c: c["attributes"].update(ome={}),
    "multiscales empty": lambda c: c["attributes"]["ome"].update(multiscales=[]),
    "multiscales numbers": lambda c: c["attributes"]["ome"].update(multiscales=[1]),
    "axes gone": lambda c: multiscale_of(c).pop("axes"),
    "axes of 0.3": lambda c: multiscale_of(c).update(axes=["c", "z", "y", "x"]),
    "too few axes": lambda c: multiscale_of(c)["axes"].pop(),
    "an unknown axis": lambda c: multiscale_of(c)["axes"][1].update(name="q"),
    "an axis twice": lambda c: multiscale_of(c)["axes"][1].update(name="y"),
    "x before y": lambda c: multiscale_of(c)["axes"].reverse(),
    "datasets gone": lambda c: multiscale_of(c).pop("datasets"),
    "datasets empty": lambda c: multiscale_of(c).update(datasets=[]),
    "a number as dataset": lambda c: multiscale_of(c).update(datasets=[7]),
    "a path of another folder": lambda c:
        multiscale_of(c)["datasets"][0].update(path="../other.zarr/0"),
    "an absolute path": lambda c: multiscale_of(c)["datasets"][0].update(path="/etc"),
    "no path": lambda c: multiscale_of(c)["datasets"][0].update(path=3),
    "a level that is gone": lambda c: multiscale_of(c)["datasets"][0].update(path="1"),
    "a level that is the image": lambda c:
        multiscale_of(c)["datasets"][0].update(path="."),
    "a scale of words": lambda c: multiscale_of(c).update(
        coordinateTransformations=[{"type": "scale", "scale": ["1"] * 4}]
    ),
    "transformations a number": lambda c:
        multiscale_of(c).update(coordinateTransformations=5),
}  # fmt: skip


def test_faults_of_the_image_metadata_are_one_line(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", stack(2, 4, 12, 10))
    for name, change in IMAGE_FAULTS.items():
        with edited(path / "zarr.json", change):
            one_line_error(path, name)
    read_all(path)


ARRAY_FAULTS: dict[str, dict[str, Any]] = {
    "10 TB": {"shape": [2, 400_000, 12_000, 1000]},
    "lengths beyond all": {"shape": [2, 10**30, 12, 10]},
    "a billion channels": {"shape": [10**9, 4, 12, 10]},
    "length 0": {"shape": [2, 0, 12, 10]},
    "negative": {"shape": [2, -4, 12, 10]},
    "a word": {"shape": [2, "4", 12, 10]},
    "no list": {"shape": 4},
    "two axes": {"shape": [12, 10]},
    "complex": {"data_type": "complex64"},
    "strings": {"data_type": "string"},
    "raw": {"data_type": "r16"},
    "an object as type": {"data_type": {"name": "numpy.datetime64"}},
    "wider pixels": {"data_type": "float64"},
    "a codec unknown here": {"codecs": [{"name": "jpeg2000"}]},
    "no codecs": {"codecs": []},
    "another grid": {"chunk_grid": {"name": "rectilinear"}},
    "chunks of 0": {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0] * 4}}
    },
    "chunks of 10 TB": {
        "chunk_grid": {
            "name": "regular", "configuration": {"chunk_shape": [10**4] * 4}
        }
    },
    "no array": {"node_type": "group"},
    "another format": {"zarr_format": 4},
}  # fmt: skip


OLDER_ARRAY_FAULTS: list[dict[str, Any]] = [
    {"dtype": "|O"}, {"dtype": "<c8"}, {"dtype": [["a", "<u2"]]}, {"dtype": "<U8"},
    {"compressor": {"id": "unknown"}}, {"filters": [{"id": "unknown"}]},
    {"shape": [2, 4, 120_000, 100_000]}, {"chunks": [1, 1]}, {"order": "X"},
]  # fmt: skip


def test_faults_of_the_array_metadata_are_one_line(tmp_path: Path) -> None:
    for version, name, faults in (
        ("0.4", ".zarray", OLDER_ARRAY_FAULTS),
        ("0.5", "zarr.json", list(ARRAY_FAULTS.values())),
    ):
        path = write_image(tmp_path / f"{version}.zarr", stack(2, 4, 12, 10), version)
        for fault in faults:
            with edited(path / "0" / name, methodcaller("update", fault)):
                one_line_error(path, fault)
        read_all(path)


def test_metadata_that_are_no_json_object_are_one_line(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", stack(2, 4, 12, 10))
    for text in ("[]", "7", "[" * 100_000, "\xff\xfe"):
        (path / "zarr.json").write_text(text, encoding="latin-1")
        one_line_error(path, text[:9])


def test_a_chunk_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", stack(2, 4, 12, 10))
    (path / "0/c/0/0/0/0").unlink()
    (path / "0/c/0/0/0/0").mkdir()  # refused even to root, unlike missing rights

    one_line_error(path)

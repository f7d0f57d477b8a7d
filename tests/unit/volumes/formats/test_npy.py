import json
import struct
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from continual_repmode.volumes.opening import open_volume
from tests.unit.volumes.formats.sharing import one_line_error, stack


def write(path: Path, array: np.ndarray, **sidecar: Any) -> Path:
    np.save(path, array)
    if sidecar:
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


def test_a_sidecar_names_axes_channels_and_voxel_size(tmp_path: Path) -> None:
    data = stack(2, 4, 12, 10)
    path = write(
        tmp_path / "a.npy", data, axes="CZYX", channel_names=["light", "DNA"],
        voxel_size_um=[0.29, None, 0.1],
    )  # fmt: skip

    volume = open_volume(path)

    assert (volume.axes, volume.shape) == ("CZYX", (2, 4, 12, 10))
    assert volume.channel_names == ("light", "DNA")
    assert volume.voxel_size_um == (0.29, None, 0.1)
    assert volume.files == (path, tmp_path / "a.json")
    np.testing.assert_array_equal(volume.read_channel("DNA"), data[1])
    np.testing.assert_array_equal(volume.read_channel(1, slice(1, 3)), data[1, 1:3])


def test_without_a_sidecar_an_array_is_one_volume_of_unknown_size(
    tmp_path: Path,
) -> None:
    for shape, axes in (((4, 12, 10), "ZYX"), ((12, 10), "YX")):
        path = write(tmp_path / "a.npy", stack(*shape))
        volume = open_volume(path)
        assert (volume.axes, volume.shape, volume.channel_names) == (axes, shape, ("",))
        assert volume.voxel_size_um == (None, None, None)
        assert volume.files == (path,)
        assert volume.read_channel(0).shape == (4 if axes == "ZYX" else 1, 12, 10)


def test_four_axes_need_a_sidecar_and_the_message_tells_how(tmp_path: Path) -> None:
    message = one_line_error(write(tmp_path / "a.npy", stack(2, 4, 12, 10)))

    assert 'write next to it a.json with {"axes": "CZYX"' in message


def test_any_layout_in_memory_reads_the_same(tmp_path: Path) -> None:
    for axes, dtype, order in product(
        ("ZCYX", "CZYX"), (">u2", "<f4", ">f8", "bool", "uint32"), ("C", "F")
    ):
        data = np.asarray(stack(3, 4, 12, 10), dtype=dtype, order=order)
        volume = open_volume(write(tmp_path / "a.npy", data, axes=axes))
        expected = data[1] if axes == "CZYX" else data[:, 1]

        channel = volume.read_channel(1)

        assert channel.dtype == volume.dtype == np.dtype(dtype).newbyteorder("=")
        assert channel.base is None
        assert channel.flags.c_contiguous
        np.testing.assert_array_equal(channel, expected)


SIDECAR_FAULTS: list[tuple[str, Any]] = [
    ("axes", "TZYX"), ("axes", "ZYX"), ("axes", None), ("axes", ["C", "Z"]),
    ("channel_names", "light"), ("channel_names", [1, 2]),
    ("channel_names", ["light"]), ("voxel_size_um", 0.29),
    ("voxel_size_um", [0.29, 0.1]), ("voxel_size_um", [0.29, 0.1, 0]),
    ("voxel_size_um", [0.29, 0.1, "0.1"]), ("voxel_size_um", [0.29, 0.1, True]),
    ("voxel_size_um", [0.29, 0.1, float("nan")]), ("voxel_size", [1, 1, 1]),
]  # fmt: skip


def test_a_fault_of_the_sidecar_is_named_by_its_field(tmp_path: Path) -> None:
    for field, value in SIDECAR_FAULTS:
        sidecar = {"axes": "CZYX", field: value}
        path = write(tmp_path / "a.npy", stack(2, 4, 12, 10), **sidecar)
        message = one_line_error(path, (field, value))
        assert "a.json" in message
        assert field in message


def test_a_sidecar_that_is_no_json_object_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npy", stack(4, 12, 10))
    for text in ("{", "[]", "", "\xff", "[" * 100_000):
        (tmp_path / "a.json").write_text(text, encoding="latin-1")
        assert "a.json" in one_line_error(path, text[:9])


def header(text: str, *, version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + bytes(128)


NOT_ARRAYS = [
    b"PK\x03\x04 an npz",
    b"\x80\x04a pickle",
    b"\x93NUMPY\x07\x00" + bytes(100),
    b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100),
    header("{'descr': '<u2', 'fortran_order': False, 'shape': (99999, 99999, 9)}"),
    header("{'descr': '<u2', 'fortran_order': False, 'shape': (-4, 4, -4)}"),
    header("{'descr': '<u2', 'fortran_order': False, 'shape': (0, 4, 4)}"),
    header("{'descr': '<u2', 'fortran_order': False, 'shape': ()}"),
    header("{'descr': '<u2', 'fortran_order': False, 'shape': (4, 4, '4')}"),
    header("{'descr': '<u2', 'fortran_order': False}"),
    header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 4, 4)}"),
    header("{'descr': '<c8', 'fortran_order': False, 'shape': (1, 4, 4)}"),
    header("{'descr': '<U4', 'fortran_order': False, 'shape': (1, 4, 4)}"),
    header("{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (4, 4)}"),
    header("{'descr': 'nonsense', 'fortran_order': False, 'shape': (4, 4)}"),
    header("__import__('os').abort()"),
    header("(" * 5000, version=2),
]


def test_a_file_that_is_no_array_of_numbers_is_one_line(tmp_path: Path) -> None:
    for content in NOT_ARRAYS:
        (tmp_path / "a.npy").write_bytes(content)
        one_line_error(tmp_path / "a.npy", content[:99])

"""Codecs of CZI sub-blocks, and pixels that are refused."""

import struct
import tracemalloc
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numcodecs.zstd import compress

from continual_repmode.errors import UserError
from continual_repmode.volumes.formats import czi_blocks
from continual_repmode.volumes.opening import open_volume

PLANE = np.random.default_rng(0).integers(0, 60000, (24, 32)).astype(np.uint16)
LOW_THEN_HIGH = PLANE.astype("<u2").view(np.uint8).reshape(-1, 2).T.tobytes()
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def rle_frame(num_bytes: int) -> bytes:
    """Return a Zstd stream of zeros that does not tell its size beforehand."""
    frame = ZSTD_MAGIC + bytes([0, 0x58])
    while num_bytes:
        count = min(num_bytes, 1 << 17)
        num_bytes -= count
        frame += struct.pack("<I", count << 3 | 1 << 1 | (num_bytes == 0))[:3] + b"\0"
    return frame


def told_frame(num_bytes: int) -> bytes:
    """Return a Zstd stream that declares any size, and ends."""
    return ZSTD_MAGIC + bytes([0xE0]) + struct.pack("<Q", num_bytes) + b"\1\0\0"


@pytest.fixture
def read_one(tmp_path: Path, pack_czi: Any, raw_block: Any) -> Any:
    """Read a file of one sub-block: ``read_one(compression, stored bytes)``."""

    def read(compression: int, data: bytes, plane: np.ndarray = PLANE) -> np.ndarray:
        block = raw_block(plane, compression=compression, data=data)
        return open_volume(pack_czi(tmp_path / "a.czi", [block])).read_channel(0)[0]

    return read


STORED = [
    (0, PLANE.tobytes()),
    (0, PLANE.tobytes() + b"some bytes more"),
    (5, compress(PLANE.tobytes(), 3)),
    (6, b"\x01" + compress(PLANE.tobytes(), 3)),
    (6, b"\x03\x01\x00" + compress(PLANE.tobytes(), 3)),
    (6, b"\x03\x01\x01" + compress(LOW_THEN_HIGH, 3)),
]
OTHER_SIZES = {
    "10 GB": told_frame(10**10),
    "128 MB": rle_frame(1 << 27),
    "short": rle_frame(PLANE.nbytes - 1),
    "long": compress(PLANE.tobytes() * 2, 3),
    "cut": compress(PLANE.tobytes(), 3)[:-9],
    "empty": b"",
    "text": b"abc",
}


def test_every_way_to_store_a_plane_gives_the_same(read_one: Any) -> None:
    for compression, data in STORED:
        np.testing.assert_array_equal(read_one(compression, data), PLANE)


def test_a_stream_that_does_not_tell_its_size_is_read(read_one: Any) -> None:
    assert not read_one(5, rle_frame(PLANE.nbytes)).any()


def test_a_stream_of_another_size_is_an_error_and_takes_no_memory(
    read_one: Any,
) -> None:
    for (name, frame), start in product(OTHER_SIZES.items(), (b"", b"\x01")):
        tracemalloc.start()
        with pytest.raises(UserError, match=r"damaged.* channel 0, plane 0: ") as e:
            read_one(6 if start else 5, start + frame)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert len(str(e.value).splitlines()) == 1
        assert peak < 2e6, name


def test_an_unknown_zstd_header_is_an_error(read_one: Any) -> None:
    for header in (b"", b"\x00", b"\x02\x01", b"\x03\x02\x01", b"\x09"):
        with pytest.raises(UserError, match="damaged"):
            read_one(6, header + compress(PLANE.tobytes(), 3))


def test_separated_bytes_make_sense_for_16_bit_only(read_one: Any) -> None:
    plane = np.zeros((4, 4), np.uint8)
    data = b"\x03\x01\x01" + compress(bytes(32), 3)

    with pytest.raises(UserError, match="separated bytes of uint8 pixels"):
        read_one(6, data, plane)


def test_a_short_uncompressed_plane_is_an_error(read_one: Any) -> None:
    with pytest.raises(UserError, match="plane 0: 1535 of 1536 bytes"):
        read_one(0, PLANE.tobytes()[:-1])


def test_colors_and_unknown_pixels_are_refused(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    for pixel_type, message in {
        3: r"color pixels \(Bgr24\).* gray channels", 9: "color pixels",
        10: "pixels of type 10", 13: "pixels of type 13", -5: "pixels of type -5",
    }.items():  # fmt: skip
        path = pack_czi(tmp_path / "a.czi", [raw_block(PLANE, pixel_type=pixel_type)])
        with pytest.raises(UserError, match=rf"a\.czi: channel 0 has {message}"):
            open_volume(path)


def test_gray_pixels_keep_their_type(read_one: Any) -> None:
    for dtype in ("uint8", "uint16", "int32", "float32"):
        plane = PLANE.astype(dtype)
        read = read_one(0, plane.tobytes(), plane)
        assert read.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(read, plane)


def test_unknown_compression_is_refused_on_opening(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    path = pack_czi(tmp_path / "a.czi", [raw_block(PLANE, compression=504)])

    with pytest.raises(UserError, match=r"a\.czi: compression code 504 is unknown"):
        open_volume(path)


@pytest.mark.parametrize("kind", ["1:JPEG", "2:LZW", "4:JPEG XR"])
def test_compression_that_needs_the_extra_names_it(
    tmp_path: Path,
    pack_czi: Any,
    raw_block: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    code, name = kind.split(":")
    path = pack_czi(tmp_path / "a.czi", [raw_block(PLANE, compression=int(code))])
    monkeypatch.setattr(czi_blocks.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(UserError, match=rf"{name} compression needs .*\[compressed\]"):
        open_volume(path)


def test_the_extra_reads_its_compressions(read_one: Any) -> None:
    codecs = pytest.importorskip("imagecodecs")
    smooth = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint8)

    np.testing.assert_array_equal(
        read_one(2, codecs.lzw_encode(PLANE.tobytes())), PLANE
    )
    np.testing.assert_array_equal(
        read_one(4, codecs.jpegxr_encode(PLANE, level=100)), PLANE
    )
    read = read_one(1, codecs.jpeg8_encode(smooth, level=100), smooth)
    assert np.abs(read.astype(int) - smooth).max() <= 1
    for code, encode in ((1, codecs.jpeg8_encode), (4, codecs.jpegxr_encode)):
        with pytest.raises(UserError, match="damaged"):
            read_one(code, encode(np.zeros((300, 300), np.uint8)), smooth)
        with pytest.raises(UserError, match="damaged"):
            read_one(code, encode(smooth)[:30], smooth)
    with pytest.raises(UserError, match="damaged"):
        read_one(2, codecs.lzw_encode(PLANE.tobytes() * 2))

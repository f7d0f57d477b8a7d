"""Chunks that would decode to gigabytes are refused before they are decoded."""

import json
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from continual_repmode.volumes.formats.bounded import TooLargeError, bound

SHAPE = (8, 32, 32)
PIXELS = np.arange(8 * 32 * 32, dtype=np.uint16).reshape(SHAPE)
BOMB = np.zeros(50_000_000, np.uint8)
CODECS = [
    (3, GzipCodec(), numcodecs.GZip()),
    (3, ZstdCodec(), numcodecs.Zstd()),
    (3, BloscCodec(), numcodecs.Blosc()),
    *((2, codec, codec) for codec in (numcodecs.GZip(), numcodecs.Zlib(),
        numcodecs.Zstd(), numcodecs.Blosc(), numcodecs.LZ4(), numcodecs.BZ2(),
        numcodecs.LZMA())),
]  # fmt: skip


def opened(path: Path) -> zarr.Array:
    array = zarr.open_array(path, mode="r")
    bound(array)
    return array


@pytest.mark.parametrize(("version", "codec", "packer"), CODECS)
def test_sound_chunks_are_read_and_bombs_refused(tmp_path, version, codec, packer):
    path = tmp_path / "a.zarr"
    array = zarr.create_array(
        path, shape=SHAPE, chunks=SHAPE, dtype="u2", compressors=[codec],
        zarr_format=version,
    )  # fmt: skip
    array[:] = PIXELS
    assert np.array_equal(opened(path)[:], PIXELS)
    (chunk,) = (
        f for f in path.rglob("*") if f.is_file() and f.suffix != ".json"
        and not f.name.startswith(".z")
    )  # fmt: skip
    chunk.write_bytes(bytes(packer.encode(BOMB)))
    with pytest.raises(TooLargeError, match="plausible"):
        opened(path)[:]


@pytest.mark.parametrize("codec", [GzipCodec(), ZstdCodec(), BloscCodec()])
def test_chunks_within_shards_are_bounded(tmp_path, codec):
    path = tmp_path / "a.zarr"
    array = zarr.create_array(
        path, shape=(8, 1024, 1024), chunks=(8, 1024, 1024), dtype="u2",
        shards=(8, 1024, 1024), compressors=[codec],
    )  # fmt: skip
    array[:] = 7
    assert (opened(path)[:] == 7).all()
    text = (path / "zarr.json").read_text().replace("1024", "32")
    (path / "zarr.json").write_text(json.dumps(json.loads(text)))
    with pytest.raises(TooLargeError, match="plausible"):
        opened(path)[:]


def test_a_frame_to_be_skipped_is_passed_over(tmp_path):
    frame = numcodecs.Zstd().encode(PIXELS)
    path = tmp_path / "a.zarr"
    array = zarr.create_array(
        path, shape=SHAPE, chunks=SHAPE, dtype="u2", compressors=[ZstdCodec()]
    )
    array[:] = PIXELS
    (chunk,) = (f for f in path.rglob("*") if f.is_file() and f.suffix != ".json")
    skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00more"
    chunk.write_bytes(skipped + bytes(frame))
    assert np.array_equal(opened(path)[:], PIXELS)

"""Chunks of a Zarr array that may not decode to more than the array says.

A few kilobytes can decode to gigabytes, and libraries reserve what the bytes ask for.
"""

import bz2
import lzma
import zlib
from typing import Any

import numpy as np
import zarr

_SPARE = 2**20
"""Bytes beyond the pixels, such as checksums, and blocks that are not full."""

_ZSTD_BLOCK = 2**17
_FULL = 8
"""Blocks of an encoder that keeps flushing may be as far from full."""

_ZSTD_MAGIC = 0xFD2FB528
_STREAMS: dict[str, Any] = {
    "gzip": lambda: zlib.decompressobj(31),
    "zlib": zlib.decompressobj,
    "bz2": bz2.BZ2Decompressor,
    "lzma": lzma.LZMADecompressor,
}


class TooLargeError(ValueError):
    """A chunk that decodes to more than it may."""


def bound(array: zarr.Array[Any]) -> None:
    """Make an open array refuse chunks that decode to far more than they hold."""
    num_bytes = int(np.prod(array.chunks)) * array.dtype.itemsize
    pipeline: Any = array.async_array.codec_pipeline
    _bound_all(list(pipeline), 2 * num_bytes + _SPARE)


def _bound_all(codecs: list[Any], limit: int) -> None:
    for codec in codecs:
        if inner := getattr(codec, "codecs", None):  # chunks within shards
            _bound_all(list(inner), limit)
        for name in ("compressor", "_gzip_codec", "_zstd_codec", "_blosc_codec"):
            found = getattr(codec, name, None)
            if found is not None:
                codec.__dict__[name] = _Bounded(found, limit)
        if hasattr(codec, "codec_config"):  # of numcodecs
            codec.__dict__["_codec"] = _Bounded(codec._codec, limit)
        if filters := getattr(codec, "filters", None):
            bounded = tuple(_Bounded(found, limit) for found in filters)
            codec.__dict__["filters"] = bounded


class _Bounded:
    """A codec that looks at what is to be decoded first."""

    def __init__(self, codec: Any, limit: int) -> None:
        self._codec, self._limit = codec, limit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def decode(self, data: Any, out: Any = None) -> Any:
        """Decode bytes, unless there would be too many."""
        name = self._codec.codec_id
        if name in _STREAMS and getattr(self._codec, "format", 1) == 1:
            return _unpacked(bytes(memoryview(data)), _STREAMS[name], self._limit)
        head = memoryview(data).cast("B")
        size = 0
        if name == "blosc":
            size = int.from_bytes(head[4:8], "little")
        elif name == "lz4":
            size = int.from_bytes(head[:4], "little")
        elif name == "zstd":
            size = _zstd_size(head)
        if size > self._limit:
            raise TooLargeError(_told(size, self._limit))
        return self._codec.decode(data, out)


def _unpacked(data: bytes, start: Any, limit: int) -> bytes:
    """Decompress a stream, perhaps of several members, up to a limit."""
    parts: list[bytes] = []
    left = limit
    while data:
        stream = start()
        parts.append(stream.decompress(data, left + 1))
        left -= len(parts[-1])
        if left < 0:
            raise TooLargeError(_told(limit + 1, limit))
        if not stream.eof:
            raise ValueError("compressed pixels are cut off")
        data = stream.unused_data
    return b"".join(parts)


def _zstd_size(data: memoryview) -> int:
    """Return how much zstd may make of data at the most (RFC 8878, section 3.1)."""
    at, size = 0, 0
    while len(data) - at > 4:
        magic = int.from_bytes(data[at : at + 4], "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # to be skipped
            at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
            continue
        if magic != _ZSTD_MAGIC:
            break  # the decoder says what is wrong
        flags = data[at + 4]
        single, checksum = bool(flags & 0x20), bool(flags & 0x04)
        length = (1 if single else 0, 2, 4, 8)[flags >> 6]
        at += 5 + (not single) + (0, 1, 2, 4)[flags & 3]
        promised = int.from_bytes(data[at : at + length], "little")
        promised += 256 if length == 2 else 0
        at += length
        made, last = 0, False
        while not last and len(data) - at >= 3:
            header = int.from_bytes(data[at : at + 3], "little")
            last, kind, block = bool(header & 1), header >> 1 & 3, header >> 3
            made += _ZSTD_BLOCK if kind == 2 else block
            at += 3 + (1 if kind == 1 else block)
        size += promised if length else made // _FULL
        at += 4 * checksum
    return size


def _told(size: int, limit: int) -> str:
    return f"a chunk decodes to {size} bytes or more, at most {limit} are plausible"

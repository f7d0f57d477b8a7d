"""Pixels of the sub-blocks of a CZI file, compressed or not."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.volumes.formats.czi_layout import CziFile, SubBlock

_DTYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("<u1"),
    1: np.dtype("<u2"),
    2: np.dtype("<f4"),
    12: np.dtype("<i4"),
}
_COLORS = {3: "Bgr24", 4: "Bgr48", 8: "Bgr96Float", 9: "Bgra32"}
_NONE, _JPEG, _LZW, _JPEG_XR, _ZSTD0, _ZSTD1 = 0, 1, 2, 4, 5, 6
_COMPRESSIONS = {_JPEG: "JPEG", _LZW: "LZW", _JPEG_XR: "JPEG XR"}
_HEADER_BYTES_PLAIN, _HEADER_BYTES_PACKED = 1, 3
_PACKING_CHUNK = 1


def pixel_dtype(path: Path, block: SubBlock) -> np.dtype[Any]:
    """Return the type of stored intensities, in the byte order of this machine.

    Raises UserError if they are colors or complex numbers, or could not be decoded
        later.
    """
    channel = block.start("C")
    if block.pixel_type in _COLORS:
        raise UserError(
            f"{path}: channel {channel} has color pixels "
            f"({_COLORS[block.pixel_type]}); save the colors as gray channels"
        )
    if block.pixel_type not in _DTYPES:
        raise UserError(
            f"{path}: channel {channel} has pixels of type {block.pixel_type}; save "
            "them as 8 or 16-bit gray or 32-bit float"
        )
    if block.compression in _COMPRESSIONS:
        if importlib.util.find_spec("imagecodecs") is None:
            raise UserError(
                f"{path}: {_COMPRESSIONS[block.compression]} compression needs an "
                "extra package; pip install '.[compressed]' in the folder of the "
                "project"
            )
    elif block.compression not in (_NONE, _ZSTD0, _ZSTD1):
        raise UserError(
            f"{path}: compression code {block.compression} is unknown; save it "
            "uncompressed or with Zstd in ZEN"
        )
    return _DTYPES[block.pixel_type].newbyteorder("=")


def read_block(czi: CziFile, block: SubBlock) -> NDArray[Any]:
    """Read and decode one sub-block.

    Returns: (Y, X); raw intensities in the byte order of the file.
    Raises UserError if it is missing or damaged. It takes the memory of its declared
        rectangle, whatever its compressed stream declares.
    """
    dtype = _DTYPES[block.pixel_type]
    num_bytes = block.width * block.height * dtype.itemsize
    if block.compression == _NONE:
        raw = czi.read_pixels(block, num_bytes)
        if len(raw) < num_bytes:
            raise _damaged(czi, block, f"{len(raw)} of {num_bytes} bytes")
        return np.frombuffer(raw, dtype).reshape(block.height, block.width)
    pixels = np.empty((block.height, block.width), dtype)
    try:
        _decode(czi.read_pixels(block), block.compression, pixels)
    except UserError:
        raise
    except Exception as error:  # decoders raise whatever they like
        raise _damaged(czi, block, " ".join(str(error).split())) from error
    return pixels


def _damaged(czi: CziFile, block: SubBlock, detail: str) -> UserError:
    return czi.damaged(
        f"pixels of channel {block.start('C')}, plane {block.start('Z')}: {detail}"
    )


def _decode(raw: bytes, compression: int, pixels: NDArray[Any]) -> None:
    """Decode a compressed stream into ``pixels`` (Y, X), which it must fill."""
    if compression == _ZSTD0:
        _unpack_zstd(raw, pixels)
    elif compression == _ZSTD1:
        _unpack_zstd1(raw, pixels)
    else:
        import imagecodecs

        if compression == _JPEG:
            imagecodecs.jpeg8_decode(raw, out=pixels)
        elif compression == _JPEG_XR:
            imagecodecs.jpegxr_decode(raw, out=pixels)
        else:
            # one byte more than wanted, so that a longer stream is noticed
            decoded = imagecodecs.lzw_decode(raw, out=pixels.nbytes + 1)
            pixels[:] = np.frombuffer(decoded, pixels.dtype).reshape(pixels.shape)


def _unpack_zstd(raw: bytes, pixels: NDArray[Any]) -> None:
    """Decompress into the memory given; a stream of another size is refused."""
    from numcodecs.zstd import decompress

    decompress(raw, pixels.reshape(-1).view(np.uint8))


def _unpack_zstd1(raw: bytes, pixels: NDArray[Any]) -> None:
    """Decompress Zstd behind a header that may announce separated bytes.

    The first byte is the size of the header. A header of three bytes continues with the
    chunk 1, whose flag 1 says that the low bytes of all 16-bit pixels come first, then
    all high bytes.
    """
    header_bytes = raw[0] if raw else 0
    header = raw[1:header_bytes]
    if header_bytes == _HEADER_BYTES_PLAIN:
        packed = False
    elif header_bytes == _HEADER_BYTES_PACKED and header[0] == _PACKING_CHUNK:
        packed = bool(header[1] & 1)
    else:
        raise ValueError(f"unknown Zstd header {raw[:4].hex()}")
    if not packed:
        _unpack_zstd(raw[header_bytes:], pixels)
        return
    if pixels.dtype.itemsize != 2:
        raise ValueError(f"separated bytes of {pixels.dtype} pixels")
    halves = np.empty((2, *pixels.shape), np.uint8)
    _unpack_zstd(raw[header_bytes:], halves)
    pixels[:] = halves[0] | halves[1].astype("<u2") << 8

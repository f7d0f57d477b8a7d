"""The pages of a TIFF file, checked against the bytes of the file before decoding."""

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.volumes.formats.damage import damage_named
from continual_repmode.volumes.volume import check_size

_NOT_READABLE = "not a readable TIFF file"
_MAX_TAGS = 4096
_FIRST_PRIVATE_TAG = 32768
_IMAGEJ_TAGS = (50838, 50839)
_MAX_OVERHEAD = 2**16
"""What a compression may add to its input, besides doubling it: headers and tables. A
part that is larger than that would unpack to more than its pixels."""
_TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
    16: 8, 17: 8, 18: 8,
}  # fmt: skip


@contextmanager
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF file for a block whose errors become one line."""
    with (
        damage_named(path, _NOT_READABLE),
        _without_log_lines(),
        tifffile.TiffFile(path) as tif,
    ):
        yield tif


@contextmanager
def _without_log_lines() -> Iterator[None]:
    """Keep tifffile's remarks on damage off the screen; we check for it ourselves."""
    logger = logging.getLogger("tifffile")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


@dataclass(frozen=True, slots=True)
class _Layout:
    """How numbers are stored: 4-byte offsets, or the 8-byte ones of BigTIFF."""

    first: int  # where the offset of the first page is
    count: str  # format of the number of tags
    tag: str  # format of a tag: code, type, number of values, offset of the values
    offset: str

    @classmethod
    def of(cls, path: Path, head: bytes) -> Self:
        """Read the layout from the first bytes of a file."""
        order = {b"II": "<", b"MM": ">"}.get(head[:2], "") if len(head) > 3 else ""
        version = struct.unpack(f"{order}H", head[2:4])[0] if order else None
        if version == 42:
            return cls(4, f"{order}H", f"{order}HHII", f"{order}I")
        if version == 43:
            return cls(8, f"{order}Q", f"{order}HHQQ", f"{order}Q")
        raise UserError(f"{path}: {_NOT_READABLE} (it does not begin like one)")


def count_pages(path: Path) -> int:
    """Return the number of pages by following the pointers from one to the next.

    Raises UserError if this is no TIFF file, or pointers lead in a circle or out of the
        file.
    """
    with damage_named(path, _NOT_READABLE), path.open("rb") as file:
        layout = _Layout.of(path, file.read(4))
        file.seek(layout.first)
        (offset,) = _read(file, layout.offset)
        seen: set[int] = set()
        while offset:
            if offset in seen:
                raise UserError(f"{path}: {_NOT_READABLE} (its pages form a circle)")
            seen.add(offset)
            file.seek(offset)
            _check_tags(path, file, layout, len(seen) - 1)
            (offset,) = _read(file, layout.offset)
        if not seen:
            raise UserError(f"{path}: {_NOT_READABLE} (it holds no image)")
        return len(seen)


def _check_tags(path: Path, file: BinaryIO, layout: _Layout, page: int) -> None:
    """Read the tags of a page; raise if what they point to is not in the file."""
    size = path.stat().st_size
    (num_tags,) = _read(file, layout.count)
    if num_tags > _MAX_TAGS:
        raise UserError(f"{path}: {_NOT_READABLE} (page {page} has {num_tags} tags)")
    for _ in range(num_tags):
        code, kind, count, start = _read(file, layout.tag)
        num_bytes = count * _TYPE_BYTES.get(kind, 0)
        in_place = num_bytes <= struct.calcsize(layout.offset)
        # private tags may be broken: nothing depends on them
        needed = code < _FIRST_PRIVATE_TAG or code in _IMAGEJ_TAGS
        if needed and not in_place and start + num_bytes > size:
            raise UserError(
                f"{path}: {_NOT_READABLE} (tag {code} of page {page} is not in the "
                "file; it is incomplete)"
            )


def _read(file: BinaryIO, format_: str) -> tuple[int, ...]:
    size = struct.calcsize(format_)
    raw = file.read(size)
    if len(raw) < size:
        raise EOFError("it ends too early; it is incomplete")
    return struct.unpack(format_, raw)


def check_page(path: Path, page: tifffile.TiffPage) -> None:
    """Raise if a page is no plane of numbers, or could not be decoded later."""
    if page.dtype is None or page.dtype.kind not in "buif":
        raise UserError(
            f"{path}: pixels of type {page.dtype}; save them as integers or floats"
        )
    if len(page.shape) != 2:
        raise UserError(
            f"{path}: stores more than one plane per page (axes {page.axes} "
            f"{page.shape}); save one plane per page"
        )
    if (
        page.compression not in tifffile.TIFF.DECOMPRESSORS
        or page.predictor not in tifffile.TIFF.UNPREDICTORS
    ):
        if not isinstance(page.compression, tifffile.COMPRESSION):
            raise UserError(
                f"{path}: compression code {page.compression} is unknown; save it "
                "uncompressed"
            )
        raise UserError(
            f"{path}: {page.compression.name} compression (predictor "
            f"{page.predictor}) needs an extra package; "
            "pip install '.[compressed]' in the folder of the project"
        )
    check_size(path, page.chunks, page.dtype, path.stat().st_size)
    check_size(path, page.shape, page.dtype, path.stat().st_size)


def read_page(
    path: Path,
    tif: tifffile.TiffFile,
    index: int,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Decode one page.

    ``shape``, ``dtype``: what every plane of the volume must have.
    Returns: (Y, X).
    Raises UserError if the page is unlike the others, or its bytes are missing or
        damaged.
    """
    with damage_named(path, f"damaged pixel data on page {index}"):
        page = tif.pages[index]
        if page.shape != shape or page.dtype != dtype:
            raise UserError(
                f"{path}: page {index} is {page.shape!s:.80} {page.dtype}, unlike the "
                f"others of {shape} {dtype}; save all planes with one shape and "
                "type"
            )
        check_page(path, page)
        _check_complete(path, page, index)
        return np.asarray(page.asarray())


def _check_complete(path: Path, page: tifffile.TiffPage, index: int) -> None:
    """Raise if some part of a page is not in the file: tifffile would take zeros."""
    size = path.stat().st_size
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    stored = sum(count for _, count in parts)
    whole = page.compression == 1 and page.dtype.kind != "b"
    if (
        len(parts) < math.prod(page.chunked)
        or any(
            start <= 0 or count <= 0 or start + count > size for start, count in parts
        )
        or (whole and stored < math.prod(page.shape) * page.dtype.itemsize)
    ):
        raise UserError(
            f"{path}: damaged pixel data on page {index} (a part of it is not in the "
            "file; it is incomplete)"
        )
    most = 2 * math.prod(page.chunks) * page.dtype.itemsize + _MAX_OVERHEAD
    if page.compression != 1 and max(count for _, count in parts) > most:
        raise UserError(
            f"{path}: damaged pixel data on page {index} (a part of it has more bytes "
            f"than its {page.chunks} pixels take)"
        )

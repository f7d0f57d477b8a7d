"""How a CZI file is laid out: its segments, and the directory of its sub-blocks.

A CZI is a chain of segments. The header, at the start, points to the metadata, a text
in XML, and to the directory, which tells for each sub-block (a rectangle of one plane)
what it shows and where it is. After Zeiss' "ZISRAW (CZI) File Format" specification;
all numbers are little-endian.

The file is parsed here rather than by a library. ``pylibCZIrw`` ends the process where
a bit of a sub-block's sizes is wrong, returns other planes where one of the directory
is, fills what is missing with zeros, and cannot read one tile of a mosaic. ``czifile``
takes the sizes that a damaged file declares for granted.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from continual_repmode.errors import UserError

_SEGMENT = struct.Struct("<16sqq")  # name, bytes allocated, bytes used
_FILE_HEADER = struct.Struct("<iiii16s16siqqiq")
_ENTRY = struct.Struct("<2siqiiBB4si")
_DIMENSION = struct.Struct("<4siifi")
_DIRECTORY_START = 128  # the number of entries, and space
_METADATA_START = 256  # two sizes, and space
_SUBBLOCK_SIZES = struct.Struct("<iiq")  # of its metadata, attachment and pixels
_SUBBLOCK_START = 256  # sizes and directory entry take at least that much
_MAX_DIMENSIONS = 32  # the format names twelve


@dataclass(frozen=True, slots=True)
class SubBlock:
    """One stored rectangle of one plane."""

    #: Of its segment, in bytes from the start of the file.
    position: int
    #: Codes of the format.
    pixel_type: int
    compression: int
    #: Its rectangle, in pixels of the full resolution.
    x: int
    y: int
    width: int
    height: int
    #: False for the coarser copies of an image pyramid.
    full_resolution: bool
    #: Index along each of its other axes, such as ``("C", 1)``.
    starts: tuple[tuple[str, int], ...]

    def start(self, axis: str) -> int:
        """Return its index along an axis, 0 along one that is not there."""
        return dict(self.starts).get(axis, 0)

    def agrees(self, other: Self) -> bool:
        """Whether another description of it, on all that both say, is the same."""
        here, there = dict(self.starts), dict(other.starts)
        axes = {"C", "Z"} | (here.keys() & there.keys())
        return all(here.get(axis, 0) == there.get(axis, 0) for axis in axes) and all(
            getattr(self, name) == getattr(other, name)
            for name in ("pixel_type", "compression", "x", "y", "width", "height")
        )


class CziFile:
    """An open CZI file; see :func:`open_czi`."""

    def __init__(self, path: Path, stream: BinaryIO, num_bytes: int) -> None:
        self.path = path
        self.num_bytes = num_bytes
        self._stream = stream

    def read_headers(self) -> tuple[list[SubBlock], bytes]:
        """Return the directory, and the metadata as XML (empty if there are none).

        Raises UserError if it is no CZI file, unfinished, damaged, or spread over
            several files.
        """
        if self._stream.read(10) != b"ZISRAWFILE":
            raise UserError(
                f"{self.path}: not a CZI file (it does not start with ZISRAWFILE)"
            )
        start, _ = self._segment(0, "ZISRAWFILE")
        header = _FILE_HEADER.unpack(self._read(start, _FILE_HEADER.size))
        file_part, directory_position, metadata_position = header[6:9]
        if file_part:
            raise self._in_parts(f"is part {file_part}")
        if directory_position == 0:
            raise UserError(
                f"{self.path}: has no directory of its images; the recording did not "
                "finish; open it in ZEN and save it again"
            )
        blocks = self._directory(directory_position)
        xml = self._metadata(metadata_position) if metadata_position else b""
        return blocks, xml

    def read_pixels(self, block: SubBlock, max_bytes: int | None = None) -> bytes:
        """Return the stored bytes of a sub-block, not more than ``max_bytes``."""
        start, num_bytes = self.pixel_range(block)
        return self._read(
            start, num_bytes if max_bytes is None else min(num_bytes, max_bytes)
        )

    def pixel_range(self, block: SubBlock) -> tuple[int, int]:
        """Return where the stored bytes of a sub-block start, and their number.

        Raises UserError if they are not there, or the directory describes another
            sub-block.
        """
        _, pixels = self._parts(block)
        return pixels

    def block_metadata(self, block: SubBlock) -> bytes:
        """Return what is said of a sub-block, as XML (empty if nothing is).

        Raises UserError: as for :meth:`pixel_range`.
        """
        metadata, _ = self._parts(block)
        return self._read(*metadata)

    def _parts(self, block: SubBlock) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return where the metadata and the pixels of a sub-block start; and sizes."""
        segment, segment_bytes = self._segment(block.position, "ZISRAWSUBBLOCK")
        raw = self._read(segment, min(segment_bytes, _SUBBLOCK_START * 4))
        if len(raw) < _SUBBLOCK_SIZES.size:
            raise self.damaged(f"a sub-block at byte {block.position} is too short")
        metadata, attachment, num_bytes = _SUBBLOCK_SIZES.unpack_from(raw)
        own, end = self._entry(raw, _SUBBLOCK_SIZES.size)
        if not block.agrees(own):
            raise self.damaged(
                f"the directory and the sub-block at byte {block.position} differ"
            )
        start = max(end, _SUBBLOCK_START)
        offset = start + metadata
        total = offset + num_bytes + attachment
        if min(metadata, num_bytes, attachment) < 0 or total > segment_bytes:
            raise self.damaged(
                f"the sub-block at byte {block.position} promises {num_bytes} bytes of "
                "pixels, more than there are"
            )
        return (segment + start, metadata), (segment + offset, num_bytes)

    def damaged(self, detail: str) -> UserError:
        """Return the error to raise where the file contradicts itself."""
        return UserError(f"{self.path}: damaged or incomplete CZI file ({detail})")

    def _in_parts(self, what: str) -> UserError:
        return UserError(
            f"{self.path}: {what} of a CZI in several files; save it as one in ZEN"
        )

    def _segment(self, position: int, name: str) -> tuple[int, int]:
        """Return where the content of a segment starts, and its number of bytes."""
        raw = self._read(position, _SEGMENT.size)
        found, allocated, used = _SEGMENT.unpack(raw)
        if found.rstrip(b"\0") != name.encode():
            raise self.damaged(f"no {name} at byte {position}")
        start, num_bytes = position + _SEGMENT.size, used or allocated
        if not 0 <= num_bytes <= self.num_bytes - start:
            raise self.damaged(
                f"{name} at byte {position} declares {num_bytes} bytes; the file ends "
                f"after {self.num_bytes - start}"
            )
        return start, num_bytes

    def _read(self, position: int, num_bytes: int) -> bytes:
        """Return bytes that must be in the file."""
        if not 0 <= position <= self.num_bytes - num_bytes:
            raise self.damaged(f"it ends before byte {position + num_bytes}")
        self._stream.seek(position)
        raw = self._stream.read(num_bytes)
        if len(raw) != num_bytes:
            raise self.damaged(f"it ends before byte {position + num_bytes}")
        return raw

    def _directory(self, position: int) -> list[SubBlock]:
        start, num_bytes = self._segment(position, "ZISRAWDIRECTORY")
        raw = self._read(start, num_bytes)
        count = int.from_bytes(raw[:4], "little", signed=True)
        if not 0 <= count * _ENTRY.size <= num_bytes - _DIRECTORY_START:
            raise self.damaged(f"a directory of {count} entries in {num_bytes} bytes")
        blocks, offset = [], _DIRECTORY_START
        for _ in range(count):
            block, offset = self._entry(raw, offset)
            blocks.append(block)
        if raw[offset : offset + 2] == b"DV":
            raise self.damaged(f"more than the {count} entries that its directory has")
        return blocks

    def _metadata(self, position: int) -> bytes:
        start, num_bytes = self._segment(position, "ZISRAWMETADATA")
        xml_bytes = int.from_bytes(self._read(start, 4), "little", signed=True)
        if not 0 <= xml_bytes <= num_bytes - _METADATA_START:
            raise self.damaged(f"metadata of {xml_bytes} bytes in {num_bytes}")
        return self._read(start + _METADATA_START, xml_bytes)

    def _entry(self, raw: bytes, offset: int) -> tuple[SubBlock, int]:
        """Return one entry of the directory, and where the next one starts."""
        if offset + _ENTRY.size > len(raw):
            raise self.damaged("an entry of the directory is cut off")
        schema, pixel_type, position, file_part, compression, *_, count = (
            _ENTRY.unpack_from(raw, offset)
        )
        offset += _ENTRY.size
        end = offset + count * _DIMENSION.size
        if schema != b"DV" or not 0 <= count <= _MAX_DIMENSIONS or end > len(raw):
            raise self.damaged("an entry of the directory makes no sense")
        if file_part:
            raise self._in_parts("is the first file")
        dimensions = {
            name.rstrip(b"\0").decode("latin-1"): (start, size, stored or size)
            for name, start, size, _, stored in _DIMENSION.iter_unpack(raw[offset:end])
        }
        try:
            x, width, stored_width = dimensions.pop("X")
            y, height, stored_height = dimensions.pop("Y")
        except KeyError:
            raise self.damaged("an entry of the directory has no X or Y") from None
        if min(width, height) < 1:
            raise self.damaged(f"a sub-block of {width} x {height} pixels")
        if any(size != 1 for _, size, _ in dimensions.values()):
            raise UserError(
                f"{self.path}: stores several planes in one sub-block (line scan or "
                "raw data); process it in ZEN and save the result as CZI"
            )
        block = SubBlock(
            position=position,
            pixel_type=pixel_type,
            compression=compression,
            x=x,
            y=y,
            width=width,
            height=height,
            full_resolution=(stored_width, stored_height) == (width, height),
            starts=tuple((name, start) for name, (start, *_) in dimensions.items()),
        )
        return block, end


@contextmanager
def open_czi(path: Path) -> Iterator[CziFile]:
    """Open a CZI file for reading while the block runs.

    Raises UserError if the operating system cannot read it.
    """
    try:
        with path.open("rb") as stream:
            yield CziFile(path, stream, path.stat().st_size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error

"""A writer of CZI files as microscopes make them but Zeiss' library does not."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

PIXEL_TYPES = {"uint8": 0, "uint16": 1, "float32": 2, "int32": 12}


@dataclass
class RawBlock:
    """A sub-block, whose every number in the file can be set to something else."""

    pixels: np.ndarray  # (Y, X)
    starts: dict[str, int] = field(default_factory=dict)
    x: int = 0
    y: int = 0
    shape: tuple[int, int] | None = None  # at full resolution; that of the pixels
    pixel_type: int | None = None
    compression: int = 0
    data: bytes | None = None  # as stored; the uncompressed pixels
    metadata: bytes = b""
    file_part: int = 0

    def entry(self, position: int) -> bytes:
        """Return its entry for the directory."""
        stored = self.pixels.shape
        rows, columns = self.shape or stored
        dimensions = [("X", self.x, columns, stored[1]), ("Y", self.y, rows, stored[0])]
        dimensions += [(axis, start, 1, 1) for axis, start in self.starts.items()]
        kind = self.pixel_type
        return struct.pack(
            "<2siqiiBB4si", b"DV", PIXEL_TYPES[str(self.pixels.dtype)]
            if kind is None else kind, position, self.file_part, self.compression,
            0, 0, b"", len(dimensions),
        ) + b"".join(
            struct.pack("<4siifi", axis.encode(), start, size, 0.0, stored_size)
            for axis, start, size, stored_size in dimensions
        )  # fmt: skip

    def segment(self, position: int) -> bytes:
        """Return its segment, to be written at a position."""
        data = self.pixels.tobytes() if self.data is None else self.data
        sizes = struct.pack("<iiq", len(self.metadata), 0, len(data))
        start = (sizes + self.entry(position)).ljust(256, b"\0")
        return segment("ZISRAWSUBBLOCK", start + self.metadata + data)


def segment(name: str, content: bytes) -> bytes:
    allocated = -(-len(content) // 32) * 32
    header = struct.pack("<16sqq", name.encode(), allocated, len(content))
    return header + content.ljust(allocated, b"\0")


def _pack_czi(
    path: Path,
    blocks: Sequence[RawBlock],
    *,
    xml: str | bytes | None = None,
    file_part: int = 0,
    with_directory: bool = True,
) -> Path:
    xml = xml.encode() if isinstance(xml, str) else xml
    metadata = b"" if xml is None else segment(
        "ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml
    )  # fmt: skip
    directory_at = 32 + 512 + len(metadata)
    entry_bytes = sum(len(block.entry(0)) for block in blocks)
    position = directory_at + len(
        segment("ZISRAWDIRECTORY", b"\0" * (128 + entry_bytes))
    )
    entries, segments = b"", b""
    for block in blocks:
        entries += block.entry(position)
        segments += block.segment(position)
        position = position + len(block.segment(position))
    header = struct.pack(
        "<iiii16s16siqqiq", 1, 0, 0, 0, b"", b"", file_part,
        directory_at if with_directory else 0, 544 if metadata else 0, 0, 0,
    )  # fmt: skip
    directory = struct.pack("<i124x", len(blocks)) + entries
    path.write_bytes(
        segment("ZISRAWFILE", header.ljust(512, b"\0"))
        + metadata
        + segment("ZISRAWDIRECTORY", directory)
        + segments
    )
    return path


@pytest.fixture(scope="session")
def raw_block() -> type[RawBlock]:
    return RawBlock


@pytest.fixture(scope="session")
def pack_czi() -> Callable[..., Path]:
    """Write raw blocks: ``pack_czi(path, blocks, xml=None, file_part=0, ...)``."""
    return _pack_czi

"""Shards of Zarr arrays: files that hold many chunks, so that there are few files.

The format is that of Zarr's "sharding_indexed" codec with its index at the end, as
Zarr's own library makes it. That library keeps a whole shard in memory to write it;
here the chunks, which are compressed already, are copied one after the other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from continual_repmode.files import replacing

_LARGEST = 256 * 2**20
_EMPTY = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Shards:
    """How the chunks of an array lie in shards of one channel and time point.

    A shard has at most 256 MB of pixels, and more than a quarter of that where the
    channel has.
    """

    axes: str
    #: Their shapes; of ``axes``.
    array: tuple[int, ...]
    chunk: tuple[int, ...]
    #: Bytes of a pixel.
    itemsize: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks of a shard along each axis."""
        counts = [
            1 if axis in "TC" else -(-length // side)
            for axis, length, side in zip(
                self.axes, self.array, self.chunk, strict=True
            )
        ]
        chunk_bytes = self.itemsize * math.prod(self.chunk)
        while math.prod(counts) * chunk_bytes > _LARGEST and max(counts) > 1:
            longest = counts.index(max(counts))
            counts[longest] = -(-counts[longest] // 2)
        return tuple(counts)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a shard, in pixels."""
        return tuple(n * side for n, side in zip(self.counts, self.chunk, strict=True))

    @property
    def hold_one_chunk(self) -> bool:
        """Shards would be no larger than chunks."""
        return math.prod(self.counts) == 1

    def create(self, sharded: Path, loose: Path, dtype: np.dtype[Any]) -> Any:
        """Make the array, and return the one that its chunks are to be written to.

        That is an array at ``loose``, whose chunks :meth:`pack` takes, or the array
        itself where shards would hold one chunk. What was at either place goes.
        """
        import zarr

        options: dict[str, Any] = {
            "shape": self.array,
            "chunks": self.chunk,
            "dtype": dtype,
            "overwrite": True,
        }
        names = list(self.axes.lower())
        with zarr.config.set({"array.write_empty_chunks": True}):
            made = zarr.create_array(
                str(sharded),
                shards=None if self.hold_one_chunk else self.shape,
                dimension_names=names,
                **options,
            )
            if self.hold_one_chunk:
                return made
            return zarr.create_array(str(loose), **options)

    def pack(self, loose: Path, sharded: Path, place: Mapping[str, int]) -> None:
        """Copy the chunk files of one channel into shards, and remove them.

        ``loose``: an array without shards, whose chunks of the channel are all there,
            or are in a shard already.
        ``sharded``: the array with shards.
        ``place``: the time point ``T`` and the channel ``C``.
        """
        numbers = self._numbers(self.shape)
        ranges = [
            (place[axis],) if axis in place else range(number)
            for axis, number in zip(self.axes, numbers, strict=True)
        ]
        for shard in product(*ranges):
            chunks = self._chunks(loose, shard)
            target = _file(sharded, shard)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                _write(target, chunks)
            for chunk in chunks:
                if chunk is not None:
                    chunk.unlink(missing_ok=True)

    def _chunks(self, loose: Path, shard: Sequence[int]) -> list[Path | None]:
        """Return the chunks of a shard in their order; None beyond the array."""
        numbers = self._numbers(self.chunk)
        found: list[Path | None] = []
        for within in product(*map(range, self.counts)):
            cell = [
                s * count + i
                for s, count, i in zip(shard, self.counts, within, strict=True)
            ]
            inside = all(i < n for i, n in zip(cell, numbers, strict=True))
            found.append(_file(loose, cell) if inside else None)
        return found

    def _numbers(self, sides: Sequence[int]) -> list[int]:
        """Return how many pieces of these sides the array has along each axis."""
        return [-(-n // side) for n, side in zip(self.array, sides, strict=True)]


def _file(array: Path, cell: Sequence[int]) -> Path:
    return array.joinpath("c", *map(str, cell))


def _write(target: Path, chunks: Sequence[Path | None]) -> None:
    """Write a shard: its chunks, then an index of (offset, size), then its CRC32C."""
    from google_crc32c import value as crc32c

    index = np.full((len(chunks), 2), _EMPTY, "<u8")
    with replacing(target) as temporary, temporary.open("wb") as file:
        for entry, chunk in zip(index, chunks, strict=True):
            if chunk is not None:
                content = chunk.read_bytes()
                entry[:] = file.tell(), len(content)
                file.write(content)
        table = index.tobytes()
        file.write(table + np.array(crc32c(table), "<u4").tobytes())

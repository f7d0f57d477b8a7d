"""CZI files of Zeiss microscopes: one scene and time point of them as a volume."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.volumes.choices import (
    ChoiceNeededError,
    Choices,
    channel_index,
    chosen_index,
)
from continual_repmode.volumes.formats.czi_blocks import pixel_dtype, read_block
from continual_repmode.volumes.formats.czi_layout import CziFile, SubBlock, open_czi
from continual_repmode.volumes.formats.czi_metadata import CziMetadata, stage_um
from continual_repmode.volumes.volume import (
    VolumeHeader,
    VoxelSize,
    check_size,
    volume_shape,
)

_CHOSEN_AXES = {
    "scene": "S", "time": "T", "view": "V", "phase": "H", "illumination": "I",
    "rotation": "R", "block": "B",
}  # fmt: skip
_MAX_EMPTINESS = 10
"""A mosaic's rectangle is at most this many times the area of its tiles."""

Chosen = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CziVolume(VolumeHeader):
    """A CZI file as a :class:`~continual_repmode.volumes.volume.VolumeReader`.

    Several scenes, time points, views, phases, illuminations, rotations or blocks are
    chosen among by the choices of these names, by index or, for scenes, by name. Of a
    mosaic, ``tile`` takes one tile by its index, or ``all`` of them: each is placed by
    its coordinates in the smallest rectangle around them, later tiles over earlier
    ones, without blending; where no tile lies, the intensity is 0. The coarser copies
    of an image pyramid are left aside.
    """

    #: Those of the volume, in the order of tiles.
    blocks: tuple[SubBlock, ...]
    #: Index in the file of each channel.
    channel_starts: tuple[int, ...]
    #: Index (z, y, x) in the file of the volume's first voxel.
    origin: tuple[int, int, int]
    #: Where focus and stage (z, y, x) were for the first plane of the first tile.
    stage_um: VoxelSize

    @property
    def files(self) -> tuple[Path, ...]:
        """The file itself; images spread over several files are refused."""
        return (self.path,)

    @classmethod
    def open(cls, path: Path, choices: Choices) -> Self:
        """Read the directory and the metadata of ``path``, no pixels.

        Raises UserError if the file is damaged or one of several parts, holds colors,
            several scenes, time points, ... of which none was chosen, channels of
            different size, or a compression that needs the optional ``imagecodecs``.
        """
        with open_czi(path) as czi:
            all_blocks, xml = czi.read_headers()
            metadata = _metadata(czi, xml)
            blocks, chosen = _choose(czi, all_blocks, metadata.scene_names, choices)
            channels = sorted({block.start("C") for block in blocks})
            origin, zyx = _extent(czi, blocks)
            kinds = {(b.pixel_type, b.compression): b for b in blocks}
            dtype = np.result_type(*(pixel_dtype(path, b) for b in kinds.values()))
            check_size(path, zyx, dtype, czi.num_bytes)
            # the end of an incomplete copy is missing: look at the last pixels
            czi.pixel_range(max(blocks, key=lambda block: block.position))
            stage = stage_um(czi.block_metadata(min(blocks, key=_order)))
        sizes = (len(channels), *zyx)
        kept = [k for k, size in enumerate(sizes) if size > 1 or k >= 2]
        return cls(
            path=path,
            chosen=chosen,
            axes="".join("CZYX"[k] for k in kept),
            shape=tuple(sizes[k] for k in kept),
            dtype=dtype,
            channel_names=_names_of(channels, metadata.channel_names),
            voxel_size_um=metadata.voxel_size_um,
            blocks=tuple(sorted(blocks, key=_order)),
            channel_starts=tuple(channels),
            origin=origin,
            stage_um=stage,
        )

    @property
    def origin_um(self) -> VoxelSize:
        """Where the volume lies: as the stage was, if the file says so.

        The stage is that of the first tile; a mosaic begins as many pixels before it as
        its other tiles do. Without a stage, it is the place of the first voxel in the
        coordinates that scenes and tiles share.
        """
        first = self.blocks[0]
        begins = (self.origin[0], first.y, first.x)
        z, y, x = (
            um and start * um
            if stage is None
            else stage + (start - begin) * (um or 0.0)
            for start, begin, um, stage in zip(
                self.origin, begins, self.voxel_size_um, self.stage_um, strict=True
            )
        )
        return z, y, x

    def read_channel(
        self, channel: int | str, planes: slice = slice(None)
    ) -> NDArray[Any]:
        """Read one channel as (Z, Y, X); sub-blocks of the others stay untouched."""
        index = channel_index(self, channel)
        num_planes, num_rows, num_columns = volume_shape(self)
        z0, y0, x0 = self.origin
        blocks = [
            block
            for block in self.blocks
            if block.start("C") == self.channel_starts[index]
        ]
        num_tiles = len({block.start("M") for block in self.blocks})
        tiles = Counter(block.start("Z") - z0 for block in blocks)
        wanted = range(num_planes)[planes]
        missing = [z for z in wanted if tiles[z] < num_tiles]
        if missing:
            raise UserError(
                f"{self.path}: plane {missing[0]} of channel {index} is missing or "
                f"incomplete ({len(tiles)} of {num_planes} planes are there); choose "
                "another channel or record it again"
            )
        stack = np.zeros((len(wanted), num_rows, num_columns), self.dtype)
        with open_czi(self.path) as czi:
            for block in blocks:
                if (z := block.start("Z") - z0) in wanted:
                    y, x = block.y - y0, block.x - x0
                    plane = stack[wanted.index(z)]
                    plane[y : y + block.height, x : x + block.width] = read_block(
                        czi, block
                    )
        return stack


def _order(block: SubBlock) -> tuple[int, int, int]:
    """Tiles in the order in which later ones cover earlier ones."""
    return block.start("M"), block.start("Z"), block.start("C")


def _metadata(czi: CziFile, xml: bytes) -> CziMetadata:
    try:
        return CziMetadata.parse(xml)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise czi.damaged(f"its metadata are no XML: {error}") from error


def _names_of(channels: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of channels, which the metadata list in order of the index."""
    if len(names) == len(channels):
        return tuple(names)
    return tuple(names[c] if 0 <= c < len(names) else "" for c in channels)


def _choose(
    czi: CziFile,
    blocks: list[SubBlock],
    scene_names: dict[int, str],
    choices: Choices,
) -> tuple[list[SubBlock], Chosen]:
    """Return the sub-blocks of one volume, and what of the file was taken."""
    if not blocks:
        raise czi.damaged("it holds no image")
    blocks = _full_resolution(czi.path, blocks)
    chosen = []
    for what, axis in _CHOSEN_AXES.items():
        starts = sorted({block.start(axis) for block in blocks})
        names = [scene_names.get(k, "") if axis == "S" else "" for k in starts]
        index = chosen_index(czi.path, what, names, choices)
        blocks = [block for block in blocks if block.start(axis) == starts[index]]
        if len(starts) > 1 or what in choices:
            chosen.append((what, str(index)))
    if "level" in choices:
        chosen.append(("level", str(chosen_index(czi.path, "level", [""], choices))))
    tile = _chosen_tile(czi.path, blocks, choices)
    if tile is not None:
        chosen.append(("tile", tile))
        if tile != "all":
            start = sorted({block.start("M") for block in blocks})[int(tile)]
            blocks = [block for block in blocks if block.start("M") == start]
    return blocks, tuple(chosen)


def _full_resolution(path: Path, blocks: list[SubBlock]) -> list[SubBlock]:
    """Return the sub-blocks without the coarse copies of an image pyramid."""
    full = [block for block in blocks if block.full_resolution]
    planes = {tuple(block.start(axis) for axis in "CZT") for block in full}
    for block in blocks:
        if tuple(block.start(axis) for axis in "CZT") not in planes:
            raise UserError(
                f"{path}: plane {block.start('Z')} of channel {block.start('C')} is "
                "not there at full resolution (raw Airyscan or PALM data?); process it "
                "in ZEN and save the result"
            )
    return full


def _chosen_tile(path: Path, blocks: list[SubBlock], choices: Choices) -> str | None:
    """Return the index of the tile to take, ``all``, or None if there is but one."""
    num_tiles = len({block.start("M") for block in blocks})
    wanted = choices.get("tile")
    if wanted is None and num_tiles == 1:
        return None
    if wanted is None:
        raise ChoiceNeededError(
            f"{path}: a mosaic of {num_tiles} of 'tile'; choose one: 0 to "
            f"{num_tiles - 1}, or all to join them",
            "tile",
        )
    if wanted == "all":
        return wanted
    return str(chosen_index(path, "tile", [""] * num_tiles, choices))


def _extent(
    czi: CziFile, blocks: list[SubBlock]
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the origin (z, y, x) and shape (Z, Y, X) of a volume."""
    counts = Counter(
        tuple(block.start(axis) for axis in ("C", "Z", "M")) for block in blocks
    )
    (channel, z, tile), count = counts.most_common(1)[0]
    if count > 1:
        raise czi.damaged(
            f"plane {z} of channel {channel}, tile {tile}, is there {count} times"
        )
    _check_same_places(czi.path, blocks)
    zs = sorted({z for _, z, _ in counts})
    for before, after in itertools.pairwise(zs):
        if after != before + 1:
            raise czi.damaged(
                f"planes {before + 1} to {after - 1} are missing in every channel"
            )
    x0, y0 = min(b.x for b in blocks), min(b.y for b in blocks)
    width = max(b.x + b.width for b in blocks) - x0
    height = max(b.y + b.height for b in blocks) - y0
    tile_area = sum({b.start("M"): b.width * b.height for b in blocks}.values())
    if width * height > _MAX_EMPTINESS * tile_area:
        raise ChoiceNeededError(
            f"{czi.path}: the tiles fill less than a tenth of the {width} x {height} "
            "pixels around them; choose one of them",
            "tile",
        )
    return (zs[0], y0, x0), (len(zs), height, width)


def _check_same_places(path: Path, blocks: list[SubBlock]) -> None:
    """Raise if a tile changes its size or place from channel to channel or plane."""
    first: dict[int, SubBlock] = {}
    for block in blocks:
        other = first.setdefault(block.start("M"), block)
        rectangles = [(b.width, b.height, b.x, b.y) for b in (other, block)]
        if rectangles[0] != rectangles[1]:
            described = (
                f"channel {b.start('C')} plane {b.start('Z')} is {b.width} x "
                f"{b.height} pixels at ({b.x}, {b.y})"
                for b in (other, block)
            )
            raise UserError(
                f"{path}: {' but '.join(described)}; bring all to one grid in ZEN"
            )

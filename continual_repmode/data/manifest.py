"""Pairs of volumes listed in a CSV file, checked before any pixel is read."""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from continual_repmode.data.collection import Split
from continual_repmode.data.manifest_pairs import (
    Box,
    ManifestPair,
    VoxelSizeUm,
    row_voxel_size_um,
    source_channels,
)
from continual_repmode.data.manifest_rows import CROP, ManifestRow, read_rows
from continual_repmode.data.splits import split_sources
from continual_repmode.data.volumes import VolumeReader, open_volume
from continual_repmode.errors import UserError


class ManifestCollection:
    """The pairs of a manifest, by task and split.

    A manifest is a CSV file with one pair per row. Its columns are ``task`` and either
    ``path, channel_signal, channel_target`` (both channels in one file) or
    ``path_signal, path_target`` (two files; the channel columns may be added).
    Optional are ``split`` (train, valid, test), ``voxel_size_z_um``,
    ``voxel_size_y_um`` and ``voxel_size_x_um`` (micrometres, instead of what the file
    says), and ``z0, z1, y0, y1, x0, x1`` (a crop in raw voxels; blank means to the
    edge). Channels are indices from 0 or names, paths are relative to the manifest,
    and other columns are left alone.

    Parameters
    ----------
    path : str or Path
        The manifest.
    voxel_size_um : sequence of float
        Voxel size (z, y, x) of the model grid in micrometres.
    source_voxel_size_um : sequence of float, optional
        Voxel size (z, y, x) of files that do not tell theirs, in micrometres.
    seed : int
        For the random split of a manifest without the column ``split``.

    Raises
    ------
    UserError
        For whatever is wrong with a row or with the headers of its files: missing
        files and channels, shapes that differ, a crop outside the image, an unknown
        voxel size, or one region of an image in two splits. Pixels are not read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        voxel_size_um: Sequence[float] = (0.29, 0.29, 0.29),
        source_voxel_size_um: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        self._voxel_size_um = _voxel_size("data.voxel_size_um", voxel_size_um)
        fallback_um = (
            None
            if source_voxel_size_um is None
            else _voxel_size("data.source_voxel_size_um", source_voxel_size_um)
        )
        path = Path(path)
        rows = read_rows(path)
        volumes = _open_files(rows)
        self._pairs = [
            ManifestPair(
                row,
                name,
                *source_channels(row, volumes),
                row_voxel_size_um(row, volumes, fallback_um),
                self._voxel_size_um,
            )
            for row, name in zip(rows, _pair_names(rows), strict=True)
        ]
        self._splits = _assign_splits(path, self._pairs, seed)
        _check_no_leak(self._pairs, self._splits)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the structures, in the order in which the manifest names them."""
        return tuple(dict.fromkeys(pair.task for pair in self._pairs))

    @property
    def voxel_size_um(self) -> VoxelSizeUm:
        """Voxel size (z, y, x) of the model grid in micrometres."""
        return self._voxel_size_um

    def pairs(self, task: str, split: Split) -> Sequence[ManifestPair]:
        """Return the pairs of one task and split, in the order of the manifest."""
        if task not in self.tasks:
            raise UserError(
                f"no task {task!r} here; choose from {', '.join(self.tasks)}"
            )
        return [
            pair
            for pair, side in zip(self._pairs, self._splits, strict=True)
            if pair.task == task and side == split
        ]


def _voxel_size(option: str, voxel_size_um: Sequence[float]) -> VoxelSizeUm:
    """Check a voxel size (z, y, x) in micrometres."""
    if len(voxel_size_um) != 3 or not all(
        math.isfinite(um) and um > 0 for um in voxel_size_um
    ):
        raise UserError(
            f"{option}={list(voxel_size_um)}: use three positive lengths [z,y,x] "
            "in micrometres"
        )
    z, y, x = voxel_size_um
    return float(z), float(y), float(x)


def _open_files(rows: Sequence[ManifestRow]) -> dict[Path, VolumeReader]:
    """Read the headers of every file once."""
    volumes: dict[Path, VolumeReader] = {}
    for row in rows:
        for path in (row.signal_path, row.target_path):
            if path not in volumes:
                try:
                    volumes[path] = open_volume(path)
                except UserError as error:
                    raise UserError(f"{row.where}: {error}") from error
    return volumes


def _pair_names(rows: Sequence[ManifestRow]) -> list[str]:
    """Name each pair after its task and its transmitted-light file."""
    names: list[str] = []
    for row in rows:
        stem = re.sub(r"(\.ome|\.companion)*$", "", row.signal_path.stem)
        name = f"{row.task}_" + re.sub(r"[^A-Za-z0-9._-]+", "-", stem)
        while name in names:
            name += f"_row{row.number}"
        names.append(name)
    return names


def _assign_splits(path: Path, pairs: Sequence[ManifestPair], seed: int) -> list[Split]:
    """Return each pair's split: the manifest's, or a random one per source image."""
    given = [pair.row.split for pair in pairs if pair.row.split is not None]
    if given:  # then every row has one
        return given
    sources = defaultdict(list)
    for pair in pairs:
        sources[pair.task].append(str(pair.row.signal_path))
    try:
        sides = split_sources(sources, seed=seed)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return [sides[str(pair.row.signal_path)] for pair in pairs]


def _check_no_leak(pairs: Sequence[ManifestPair], splits: Sequence[Split]) -> None:
    """Raise if two splits share voxels of an image, under whatever task or channel."""
    seen: dict[Path, list[tuple[Split, ManifestPair]]] = defaultdict(list)
    for pair, split in zip(pairs, splits, strict=True):
        for path in {pair.row.signal_path, pair.row.target_path}:
            for other_split, other in seen[path]:
                if split != other_split and _overlap(pair.signal.box, other.signal.box):
                    raise UserError(
                        f"{pair.row.where}: {path.name} is in {split!r} here and in "
                        f"{other_split!r} in row {other.row.number}; put both in one "
                        f"split, or give crops ({', '.join(CROP)}) that do not overlap"
                    )
            seen[path].append((split, pair))


def _overlap(one: Box, other: Box) -> bool:
    """Return whether two boxes share a voxel."""
    return all(
        a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True)
    )

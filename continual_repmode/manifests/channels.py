"""The channels of a manifest row: its cells compared with the headers of its files."""

import math
from pathlib import Path

from continual_repmode.errors import UserError
from continual_repmode.manifests.rows import (
    CROP,
    TARGET_KIND,
    VOXEL_SIZE,
    ManifestRow,
    cell_error,
)
from continual_repmode.paths import source_of
from continual_repmode.volumes.choices import ChoiceNeededError, channel_index
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.preparation import VoxelSizeUm, is_voxel_length
from continual_repmode.volumes.source_channels import Box, SourceChannel
from continual_repmode.volumes.volume import (
    VolumeReader,
    refuse_missing_chunks,
    volume_shape,
)


def source_channels(
    row: ManifestRow, signal: VolumeReader, target: VolumeReader
) -> tuple[SourceChannel, SourceChannel]:
    """Return the two channels of a row, checked against each other.

    Raises UserError if a channel is not there, the shapes differ, or the crop lies
        outside.
    """
    box, target_box = _box(row, signal), _box(row, target)
    if row.target_kind is not None:
        num_z = volume_shape(target)[0]
        if num_z != 1:
            raise cell_error(
                row.where,
                TARGET_KIND,
                row.target_kind,
                f"{target.path.name} holds {num_z} planes, not one; leave the cell "
                "blank for a target that is a stack",
            )
        box_of_target = (slice(0, 1), *target_box[1:])
    else:
        box_of_target = target_box
    if target_box[row.target_kind is not None :] != box[row.target_kind is not None :]:
        shape, target_shape = volume_shape(signal), volume_shape(target)
        remedy = f"crop both to the same part by the columns {', '.join(CROP)}"
        if 1 in (shape[0], target_shape[0]):
            remedy = (
                "a single plane is paired with a stack by the column "
                f"{TARGET_KIND!r}: max (a maximum projection) or focus"
            )
        raise UserError(
            f"{row.where}: the two images differ in shape (z, y, x): "
            f"{signal.path.name} {shape}, {target.path.name} {target_shape}; {remedy}"
        )
    signal_index = _channel(row, "channel_signal", row.signal_channel, signal)
    target_index = _channel(row, "channel_target", row.target_channel, target)
    same_file = source_of(row.signal_path) == source_of(row.target_path)
    if same_file and signal_index == target_index:
        raise cell_error(
            row.where,
            "channel_target",
            target_index,
            "signal and target are the same channel of the same file",
        )
    return (
        SourceChannel(signal, signal_index, box),
        SourceChannel(target, target_index, box_of_target),
    )


def opening_error(row: ManifestRow, error: UserError) -> UserError:
    """Return why a file of a row cannot be opened, with a remedy of manifests."""
    text = str(error)
    if isinstance(error, ChoiceNeededError):
        text = f"{error.problem}, by the column {error.what!r} of the manifest"
    return UserError(f"{row.where}: {text}")


def _channel(
    row: ManifestRow, column: str, channel: str | None, volume: VolumeReader
) -> int:
    """Return the index of a channel; it may be left blank where there is only one."""
    if channel is None and len(volume.channel_names) == 1:
        return 0
    try:
        return channel_index(volume, "" if channel is None else channel)
    except UserError as error:
        raise UserError(f"{row.where}, column {column!r}: {error}") from error


def _box(row: ManifestRow, volume: VolumeReader) -> Box:
    """Return the crop as slices, checked against the image."""
    slices = []
    for axis, size in enumerate(volume_shape(volume)):
        start, stop = row.crop[2 * axis], row.crop[2 * axis + 1]
        start, stop = 0 if start is None else start, size if stop is None else stop
        if not 0 <= start < stop <= size:
            low, high = CROP[2 * axis], CROP[2 * axis + 1]
            raise cell_error(
                row.where,
                f"{low}, {high}",
                f"{start}, {stop}",
                f"use 0 <= {low} < {high} <= {size}, the size of {volume.path.name}",
            )
        slices.append(slice(start, stop))
    z, y, x = slices
    return z, y, x


SOURCE_VOXEL_SIZE = (
    "set data.source_voxel_size_um=[z,y,x] in micrometres (--source-voxel-size Z Y X)"
)
"""How to tell the voxel size of all files: in a run, and as an option."""


def row_voxel_size_um(
    row: ManifestRow,
    signal: VolumeReader,
    target: VolumeReader,
    given_um: VoxelSizeUm | None,
    remedy: str = SOURCE_VOXEL_SIZE,
) -> VoxelSizeUm:
    """Return the voxel size: of the row, else as given for all, else of the files.

    ``given_um``: voxel size (z, y, x) in micrometres that the user gave for all files.
    Raises UserError if the files contradict each other, or nothing tells the size, or
        what they tell is no size of a voxel; unless row or user say it.
    """
    signal_um, target_um = signal.voxel_size_um, target.voxel_size_um
    if row.target_kind is not None:  # one plane has no distance of planes
        target_um = (None, *target_um[1:])
    remedy = f"fill the columns {', '.join(VOXEL_SIZE)} with the right one, or {remedy}"
    found: list[float] = []
    for axis, along in enumerate("zyx"):
        said = row.voxel_size_um[axis] or (given_um[axis] if given_um else None)
        one, other = signal_um[axis], target_um[axis]
        if not said and one and other and not _agree(one, other):
            raise UserError(
                f"{row.where}: {row.signal_path.name} says {one:g} µm and "
                f"{row.target_path.name} {other:g} µm along {along}; {remedy}"
            )
        size_um = said or one or other
        if not size_um:
            raise UserError(
                f"{row.where}: {row.signal_path.name} has no voxel size along {along} "
                f"in its metadata; {remedy}"
            )
        if not is_voxel_length(size_um):
            path = row.signal_path if size_um == one else row.target_path
            raise UserError(
                f"{row.where}: {path.name} says {size_um:g} µm along {along}; {remedy}"
            )
        found.append(size_um)
    z, y, x = found
    return z, y, x


def overruled_size(volume: VolumeReader, used_um: VoxelSizeUm) -> str | None:
    """Return what the metadata say, if it is not the voxel size that is used."""
    told = volume.voxel_size_um
    if all(not um or _agree(um, used) for um, used in zip(told, used_um, strict=True)):
        return None
    return f"{' x '.join(f'{um:g}' if um else '?' for um in told)} µm in its metadata"


def _agree(one_um: float, other_um: float) -> bool:
    return math.isclose(one_um, other_um, rel_tol=0.01)


class Readers:
    """Opens the files of rows, the headers of each one once."""

    def __init__(self, whole: bool) -> None:
        self._whole = whole
        self._opened: dict[object, VolumeReader | UserError] = {}

    def open(
        self, row: ManifestRow, grid_um: VoxelSizeUm | None
    ) -> tuple[VolumeReader, VolumeReader]:
        """Return the readers of signal and target.

        A row that tells a voxel size or a crop speaks of the full resolution, so no
        coarser level is taken then; nor where ``grid_um`` is None.
        """
        full = any(value is not None for value in (*row.voxel_size_um, *row.crop))
        wanted_um = None if full else grid_um
        return (
            self._reader(row, row.signal_path, wanted_um),
            self._reader(row, row.target_path, wanted_um),
        )

    def _reader(
        self, row: ManifestRow, path: Path, wanted_um: VoxelSizeUm | None
    ) -> VolumeReader:
        key = (path, row.choices, wanted_um)
        if key not in self._opened:
            try:
                opened = open_volume(path, dict(row.choices), wanted_um)
                if self._whole:
                    refuse_missing_chunks(opened)
                self._opened[key] = opened
            except UserError as error:
                self._opened[key] = error
        known = self._opened[key]
        if isinstance(known, UserError):
            raise opening_error(row, known) from known
        return known

"""One row of a manifest and its image files: checked together, then loaded."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from numpy.typing import NDArray

from continual_repmode.data.checks.facts import (
    FACTS_VERSION,
    PairFacts,
    from_json,
    measure_pair,
    to_json,
)
from continual_repmode.data.collection import LoadedPair
from continual_repmode.data.manifest_rows import (
    CROP,
    VOXEL_SIZE,
    ManifestRow,
    cell_error,
)
from continual_repmode.data.preparation import (
    Preparation,
    VoxelSizeUm,
    is_voxel_length,
)
from continual_repmode.data.store import PreparedArray, PreparedStore
from continual_repmode.data.volumes import (
    VolumeReader,
    channel_index,
    memory_bytes,
    volume_shape,
)
from continual_repmode.errors import UserError

Box = tuple[slice, slice, slice]
Read = Callable[[], NDArray[Any]]

_GRID_VOXEL_BYTES = 4
"""Volumes are resized in single precision."""


@dataclass(frozen=True, slots=True)
class SourceChannel:
    """One channel of a file within a box (z, y, x) of raw voxels."""

    volume: VolumeReader
    channel: int
    box: Box

    @property
    def label(self) -> str:
        """File, channel and its name, for messages."""
        name = self.volume.channel_names[self.channel]
        named = f" ({name})" if name else ""
        return f"{self.volume.path}, channel {self.channel}{named}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the box."""
        z, y, x = (side.stop - side.start for side in self.box)
        return z, y, x

    def read(self) -> NDArray[Any]:
        """Return the raw voxels (Z, Y, X)."""
        z, y, x = self.box
        return self.volume.read_channel(self.channel, planes=z)[:, y, x]

    def recipe(self, store: PreparedStore) -> dict[str, Any]:
        """Return everything that decides the raw voxels."""
        return {
            "content": store.content_hash(self.volume),
            "chosen": [list(choice) for choice in self.volume.chosen],
            "channel": self.channel,
            "box": [[side.start, side.stop] for side in self.box],
        }


class ManifestPair:
    """One row of a manifest, as a :class:`~continual_repmode.data.collection.Pair`.

    Attributes
    ----------
    row : ManifestRow
    name : str
        Task and file name, and the row number where these repeat.
    signal, target : SourceChannel
        Of the same shape.
    source_voxel_size_um : tuple of float
        Voxel size (z, y, x) of the files.
    preparation : Preparation
        How the channels come onto the model grid.
    store : PreparedStore
        Where they are kept.
    """

    def __init__(
        self,
        row: ManifestRow,
        name: str,
        channels: tuple[SourceChannel, SourceChannel],
        source_voxel_size_um: VoxelSizeUm,
        preparation: Preparation,
        store: PreparedStore,
    ) -> None:
        self.row = row
        self.name = name
        self.signal, self.target = channels
        self.source_voxel_size_um = source_voxel_size_um
        self.preparation = preparation
        self.store = store
        self._prepared: tuple[PreparedArray, PreparedArray] | None = None

    @property
    def task(self) -> str:
        """Name of the structure in the target."""
        return self.row.task

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) on the model grid."""
        return self.preparation.grid_shape(self.signal.shape, self.source_voxel_size_um)

    def load(self) -> LoadedPair:
        """Return both volumes as read-only memory maps; prepares them if need be."""
        if self._prepared is None:
            self._prepared = self.prepare()
        signal, target = self._prepared
        return LoadedPair(
            signal.open(), target.open(), signal.intensity, target.intensity
        )

    def missing_bytes(self) -> int:
        """Return the disk space that preparing this pair may take; reads no voxels."""
        one = self.preparation.num_bytes(self.signal.shape, self.source_voxel_size_um)
        known = (
            channel
            for channel in (self.signal, self.target)
            if self.store.known_content_hash(channel.volume)
            and self.store.find(self._recipe(channel))
        )
        return one * (2 - sum(1 for _ in known))

    def prepare(self, wait: bool = True) -> tuple[PreparedArray, PreparedArray]:
        """Read, z-score, resize and store what is not in the store yet.

        Parameters
        ----------
        wait : bool
            Wait for another process that prepares the same channel.

        Raises
        ------
        UserError
            If a channel is damaged, constant or not finite, or cannot be stored.
        EntryBusyError
            If another process is at it and ``wait`` is false.
        """
        return self._prepare(self.signal.read, self.target.read, wait)

    def measure(self) -> PairFacts:
        """Return what the check needs to know of the raw voxels; remembered.

        Raises
        ------
        UserError
            If a channel is damaged.
        """
        return self._measure(self.signal.read, self.target.read)

    def measure_and_prepare(self, wait: bool = True) -> PairFacts:
        """Do both, reading each channel at most once.

        A pair that cannot be prepared for what was measured is left as it is. Raises
        what :meth:`prepare` raises.
        """
        read_signal, read_target = cache(self.signal.read), cache(self.target.read)
        facts = self._measure(read_signal, read_target)
        if facts.usable:
            self._prepare(read_signal, read_target, wait)
        return facts

    def _measure(self, read_signal: Read, read_target: Read) -> PairFacts:
        try:
            recipe = {
                "facts": FACTS_VERSION,
                "signal": self.signal.recipe(self.store),
                "target": self.target.recipe(self.store),
            }
            known = self.store.find_facts(recipe)
            if known is not None:
                return from_json(known)
            facts = measure_pair(read_signal(), read_target())
            self.store.save_facts(recipe, to_json(facts))
        except UserError as error:
            raise UserError(f"{self.row.where}: {error}") from error
        return facts

    def _prepare(
        self, read_signal: Read, read_target: Read, wait: bool
    ) -> tuple[PreparedArray, PreparedArray]:
        try:
            return (
                self._prepare_channel(self.signal, read_signal, wait),
                self._prepare_channel(self.target, read_target, wait),
            )
        except UserError as error:
            raise UserError(f"{self.row.where}: {error}") from error

    def _prepare_channel(
        self, channel: SourceChannel, read: Read, wait: bool
    ) -> PreparedArray:
        recipe = self._recipe(channel)
        found = self.store.find(recipe)
        if found is not None:
            return found
        with self.store.claim(recipe, wait):
            found = self.store.find(recipe)  # made while this process was waiting
            if found is not None:
                return found
            try:
                prepared = self.preparation.apply(read(), self.source_voxel_size_um)
            except UserError as error:
                raise UserError(f"{channel.label}: {error}") from error
            return self.store.save(recipe, *prepared, channel.label)

    def _recipe(self, channel: SourceChannel) -> dict[str, Any]:
        return {
            "source": channel.recipe(self.store),
            "from_um": list(self.source_voxel_size_um),
            "preparation": asdict(self.preparation),
        }


def source_channels(
    row: ManifestRow, signal: VolumeReader, target: VolumeReader
) -> tuple[SourceChannel, SourceChannel]:
    """Return the two channels of a row, checked against each other.

    Raises
    ------
    UserError
        If a channel is not there, the shapes differ, or the crop lies outside.
    """
    shape, target_shape = volume_shape(signal), volume_shape(target)
    if target_shape != shape:
        remedy = "cut them to the same field"
        if 1 in (shape[0], target_shape[0]):
            remedy = "a single plane or projection cannot be paired with a stack"
        raise UserError(
            f"{row.where}: the two images differ in shape (z, y, x): "
            f"{signal.path.name} {shape}, {target.path.name} {target_shape}; {remedy}"
        )
    box = _box(row, shape)
    signal_index = _channel(row, "channel_signal", row.signal_channel, signal)
    target_index = _channel(row, "channel_target", row.target_channel, target)
    if row.signal_path == row.target_path and signal_index == target_index:
        raise cell_error(
            row.where,
            "channel_target",
            target_index,
            "signal and target are the same channel of the same file",
        )
    return (
        SourceChannel(signal, signal_index, box),
        SourceChannel(target, target_index, box),
    )


def _channel(
    row: ManifestRow, column: str, channel: int | str | None, volume: VolumeReader
) -> int:
    """Return the index of a channel; it may be left blank where there is only one."""
    if channel is None and len(volume.channel_names) == 1:
        return 0
    try:
        return channel_index(volume, "" if channel is None else channel)
    except UserError as error:
        raise UserError(f"{row.where}, column {column!r}: {error}") from error


def _box(row: ManifestRow, shape: tuple[int, int, int]) -> Box:
    """Return the crop as slices, checked against the image."""
    slices = []
    for axis, size in enumerate(shape):
        start, stop = row.crop[2 * axis], row.crop[2 * axis + 1]
        start, stop = 0 if start is None else start, size if stop is None else stop
        if not 0 <= start < stop <= size:
            low, high = CROP[2 * axis], CROP[2 * axis + 1]
            raise cell_error(
                row.where,
                f"{low}, {high}",
                f"{start}, {stop}",
                f"use 0 <= {low} < {high} <= {size}, the size of the image",
            )
        slices.append(slice(start, stop))
    z, y, x = slices
    return z, y, x


def row_voxel_size_um(
    row: ManifestRow,
    signal: VolumeReader,
    target: VolumeReader,
    fallback_um: VoxelSizeUm | None,
) -> VoxelSizeUm:
    """Return the voxel size: of the row, else of the files, else of the fallback.

    Raises
    ------
    UserError
        If the files contradict each other, or nothing tells the size, or what they
        tell is no size of a voxel.
    """
    signal_um, target_um = signal.voxel_size_um, target.voxel_size_um
    found: list[float] = []
    for axis, column in enumerate(VOXEL_SIZE):
        given, one, other = row.voxel_size_um[axis], signal_um[axis], target_um[axis]
        if (
            given is None
            and one
            and other
            and not math.isclose(one, other, rel_tol=0.01)
        ):
            raise UserError(
                f"{row.where}: {row.signal_path.name} says {one:g} µm and "
                f"{row.target_path.name} {other:g} µm along {'zyx'[axis]}; "
                f"fill the column {column!r} with the right one"
            )
        fallback = fallback_um[axis] if fallback_um else None
        size_um = given or one or other or fallback
        if size_um is None:
            raise UserError(
                f"{row.where}: {row.signal_path.name} does not tell its voxel size "
                f"along {'zyx'[axis]}; set data.source_voxel_size_um=[z,y,x] in "
                "micrometres (--source-voxel-size), or fill the columns "
                f"{', '.join(VOXEL_SIZE)}"
            )
        if not is_voxel_length(size_um):
            path = row.signal_path if size_um == one else row.target_path
            raise UserError(
                f"{row.where}: {path.name} says {size_um:g} µm along {'zyx'[axis]}; "
                f"fill the column {column!r} with the right one"
            )
        found.append(size_um)
    z, y, x = found
    return z, y, x


def check_grid(pair: ManifestPair) -> None:
    """Raise if a pair has more voxels on the model grid than memory can hold."""
    needed = math.prod(pair.grid_shape) * _GRID_VOXEL_BYTES
    if needed > memory_bytes():
        raise UserError(
            f"{pair.row.where}: {pair.row.signal_path.name}: {pair.signal.shape} "
            f"voxels of {pair.source_voxel_size_um} µm become {pair.grid_shape} of "
            f"{pair.preparation.voxel_size_um} µm, {needed / 1e9:.0f} GB; see that "
            f"{', '.join(VOXEL_SIZE)} and data.voxel_size_um are right, or crop it"
        )

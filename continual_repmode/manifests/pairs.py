"""A pair of a manifest: measured, prepared once, and loaded."""

import math
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.data.collection import LoadedPair
from continual_repmode.errors import UserError
from continual_repmode.manifests.checks.facts import (
    FACTS_VERSION,
    PairFacts,
    from_json,
    measure_pair,
    to_json,
)
from continual_repmode.manifests.rows import VOXEL_SIZE, ManifestRow
from continual_repmode.volumes.padding import hidden_voxels
from continual_repmode.volumes.plausibility import doubts, noise
from continual_repmode.volumes.preparation import Preparation, VoxelSizeUm
from continual_repmode.volumes.source_channels import SourceChannel
from continual_repmode.volumes.store import PreparedArray, PreparedStore
from continual_repmode.volumes.volume import memory_bytes

Read = Callable[[], NDArray[Any]]
Hidden = Callable[[], NDArray[np.bool_] | None]
"""Returns where a channel has no recorded voxels, None if it has everywhere."""

_GRID_VOXEL_BYTES = 4
"""Volumes are resized in single precision."""


class ManifestPair:
    """One row of a manifest, as a :class:`~continual_repmode.data.collection.Pair`.

    ``name``: task and file name, and the row number where these repeat.
    ``signal``, ``target``: of the same shape.
    ``source_voxel_size_um``: voxel size (z, y, x) of the files.
    ``preparation``: how the channels come onto the model grid.
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

    @property
    def padded(self) -> float:
        """Share of the voxels, 0 to 1, where light or target was not recorded."""
        return max(channel.hidden for channel in self._arrays())

    def doubts(self, flat: bool = False, *, read: bool = False) -> list[str]:
        """Return what of it may be a mistake.

        ``flat``: see :func:`continual_repmode.volumes.plausibility.doubts`.
        ``read``: look at a plane of the light, too, and not only at headers.
        """
        sizes = self.source_voxel_size_um, self.preparation.voxel_size_um
        return [
            *doubts(self.signal, "light", *sizes, flat),
            *doubts(self.target, "target", *sizes),
            *(noise(self.signal) if read else ()),
        ]

    def load(self) -> LoadedPair:
        """Return both volumes as read-only memory maps; prepares them if need be."""
        signal, target = self._arrays()
        light, wanted = signal.open(), target.open()
        if self.row.target_kind is not None:  # the plane stands for each of the stack
            wanted = np.broadcast_to(wanted, light.shape)
        return LoadedPair(
            light,
            wanted,
            signal.intensity,
            target.intensity,
            max(signal.hidden, target.hidden),
        )

    def _arrays(self) -> tuple[PreparedArray, PreparedArray]:
        if self._prepared is None:
            self._prepared = self.prepare()
        return self._prepared

    def missing_bytes(self) -> int:
        """Return the disk space that preparing this pair may take; reads no voxels."""
        one = self.preparation.num_bytes(self.signal.shape, self.source_voxel_size_um)
        known = (
            channel
            for channel in (self.signal, self.target)
            if self.store.known_content_hash(self.signal.volume)
            and self.store.known_content_hash(channel.volume)
            and self.store.find(self._recipe(channel))
        )
        return one * (2 - sum(1 for _ in known))

    def prepare(self, wait: bool = True) -> tuple[PreparedArray, PreparedArray]:
        """Read, z-score, resize and store what is not in the store yet.

        Where the light is padding, the target counts as such too.

        ``wait``: wait for another process that prepares the same channel.
        Raises UserError if a channel is damaged, constant or not finite, or cannot be
            stored.
        Raises EntryBusyError if it is in use by another process and ``wait`` is false.
        """
        return self._prepare(self.signal.read, self.target.read, wait)

    def measure(self) -> PairFacts:
        """Return what the check needs to know of the raw voxels; remembered.

        Raises UserError if a channel is damaged.
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
        @cache
        def hidden_light() -> NDArray[np.bool_] | None:
            found = hidden_voxels(read_signal())
            return found and found[1]

        def hidden_target() -> NDArray[np.bool_] | None:
            found, light = hidden_voxels(read_target(), strict=True), hidden_light()
            if light is not None and self.row.target_kind is not None:
                light = np.logical_and.reduce(light, axis=0, keepdims=True)
                light = light if light.any() else None
            if found is None or light is None:
                return light if found is None else found[1]
            return found[1] | light

        read_signal, read_target = cache(read_signal), cache(read_target)
        try:
            return (
                self._prepare_channel(self.signal, read_signal, hidden_light, wait),
                self._prepare_channel(self.target, read_target, hidden_target, wait),
            )
        except UserError as error:
            raise UserError(f"{self.row.where}: {error}") from error

    def _prepare_channel(
        self, channel: SourceChannel, read: Read, hidden: Hidden, wait: bool
    ) -> PreparedArray:
        recipe = self._recipe(channel)
        found = self.store.find(recipe)
        if found is not None:
            return found
        with self.store.claim(recipe, wait):
            found = self.store.find(recipe)  # made while this process was waiting
            if found is not None:
                return found
            mask = hidden()
            try:
                from_um = self.source_voxel_size_um
                if channel is self.target and self.row.target_kind is not None:
                    from_um = (self.preparation.voxel_size_um[0], *from_um[1:])
                prepared, intensity = self.preparation.apply(read(), from_um, mask)
            except UserError as error:
                raise UserError(f"{channel.label}: {error}") from error
            share = 0.0 if mask is None else float(mask.mean())
            return self.store.save(recipe, prepared, intensity, channel.label, share)

    def _recipe(self, channel: SourceChannel) -> dict[str, Any]:
        light = {} if channel is self.signal else self.signal.recipe(self.store)
        return {
            "source": channel.recipe(self.store),
            "light": light,
            "from_um": list(self.source_voxel_size_um),
            "preparation": asdict(self.preparation),
        }


def check_grid(pair: ManifestPair) -> None:
    """Raise if a pair has more voxels on the model grid than memory can hold."""
    needed = math.prod(pair.grid_shape) * _GRID_VOXEL_BYTES
    if needed > memory_bytes():
        raise UserError(
            f"{pair.row.where}: {pair.row.signal_path.name}: {pair.signal.shape} "
            f"voxels of {pair.source_voxel_size_um} µm become {pair.grid_shape} of "
            f"{pair.preparation.voxel_size_um} µm, {needed / 1e9:.0f} GB; see that "
            f"{', '.join(VOXEL_SIZE)} and data.voxel_size_um (--voxel-size) are right, "
            "or crop it"
        )

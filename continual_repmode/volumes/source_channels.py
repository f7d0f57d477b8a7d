"""One channel of a file, within a box of voxels."""

from dataclasses import dataclass
from typing import Any, Self

from numpy.typing import NDArray

from continual_repmode.volumes.store import PreparedStore
from continual_repmode.volumes.volume import VolumeReader, volume_shape

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class SourceChannel:
    """One channel of a file within a box (z, y, x) of raw voxels."""

    volume: VolumeReader
    channel: int
    box: Box

    @classmethod
    def whole(cls, volume: VolumeReader, channel: int) -> Self:
        """Return a channel in all of its extent."""
        z, y, x = volume_shape(volume)
        return cls(volume, channel, (slice(0, z), slice(0, y), slice(0, x)))

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

    def read(self, planes: slice = slice(None)) -> NDArray[Any]:
        """Return the raw voxels (Z, Y, X), or some planes of the box."""
        z, y, x = self.box
        wanted = range(z.start, z.stop)[planes]
        part = slice(wanted.start, wanted.stop)
        return self.volume.read_channel(self.channel, planes=part)[:, y, x]

    def recipe(self, store: PreparedStore) -> dict[str, Any]:
        """Return everything that decides the raw voxels."""
        return {
            "content": store.content_hash(self.volume),
            "chosen": [list(choice) for choice in self.volume.chosen],
            "channel": self.channel,
            "box": [[side.start, side.stop] for side in self.box],
        }

"""A row of a manifest as the data check sees it, and what may be found about it."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from continual_repmode.errors import one_line
from continual_repmode.manifests.checks.facts import ChannelFacts, PairFacts

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong or remarkable."""

    #: A run does not start with errors; warnings cost quality; notes are harmless.
    severity: Severity
    #: What kind of finding, the same in every version.
    code: str
    #: The row of the manifest and the file, or the task.
    where: str
    #: As the user knows it; "" if the finding is about no channel.
    channel: str
    #: What is the case.
    message: str
    #: What to do; "" if the message says it.
    remedy: str

    def line(self) -> str:
        """Return all of it as one line."""
        channel = f", channel {self.channel}" if self.channel else ""
        text = self.message
        if not text.startswith(self.where):  # errors of files name the row themselves
            text = f"{self.where}{channel}: {text}"
        return one_line(f"{text}; {self.remedy}" if self.remedy else text)


@dataclass(frozen=True, slots=True)
class CheckedPair:
    """A row of a manifest whose headers are sound."""

    #: Of the pair, unique.
    name: str
    task: str
    split: str
    #: Manifest and row.
    where: str
    signal_path: str
    target_path: str
    #: As shown to the user: index and name.
    signal_channel: str
    target_channel: str
    #: Of the light's file.
    format: str
    #: (z, y, x) in raw voxels after the crop, and on the model grid.
    shape: tuple[int, int, int]
    grid_shape: tuple[int, int, int]
    #: (z, y, x) of the raw voxels.
    voxel_size_um: tuple[float, float, float]
    #: Start and stop of the crop along (z, y, x), in raw voxels.
    box: tuple[tuple[int, int], ...]
    #: None if no voxels were read.
    facts: PairFacts | None
    #: What of the headers may be a mistake.
    doubts: tuple[str, ...] = ()
    #: Which chunk files of its Zarrs are not there.
    missing: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Manifest, row and file of the light."""
        return f"{self.where}, {PurePath(self.signal_path).name}"

    def channels(self) -> list["CheckedChannel"]:
        """Return both channels, light first; none if no voxels were read."""
        if self.facts is None:
            return []
        light, target = self.facts.signal, self.facts.target
        return [
            CheckedChannel(self, "light", self.signal_path, self.signal_channel, light),
            CheckedChannel(
                self, "target", self.target_path, self.target_channel, target
            ),
        ]


@dataclass(frozen=True, slots=True)
class CheckedChannel:
    """One channel of a pair, with its facts."""

    pair: CheckedPair
    role: Literal["light", "target"]
    path: str
    channel: str
    facts: ChannelFacts

    @property
    def file(self) -> str:
        """Name of the file."""
        return PurePath(self.path).name

    def finding(
        self, severity: Severity, code: str, message: str, remedy: str
    ) -> Finding:
        """Return a finding about this channel."""
        return Finding(
            severity,
            code,
            f"{self.pair.where}, {self.file}",
            f"{self.channel} ({self.role})",
            message,
            remedy,
        )

"""The light of an image on the model grid: prepared one time point at a time."""

import logging
from dataclasses import asdict, dataclass

from continual_repmode.data.signals import look_of
from continual_repmode.errors import UserError
from continual_repmode.prediction.bounds import resizing_memory
from continual_repmode.prediction.images import Image
from continual_repmode.prediction.preparing import prepare_channel, series_intensity
from continual_repmode.prediction.setup import Setup
from continual_repmode.prediction.volume_views import MaskFile
from continual_repmode.prediction.work_folder import WorkFolder
from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.padding import Padding
from continual_repmode.volumes.volume import Size3
from continual_repmode.volumes.volume_file import VolumeFile

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Light:
    """The light of an image in the folder of its work, z-scored, on the model grid."""

    image: Image
    setup: Setup
    work: WorkFolder
    #: Shape (z, y, x) on the model grid.
    grid_shape: Size3
    #: See :func:`~continual_repmode.prediction.bounds.resizing_memory`.
    room: int | None

    def at(self, frame: int) -> VolumeFile:
        """Return the light of a time point; made, unless it is there.

        Raises UserError if it is damaged, constant or not finite.
        """
        signal = VolumeFile(self.work.path / "signal.npy", self.grid_shape)
        there = self.work.note("signal")
        if there is not None and there.get("frame", 0) == frame:
            return signal
        self.work.write_note("signal", {"frame": None})
        try:
            one_for_all = self._series_intensity(signal) if self.image.later else None
            known = prepare_channel(
                self.image.frames[frame],
                signal,
                self.setup.preparation,
                memory_bytes=resizing_memory(self.setup.memory, self.room),
                progress=self.setup.options.progress,
                intensity=one_for_all,
            )
        except UserError:
            if not frame:
                self.work.remove()  # there is nothing to resume
            raise
        if known.hidden is not None:
            self._mask_file.create(known.hidden)
        self._tell(frame, known.padding)
        if not frame:
            self._warn_if_unlike(signal)
        padding = known.padding and asdict(known.padding)
        note = {"frame": frame, **asdict(known.intensity), "padding": padding}
        self.work.write_note("signal", note)
        return signal

    def mask(self, frame: int) -> MaskFile | None:
        """Return where the light of a time point is padding; None if it is nowhere."""
        self.at(frame)
        note = self.work.note("signal") or {}
        return self._mask_file if note.get("padding") else None

    def _series_intensity(self, scratch: VolumeFile) -> Intensity | None:
        """Return what is 0 and 1 in the whole series; None: each frame has its own."""
        if self.setup.options.series == "per-frame":
            return None
        known = self.work.note("series")
        if known is None:
            intensity = series_intensity(
                self.image.frames,
                scratch,
                self.setup.preparation,
                memory_bytes=resizing_memory(self.setup.memory, self.room),
            )
            known = asdict(intensity)
            self.work.write_note("series", known)
        return Intensity(**known)

    def _tell(self, frame: int, padding: Padding | None) -> None:
        """Say how much of the light is padding."""
        if padding is not None:
            _log.warning(
                "%s: %.1f%% of the light is padding of %s at the borders: predicted "
                "from the rest, %s there",
                self.image.frames[frame].label,
                100 * padding.share,
                padding.of,
                "NaN" if self.setup.options.padding == "nan" else "0",
            )

    def _warn_if_unlike(self, signal: VolumeFile) -> None:
        """Say if the light is not what the model was trained on."""
        look = look_of(signal, self.setup.preparation.voxel_size_um)
        said = self.setup.model.unlikeness(look, self.setup.tasks)
        if said is not None:
            _log.warning("%s: %s", self.image.signal.label, said)

    @property
    def _mask_file(self) -> MaskFile:
        return MaskFile(self.work.path / "padding.npy", self.image.signal.shape)

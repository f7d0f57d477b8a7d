"""One image: prepared, predicted, brought back onto its own grid, and written.

What is done of it, in the folder of its work::

    signal.npy                the light, z-scored, on the model grid, NaN where it is
                              padding
    padding.npy               if any is: where, on the grid of the light
    for each task             that the output has not got yet
        prediction.npy        on the model grid
        deviation.npy         with --uncertainty: likewise
        target.npy            likewise, where a target is known: measured
        output                the prediction resized to the grid of the image
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from continual_repmode.files import failure_told
from continual_repmode.inference.projection import project_files
from continual_repmode.inference.tiled import predict_into
from continual_repmode.inference.windows import WindowGrid
from continual_repmode.prediction.bounds import resizing_memory, writing_memory
from continual_repmode.prediction.calibration import add_calibration, calibrate
from continual_repmode.prediction.estimate import Estimate, Estimator
from continual_repmode.prediction.images import Image
from continual_repmode.prediction.light import Light
from continual_repmode.prediction.metrics_table import add_metrics, compare, metrics_row
from continual_repmode.prediction.plates import place_in_plate
from continual_repmode.prediction.preparing import prepare_channel
from continual_repmode.prediction.provenance import attributes_of
from continual_repmode.prediction.setup import Setup
from continual_repmode.prediction.volume_views import (
    Channels,
    MaskedTarget,
    NotBelowZero,
    Scaled,
)
from continual_repmode.prediction.work_folder import WorkFolder
from continual_repmode.trained_model import format_um
from continual_repmode.volumes.formats.stream_writing import VolumeWriter, open_writer
from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.stream_resizing import PlaneTarget, resize_stream
from continual_repmode.volumes.volume import Size3
from continual_repmode.volumes.volume_file import VolumeFile

_ZSCORE = Intensity(0.0, 1.0)

Predict = Callable[[], None]
"""Calls the network."""

Steps = Generator[Predict]
"""Does everything else, and yields when the network is due."""


@dataclass(frozen=True, slots=True)
class Job:
    """An image to predict, and the file to write."""

    image: Image
    output: Path
    #: The folder of all outputs.
    root: Path
    #: Of the output.
    provenance: Mapping[str, Any]
    setup: Setup
    #: Bytes for all but the network, which predicts another image meanwhile; None:
    #: the network is at rest then.
    room: int | None = None

    @property
    def grid_shape(self) -> Size3:
        """Shape (z, y, x) on the model grid."""
        signal = self.image.signal
        return self.setup.preparation.grid_shape(signal.shape, self.image.signal_um)

    @property
    def shape(self) -> Size3:
        """Shape (z, y, x) of what is written: one plane of a projection."""
        whole = self.image.shape
        return whole if self.setup.projection is None else (1, *whole[1:])

    @property
    def work(self) -> WorkFolder:
        """Where it is made."""
        return WorkFolder(self.output, self.root)

    @property
    def recipe(self) -> Mapping[str, Any]:
        """What decides the work: the voxels, and what they are measured by."""
        names = [metric.name for metric in self.setup.metrics]
        compared = names and self.provenance["targets"]
        return {**self.provenance, "metrics": names} if compared else self.provenance

    @property
    def unfinished(self) -> Path:
        """Where the output is while it lacks tasks."""
        return self.work.path / "output"

    @property
    def num_bytes(self) -> int:
        """Size of the output, uncompressed."""
        times = len(self.image.frames)
        channels = len(self.setup.channel_names)
        return 4 * times * channels * math.prod(self.shape)

    @property
    def plates(self) -> tuple[Path, Path] | None:
        """The plate that is read and that of predictions, if the output is in one."""
        place = place_in_plate(self.image.signal.volume.path)
        if place is None or not self.output.as_posix().endswith(f".zarr/{place[1]}"):
            return None
        return place[0], self.output.parents[len(Path(place[1]).parts) - 1]

    def describe(self) -> str:
        """Return in words which grids it goes through."""
        image, grid = self.image, self.setup.preparation
        shape = " x ".join(map(str, image.shape))
        on_grid = " x ".join(map(str, self.grid_shape))
        times = f"{len(image.frames)} times " if image.later else ""
        return (
            f"{times}{shape} voxels of {format_um(image.voxel_size_um)} um"
            f"{f' ({image.note})' if image.note else ''}, predicted as "
            f"{on_grid} of {format_um(grid.voxel_size_um)} um"
        )

    def estimate(self, estimator: Estimator) -> Estimate:
        """Return what it will take, were it not begun."""
        estimate = estimator.estimate(
            self.image.signal.shape,
            self.grid_shape,
            self.shape,
            len(self.setup.tasks),
            deviations=self.setup.options.uncertainty,
            compared=bool(self.provenance["targets"]),
        )
        return replace(estimate, seconds=len(self.image.frames) * estimate.seconds)

    def run(self, title: str = "") -> None:
        """Predict all tasks that are missing and write the file.

        ``title``: what stands before the bars.
        Raises UserError if the image is damaged or constant, or something cannot be
            written. What was done stays, and the next call resumes; so it does after
            any other end.
        """
        with closing(self.steps(title)) as steps:
            for predict in steps:
                predict()

    def steps(self, title: str = "") -> Steps:
        """Do the same, but for the network: it is yielded, to be called each time.

        Files are read and written in the thread that advances the generator; it must
        be one thread. Close the generator when a call fails.

        Raises UserError: as :meth:`run`.
        """
        setup, image = self.setup, self.image
        with self._failures_told(), self.work.held(self.recipe):
            if not image.later:
                self._light.at(0)  # a fault of the image is told before any output
            with open_writer(
                self.output,
                shape_czyx=(len(setup.channel_names), *self.shape),
                dtype="float32",
                voxel_size_um=image.voxel_size_um,
                channel_names=setup.channel_names,
                origin_um=image.origin_um,
                attributes=attributes_of(self.provenance, setup),
                overwrite=setup.options.overwrite,
                work_path=self.unfinished,
                num_times=len(image.frames),
            ) as writer:
                for frame, (position, task) in product(
                    range(len(image.frames)), enumerate(setup.tasks)
                ):
                    first = frame * len(setup.channel_names) + position
                    channels = range(
                        first, first + len(setup.channel_names), len(setup.tasks)
                    )
                    if any(map(writer.missing, channels)):
                        yield from self._predicted(frame, task, title)
                        self._write(writer, channels, frame, task)
                self._publish_metrics()
            self.work.remove()

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        """Tell what the disk refuses in one line."""
        try:
            yield
        except OSError as error:
            needed = 4 * math.prod(self.grid_shape)
            with failure_told(Path(error.filename or self.output), needed):
                raise

    def _write(
        self, writer: VolumeWriter, channels: Iterable[int], frame: int, task: str
    ) -> None:
        """Put what was predicted, and its deviation, on the grid of the image."""
        setup, predicted = self.setup, self._written(self._stacks)
        mask = self._light.mask(frame)
        self._measure(predicted, self._light.at(frame), task)
        intensity = setup.intensities.get(task, _ZSCORE)
        scaled = (
            Scaled(predicted[0], intensity),
            *(Scaled(d, Intensity(0.0, intensity.std)) for d in predicted[1:]),
        )
        for index, source in zip(channels, scaled, strict=True):
            target: PlaneTarget = writer.channel(index)
            if source is not scaled[0]:
                target = NotBelowZero(target)
            resize_stream(
                source,
                MaskedTarget(target, mask, setup.blank) if mask else target,
                setup.preparation.resize,
                scratch=self.work.path,
                memory_bytes=writing_memory(
                    setup.memory, source.shape, writer.shape_czyx[1:], self.room
                ),
                progress=setup.options.progress,
            )

    @property
    def _light(self) -> Light:
        return Light(self.image, self.setup, self.work, self.grid_shape, self.room)

    def _volume(self, name: str) -> VolumeFile:
        """Return a volume on the model grid in the folder of the work."""
        return VolumeFile(self.work.path / f"{name}.npy", self.grid_shape)

    @property
    def _stacks(self) -> list[VolumeFile]:
        """Return the files of a prediction and, if asked for, of its deviation."""
        names = ["prediction", "deviation"][: 1 + self.setup.options.uncertainty]
        return [self._volume(name) for name in names]

    def _predicted(self, frame: int, task: str, title: str) -> Steps:
        """Have a task predicted, as a z-score, unless that is there."""
        made = {"frame": frame, "task": task}
        if self.work.note("prediction") == made:
            return
        signal = self._light.at(frame)
        self.work.write_note("prediction", {"task": None})
        for volume in self._stacks:
            volume.create()
        time = f"time {frame}, " if self.image.later else ""
        yield partial(self._predict, signal, task, f"{title}{time}{task}")
        for volume in self._stacks:
            volume.settle()
        self._project(self._stacks)
        self.work.write_note("prediction", made)

    def _predict(self, signal: VolumeFile, task: str, title: str) -> None:
        """Let the network predict."""
        setup = self.setup
        with self._failures_told():
            predict_into(
                setup.predictor(task),
                signal,
                lambda channels: Channels(self._stacks),
                WindowGrid.over(signal.shape, setup.window, setup.overlap),
                batch_size=setup.batch_size,
                device=setup.device,
                progress=setup.options.progress and title,
            )

    def _project(self, stacks: Sequence[VolumeFile]) -> None:
        """Project predicted stacks, where that is what is to be written."""
        kind = self.setup.projection
        if kind is not None:
            project_files(stacks, self._written(stacks), kind)

    def _written(self, stacks: Sequence[VolumeFile]) -> list[VolumeFile]:
        """Return the stacks, or the files of their projections."""
        if self.setup.projection is None:
            return list(stacks)
        shape = (1, *self.grid_shape[1:])
        return [
            VolumeFile(stack.path.with_stem(f"{stack.path.stem}_plane"), shape)
            for stack in stacks
        ]

    def _measure(
        self, predicted: Sequence[VolumeFile], signal: VolumeFile, task: str
    ) -> None:
        """Note how well a prediction agrees with its target, where there is one."""
        channel, note = self.image.targets.get(task), f"metrics-{task}"
        if channel is None or self.work.note(note) is not None:
            return
        target, mask = self._volume("target"), self._light.mask(0)
        if self.setup.projection is not None:  # light of all planes stands for a voxel
            target, mask = VolumeFile(target.path, predicted[0].shape), None
        prepare_channel(
            channel,
            target,
            self.setup.preparation,
            memory_bytes=resizing_memory(self.setup.memory, self.room),
            strict=True,
            beside=mask,
            progress=self.setup.options.progress,
        )
        prediction = predicted[0]
        recorded = signal if self.setup.projection is None else prediction
        measured = compare(
            prediction,
            target,
            recorded,
            task,
            self.setup.preparation.voxel_size_um,
            self.setup.metrics,
        )
        if predicted[1:]:
            curve = calibrate(prediction, predicted[1], target, recorded)
            self.work.write_note(f"calibration-{task}", {"points": curve})
        self.work.write_note(note, measured)
        target.remove()

    def _publish_metrics(self) -> None:
        """Put the metrics of all tasks into the table of the outputs."""
        rows = []
        for task in self.setup.tasks:
            metrics = self.work.note(f"metrics-{task}")
            if metrics is not None:
                split = self.image.splits.get(task)
                rows.append(metrics_row(self.image.name, task, split, metrics))
            calibration = self.work.note(f"calibration-{task}")
            if calibration is not None:
                add_calibration(self.root, self.image.name, task, calibration["points"])
        if rows:
            add_metrics(self.root, rows)

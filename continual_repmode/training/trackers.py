"""Where the scalars, figures and models of a run go besides its folder.

Each tracker is a logger of Avalanche. A run that resumes continues the same record:
what has been told is noted in ``trackers/NAME.json`` of the run folder, and a step that
training repeats is not told twice.
"""

import csv
import os
import shutil
import sys
import uuid
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from continual_repmode.checks import require_choice
from continual_repmode.errors import UserError
from continual_repmode.extras import require
from continual_repmode.results import RunFolder, finite, read_json, write_json
from continual_repmode.training.avalanche_api import BaseLogger

PROJECT = "continual_repmode"
"""What experiments are called in MLflow and W&B."""

Point = tuple[str, float, int]
"""Name, value and step."""


class Tracker(BaseLogger):  # type: ignore[misc] # Avalanche is untyped
    """Takes what a run tells, each value of a step once.

    ``folder``: of the run; also where the note of what has been told is kept.
    ``settings``: of the run, with those of groups in mappings.
    Raises UserError if a package that it needs is not installed.
    """

    name: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, folder: RunFolder, settings: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.check_installed()
        self.folder, self.settings = folder, _flat(settings or {})
        self._note = folder.path / "trackers" / f"{self.name}.json"
        self._pending: list[Point] = []
        self._told: dict[str, int] = {}
        self.identity: dict[str, Any] = {}

    @classmethod
    def check_installed(cls) -> None:
        """Raise UserError if a package is missing."""
        require(cls.modules, cls.name, f"logger {cls.name}")

    def begin(self) -> None:
        """Open the record, that of the interrupted run if there is one."""
        self._told, self.identity = {}, {}
        if self._note.is_file():
            try:
                note = read_json(self._note, dict[str, dict[str, Any]])
                self._told, self.identity = note["told"], note["identity"]
            except (UserError, KeyError):
                pass  # damaged: a record of its own from here on
        self.open()
        self._write_note()

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        """Take a value, unless it has been told before the run was interrupted."""
        if x_plot > self._told.get(name, -1):
            self._told[name] = x_plot
            self._pending.append((name, float(value), x_plot))

    def after_training_epoch(self, *_: Any, **__: Any) -> None:
        """Pass on what has come in."""
        self.flush()

    def after_eval(self, *_: Any, **__: Any) -> None:
        """Pass on what has come in."""
        self.flush()

    def flush(self) -> None:
        """Pass on what has come in, and note it; what fails is tried again later."""
        if self._pending and self._try(self.write, self._pending):
            self._pending = []
            self._write_note()

    def hand_over(
        self, pictures: Sequence[Path], files: Sequence[Path], step: int
    ) -> None:
        """Pass on figures (PNG) as they are at a step, and files of the run folder."""
        for picture in pictures:
            self._try(self.picture, picture, step)
        if files:
            self._try(self.keep, files)

    def end(self, *, complete: bool) -> None:
        """End the record, for now if the run is not complete."""
        self.flush()
        self._try(partial(self.close, complete=complete))

    def _try(self, call: Callable[..., None], *arguments: Any) -> bool:
        """Call what may fail in a program of others: training does not end with it."""
        try:
            call(*arguments)
        except Exception as error:
            if not self.modules:
                raise
            reason = " ".join(str(error).split())[:200]
            print(f"note: logger {self.name}: {reason}", file=sys.stderr)
            return False
        return True

    def _write_note(self) -> None:
        write_json(self._note, {"told": self._told, "identity": self.identity})

    def open(self) -> None:
        """Open the record :attr:`identity` names, or a new one, named there."""

    @abstractmethod
    def write(self, points: Sequence[Point]) -> None:
        """Pass on values."""

    def picture(self, path: Path, step: int) -> None:
        """Pass on a figure, a PNG file, as it is at a step."""

    def keep(self, files: Sequence[Path]) -> None:
        """Pass on files of the run folder."""

    def close(self, *, complete: bool) -> None:
        """End the record, for now if the run is not complete."""


class CsvTracker(Tracker):
    """``scalars.csv`` in the run folder: step, name, value."""

    name = "csv"

    def open(self) -> None:
        """Keep the whole lines of what is there, which says what has been told."""
        path, rows = self.folder.scalars, []
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            rows = [r for r in csv.reader(text.splitlines()[1:]) if len(r) == 3]
            if not text.endswith("\n"):
                rows = rows[:-1]
        self._told = {name: int(step) for step, name, _ in rows if step.isdecimal()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            header = ("step", "name", "value")
            csv.writer(file, lineterminator="\n").writerows([header, *rows])

    def write(self, points: Sequence[Point]) -> None:
        """Append lines."""
        with self.folder.scalars.open("a", newline="", encoding="utf-8") as file:
            rows = ((step, name, f"{value:.8g}") for name, value, step in points)
            csv.writer(file, lineterminator="\n").writerows(rows)


class TensorBoardTracker(Tracker):
    """Event files in ``tensorboard/`` of the run folder."""

    name = "tensorboard"
    _writer: Any = None

    def open(self) -> None:
        """Start an event file; TensorBoard reads those of a folder as one."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder.tensorboard))

    def write(self, points: Sequence[Point]) -> None:
        """Write scalars."""
        for name, value, step in points:
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def picture(self, path: Path, step: int) -> None:
        """Write an image."""
        from PIL import Image

        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image(path.stem, pixels, step, dataformats="HWC")

    def close(self, *, complete: bool) -> None:
        """Close the event file."""
        self._writer.close()


class MlflowTracker(Tracker):
    """A run of MLflow, by default in the folder ``mlruns`` where the command was begun.

    ``MLFLOW_TRACKING_URI`` names another store, such as a server.
    """

    name = "mlflow"
    modules = ("mlflow",)
    _client: Any = None

    def open(self) -> None:
        """Continue the run, or begin one."""
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        here = Path("mlruns").resolve().as_uri()
        wanted = os.environ.get("MLFLOW_TRACKING_URI") or here
        uri = self.identity.get("uri", wanted)
        try:
            self._client = MlflowClient(tracking_uri=uri)
            if "run_id" in self.identity:
                self._client.update_run(self.identity["run_id"], status="RUNNING")
                return
            if known := self._client.get_experiment_by_name(PROJECT):
                experiment = known.experiment_id
            else:
                experiment = self._client.create_experiment(PROJECT)
            run = self._client.create_run(experiment, run_name=self.folder.path.name)
            self.identity = {"uri": uri, "run_id": run.info.run_id}
            for name, value in self.settings.items():
                self._client.log_param(run.info.run_id, name, str(value)[:500])
        except MlflowException as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"logger mlflow: {uri}: {reason}; set MLFLOW_TRACKING_URI to a "
                f"store that is there, or delete {self._note} for a new record"
            ) from None

    def write(self, points: Sequence[Point]) -> None:
        """Log metrics."""
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        metrics = [Metric(name, value, now, step) for name, value, step in points]
        for start in range(0, len(metrics), 1000):  # the most that a server takes
            batch = metrics[start : start + 1000]
            self._client.log_batch(self.identity["run_id"], batch)

    def picture(self, path: Path, step: int) -> None:
        """Keep a figure, the last of each name."""
        self._client.log_artifact(self.identity["run_id"], str(path), "figures")

    def keep(self, files: Sequence[Path]) -> None:
        """Log artifacts, in the folders that they have in the run folder."""
        for path in files:
            place = path.relative_to(self.folder.path).parent.as_posix()
            self._client.log_artifact(
                self.identity["run_id"], str(path), None if place == "." else place
            )

    def close(self, *, complete: bool) -> None:
        """Set the status."""
        status = "FINISHED" if complete else "KILLED"
        self._client.set_terminated(self.identity["run_id"], status)


class WandbTracker(Tracker):
    """A run of Weights & Biases, offline in the run folder unless WANDB_MODE is set.

    ``wandb sync`` sends it, if that is wanted: the parts of an interrupted run have one
    id, and their rows are numbered through.
    """

    name = "wandb"
    modules = ("wandb",)
    _run: Any = None

    def open(self) -> None:
        """Continue the run, or begin one."""
        import wandb

        self.identity = self.identity or {"id": uuid.uuid4().hex[:8], "rows": 0}
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=self.identity["id"],
            name=self.folder.path.name,
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            dir=str(self.folder.path),
            config=self.settings,
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="step")

    def write(self, points: Sequence[Point]) -> None:
        """Log one row for each step."""
        rows: dict[int, dict[str, Any]] = defaultdict(dict)
        for name, value, step in points:
            rows[step][name] = value
        for step, values in rows.items():
            self._log({"step": step, **values})

    def picture(self, path: Path, step: int) -> None:
        """Log an image."""
        import wandb

        self._log({"step": step, path.stem: wandb.Image(str(path))})
        self._write_note()

    def keep(self, files: Sequence[Path]) -> None:
        """Keep copies with the run."""
        for path in files:
            copy = Path(self._run.dir) / path.relative_to(self.folder.path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            self._run.save(str(copy), base_path=self._run.dir, policy="end")

    def _log(self, row: dict[str, Any]) -> None:
        self._run.log(row, step=self.identity["rows"])
        self.identity["rows"] += 1

    def close(self, *, complete: bool) -> None:
        """Finish this part."""
        self._run.finish(exit_code=0 if complete else 1)


TRACKERS: dict[str, type[Tracker]] = {
    tracker.name: tracker for tracker in Tracker.__subclasses__()
}
"""What ``loggers=`` and ``--loggers`` can name: those above."""


def check_loggers(names: Sequence[str]) -> None:
    """Raise UserError if one is unknown, or lacks a package: before any work."""
    for name in names:
        require_choice("loggers", name, tuple(TRACKERS))
        TRACKERS[name].check_installed()


def _flat(nested: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[f"{before}{name}"] = finite(value)
    return flat

"""The run folder: where a run keeps what it did, and how to read it back.

::

    config.yaml                    every setting of the run
    extension.json                 in its place, what decides an extension
    run.json                       the command that repeats it, seed, versions
    results.json                   matrices, forgetting, proofs (docs/results.md)
    image_metrics.csv              one line per experience and test image
    gating_weights.csv             channel-averaged gating weights per block and task
    checkpoints/experience_0.safetensors   the model after each experience
    experiences/experience_0.json  learning curve, metrics and proofs of each
    samples/dna.npz                signal, target and prediction of one test image
    figures/*.png                  what people look at
    scalars.csv                    learning curves and test scores: step, name, value
    tensorboard/                   the same, and figures
    trackers/                      what each of loggers= has been told
    progress.json                  how far it is (continual-repmode status)
    state/                         what a resumed run needs; gone when it is complete
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from continual_repmode.errors import UserError
from continual_repmode.files import failure_told, sha256_of, write_whole
from continual_repmode.paths import unicode_path, user_path
from continual_repmode.processes import let_go, tells_nothing
from continual_repmode.result_content import (
    Header,
    Metric,
    RecordContent,
    Results,
)

SCHEMA = "continual_repmode.results"
SCHEMA_VERSION = 1
LOGGERS = ("csv", "tensorboard", "mlflow", "wandb")
"""What ``loggers=`` and ``--loggers`` can name."""
USUAL_LOGGERS = ("csv", "tensorboard")
FORMATS = ("png", "pdf", "svg")
"""What figures can be written as."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperienceRecord:
    """What one experience left behind."""

    #: Its position in the stream, from 0.
    experience: int
    #: The tasks that were learned in it.
    tasks: list[str]
    #: Learning curve: ``epoch`` (from 1), ``train_loss``, ``valid_mse`` or ``None``.
    curve: list[dict[str, Any]]
    #: The epoch whose weights were kept.
    best_epoch: int
    #: Validation MSE of that epoch (z-scored intensities).
    best_valid_mse: float
    #: Parameters that the optimizer moved.
    num_trained_parameters: int
    #: Steps done since the start of the run.
    train_iterations: int
    #: For each old task ``task``, ``before``, ``after`` (hashes) and ``unchanged``.
    proofs: list[dict[str, Any]]
    #: ``task``, ``image`` and metrics of every test image of the learned tasks.
    rows: list[dict[str, Any]]
    #: Seconds spent in ``train`` and ``eval``.
    wall_time_s: dict[str, float]
    #: The tasks were learned with the model file that the run started from, not here.
    adopted: bool = False
    #: Task -> ``mse`` of the kept epoch on its validation images, ``target_variance``
    #: (the error of predicting each image's mean), and what follows: ``r2`` and whether
    #: it is ``learned``; empty in records of older versions and where nothing was
    #: trained.
    validation: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Task -> SHA-256 of its parameters and buffers, for every task as it was left; the
    #: next experience has to start from these.
    task_sha256: dict[str, str] = field(default_factory=dict)
    #: Of the model file. As ``task_sha256`` empty in records of older versions.
    checkpoint_sha256: str = ""
    #: Of what the strategy carries on to the next experience; empty if nothing.
    memory_sha256: str = ""


class RunFolder:
    """Paths and records of one run.

    Parameters
    ----------
    path : Path
        The folder; made when something is written to it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = user_path(path)
        self.config = self.path / "config.yaml"
        self.provenance = self.path / "extension.json"
        self.header = self.path / "run.json"
        self.results = self.path / "results.json"
        self.image_metrics = self.path / "image_metrics.csv"
        self.gating_weights = self.path / "gating_weights.csv"
        self.scalars = self.path / "scalars.csv"
        self.progress = self.path / "progress.json"
        self.samples = self.path / "samples"
        self.figures = self.path / "figures"
        self.tensorboard = self.path / "tensorboard"
        self.state = self.path / "state"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from working in the folder; it is made.

        Of processes that train together, the first one holds it for all. A lock ends
        with the process that took it, however that ends.

        Raises
        ------
        UserError
            If another process works in it, or it cannot be written.
        """
        if tells_nothing():
            yield
            return
        unicode_path(self.path)
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise UserError(
                f"{self.path}: in use by another process; wait for it to end, or "
                "choose another folder"
            ) from None
        except OSError as error:
            raise UserError(
                f"{self.path}: {error.strerror or error}; choose a folder that can be "
                "written"
            ) from error
        try:
            with failure_told(self.path, full_only=True):  # of others' writers
                yield
        finally:
            let_go(lock)

    def is_held(self) -> bool:
        """Whether a process works in the folder, as far as this machine can tell."""
        file = self.path / ".lock"
        if not file.is_file():
            return False
        lock = FileLock(file, timeout=0)
        try:
            lock.acquire()
        except (Timeout, OSError):
            return True
        lock.release()
        return False

    def checkpoint(self, experience: int) -> Path:
        """Return the path of the model after ``experience``."""
        return self.path / "checkpoints" / f"experience_{experience}.safetensors"

    def go_back(self, *, keeps_networks: bool = True) -> str:
        """Forget all experiences after the last one that can be gone on from.

        Their files get another name: nothing that took time to learn is deleted.

        Parameters
        ----------
        keeps_networks : bool
            Experiences leave checkpoints; of some only the record is kept.

        Returns
        -------
        str
            A line that tells why; empty if all that is needed is sound.
        """
        found, why = self._sound_records()
        while keeps_networks and found and (fault := self._fault(found[-1])):
            why = fault
            found.pop()
        if not why:
            return ""
        self.results.unlink(missing_ok=True)
        for kind in ("experiences/*.json", "checkpoints/*.safetensors"):
            for path in self.path.glob(kind):
                number = path.stem.removeprefix("experience_")
                if number.isdecimal() and int(number) >= len(found):
                    path.replace(path.with_name(f"{path.name}.set-aside"))
        return f"{why}; going back to the start of experience {len(found)}"

    def _fault(self, record: ExperienceRecord) -> str:
        """Say why a run cannot go on from where an experience ended; "" if it can."""
        index, needed = record.experience, []
        needed.append((self.checkpoint(index), record.checkpoint_sha256))
        if record.memory_sha256:
            needed.append((self.state / f"memory_{index}.pt", record.memory_sha256))
        for path, known in needed:
            if not path.is_file():
                return f"{path}: missing"
            if known and sha256_of(path) != known:
                return f"{path}: changed since the run wrote it (another SHA-256)"
        return ""

    def sound_header(self) -> dict[str, Any] | None:
        """Read ``run.json``; None if it is missing or damaged."""
        try:
            return read_json(self.header, Header)
        except UserError:
            return None

    def write_record(self, record: ExperienceRecord) -> None:
        """Write a record; its presence says that the experience is complete."""
        write_json(self._record(record.experience), asdict(record))

    def records(self) -> list[ExperienceRecord]:
        """Read the records of the complete experiences, in order.

        Raises
        ------
        UserError
            If one is damaged.
        """
        found, why = self._sound_records()
        if why:
            raise UserError(
                f"{why}; `continual-repmode run resume={self.path}` learns this "
                "experience again"
            )
        return found

    def _sound_records(self) -> tuple[list[ExperienceRecord], str]:
        """Read records up to the first that is damaged; say what is wrong with it."""
        found: list[ExperienceRecord] = []
        while (path := self._record(len(found))).is_file():
            try:
                content = read_json(path, RecordContent)
                found.append(ExperienceRecord(**content))
            except (UserError, TypeError) as error:
                return found, f"{path}: damaged, or of another version ({error})"
        return found, ""

    def read_results(self) -> dict[str, Any]:
        """Read ``results.json``.

        Raises
        ------
        UserError
            If the folder holds none (it is no run folder, or the run is incomplete),
            or one that is damaged or of a newer version.
        """
        if not self.results.is_file():
            raise UserError(
                f"{self.path}: no results.json here; name the folder of a finished "
                "run, or finish it with `continual-repmode run resume=FOLDER`"
            )
        found = read_json(self.results)
        kind = found.get("schema"), found.get("schema_version")
        if kind != (SCHEMA, SCHEMA_VERSION):
            raise UserError(
                f"{self.results}: schema {kind[0]!r}, version {kind[1]!r}; this "
                f"version reads {SCHEMA!r}, version {SCHEMA_VERSION}: install a newer "
                "one"
            )
        try:
            check_content(found, Results)
            for name, metric in found["metrics"].items():
                check_content(metric, Metric)
                rows = {len(row) for row in metric["result_matrix"]} - {
                    len(found["tasks"])
                }
                if rows or len(metric["result_matrix"]) != len(found["experiences"]):
                    raise ValueError(f"result_matrix of {name}")
        except ValueError as error:
            raise UserError(
                f"{self.results}: damaged, or not of a run: {error}; write it again "
                f"with `continual-repmode run resume={self.path}`"
            ) from None
        return found

    def _record(self, experience: int) -> Path:
        return self.path / "experiences" / f"experience_{experience}.json"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically; numbers that are not finite become ``null``."""
    text = json.dumps(finite(content), indent=1, allow_nan=False)
    write_whole(path, text + "\n")


def read_json(path: Path, schema: Any = dict[str, Any]) -> dict[str, Any]:
    """Read a JSON object.

    ``schema``: what it must hold; it may hold more.
    Raises UserError if the file is missing or damaged, or something in it is missing or
        of another type.
    """
    try:
        content: dict[str, Any] = msgspec.json.decode(path.read_bytes())
        check_content(content, schema)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: not as this program writes it: {error}") from error
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    return content


def check_content(content: Any, schema: Any) -> None:
    """Compare plain values with a type.

    Raises ValueError if something is missing or of another type, saying where.
    """
    msgspec.convert(content, schema)


def finite(value: Any) -> Any:
    """Return plain values with ``None`` for numbers that are not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value

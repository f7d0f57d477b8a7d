"""The run folder: where a run keeps what it did, and how to read it back.

::

    config.yaml                    every setting of the run
    run.json                       the command that repeats it, seed, versions
    results.json                   matrices, forgetting, proofs (docs/results.md)
    image_metrics.csv              one line per experience and test image
    gating_weights.csv             channel-averaged gating weights per block and task
    checkpoints/experience_0.safetensors   the model after each experience
    experiences/experience_0.json  learning curve, metrics and proofs of each
    samples/dna.npz                signal, target and prediction of one test image
    figures/*.png                  what people look at
    tensorboard/                   scalars
    state/                         what a resumed run needs; gone when it is complete
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from continual_repmode.errors import UserError
from continual_repmode.files import sha256_of
from continual_repmode.paths import unicode_path, user_path
from continual_repmode.processes import let_go
from continual_repmode.runtime import write_text_atomically


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperienceRecord:
    """What one experience left behind.

    Attributes
    ----------
    experience : int
        Its position in the stream, from 0.
    tasks : list of str
        The tasks that were learned in it.
    adopted : bool
        They were not learned here but with the model file that the run started from.
    curve : list of dict
        Learning curve: ``epoch`` (from 1), ``train_loss``, ``valid_mse`` or ``None``.
    best_epoch : int
        The epoch whose weights were kept.
    best_valid_mse : float
        Validation MSE of that epoch (z-scored intensities).
    num_trained_parameters : int
        Parameters that the optimizer moved.
    train_iterations : int
        Steps done since the start of the run.
    proofs : list of dict
        For each old task ``task``, ``before``, ``after`` (hashes) and ``unchanged``.
    task_sha256 : dict
        Task -> SHA-256 of its parameters and buffers, for every task as it was left;
        the next experience has to start from these.
    checkpoint_sha256 : str
        Of the model file. Both are empty in records of older versions.
    rows : list of dict
        ``task``, ``image`` and metrics of every test image of the learned tasks.
    wall_time_s : dict
        Seconds spent in ``train`` and ``eval``.
    validation : dict
        Task -> ``mse`` of the kept epoch on its validation images, ``target_variance``
        (the error of predicting each image's mean), and what follows: ``r2`` and
        whether it is ``learned``; empty in records of older versions and where nothing
        was trained.
    """

    experience: int
    tasks: list[str]
    curve: list[dict[str, Any]]
    best_epoch: int
    best_valid_mse: float
    num_trained_parameters: int
    train_iterations: int
    proofs: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    wall_time_s: dict[str, float]
    adopted: bool = False
    validation: dict[str, dict[str, Any]] = field(default_factory=dict)
    task_sha256: dict[str, str] = field(default_factory=dict)
    checkpoint_sha256: str = ""


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
        self.header = self.path / "run.json"
        self.results = self.path / "results.json"
        self.image_metrics = self.path / "image_metrics.csv"
        self.gating_weights = self.path / "gating_weights.csv"
        self.samples = self.path / "samples"
        self.figures = self.path / "figures"
        self.tensorboard = self.path / "tensorboard"
        self.state = self.path / "state"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from working in the folder; it is made.

        A lock ends with the process that took it, however that ends.

        Raises
        ------
        UserError
            If another process works in it, or it cannot be written.
        """
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
            yield
        finally:
            let_go(lock)

    def checkpoint(self, experience: int) -> Path:
        """Return the path of the model after ``experience``."""
        return self.path / "checkpoints" / f"experience_{experience}.safetensors"

    def sound_checkpoint(self, record: ExperienceRecord) -> Path:
        """Return the path of the model that an experience left.

        Raises
        ------
        UserError
            If it is not the file that the run wrote.
        """
        path = self.checkpoint(record.experience)
        known = record.checkpoint_sha256
        if known and path.exists() and sha256_of(path) != known:
            raise UserError(
                f"{path}: changed since the run wrote it (its SHA-256 is another), so "
                "nothing can be proved about it; restore the file from a copy, or "
                "start again in another folder"
            )
        return path

    def write_record(self, record: ExperienceRecord) -> None:
        """Write a record; its presence says that the experience is complete."""
        write_json(self._record(record.experience), asdict(record))

    def records(self) -> list[ExperienceRecord]:
        """Read the records of the complete experiences, in order."""
        found: list[ExperienceRecord] = []
        while self._record(len(found)).is_file():
            found.append(ExperienceRecord(**read_json(self._record(len(found)))))
        return found

    def read_results(self) -> dict[str, Any]:
        """Read ``results.json``.

        Raises
        ------
        UserError
            If the folder holds none: it is no run folder, or the run is incomplete.
        """
        if not self.results.is_file():
            raise UserError(
                f"{self.path}: no results.json here; name the folder of a finished "
                "run, or finish it with `continual-repmode run resume=FOLDER`"
            )
        return read_json(self.results)

    def _record(self, experience: int) -> Path:
        return self.path / "experiences" / f"experience_{experience}.json"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically; numbers that are not finite become ``null``."""
    text = json.dumps(finite(content), indent=1, allow_nan=False)
    write_text_atomically(path, text + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object")
    return content


def finite(value: Any) -> Any:
    """Return plain values with ``None`` for numbers that are not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value

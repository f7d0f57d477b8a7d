"""Saves what a run needs to resume after an interruption, and resumes from it."""

import hashlib
import io
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from continual_repmode import distributed
from continual_repmode.errors import UserError
from continual_repmode.files import replacing, sha256_of
from continual_repmode.training.avalanche_api import SupervisedPlugin


@runtime_checkable
class Remembering(Protocol):
    """A plugin that carries something from one experience to the next.

    The state, tensors and plain values only, changes at the end of experiences.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return what the plugin has kept of the experiences so far."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what :meth:`state_dict` returned."""
        ...


@runtime_checkable
class Accumulating(Protocol):
    """A plugin that gathers something over the steps of an experience."""

    def progress_dict(self) -> dict[str, Any]:
        """Return what the plugin has gathered in the experience so far."""
        ...

    def load_progress_dict(self, progress: dict[str, Any]) -> None:
        """Go back to what :meth:`progress_dict` returned."""
        ...


def remembering(plugins: Iterable[Any]) -> dict[str, Remembering]:
    """Return the remembering plugins by position and class, such as ``7 EWCPlugin``."""
    return {
        f"{position} {type(plugin).__name__}": plugin
        for position, plugin in enumerate(plugins)
        if isinstance(plugin, Remembering)
    }


def accumulating(plugins: Iterable[Any]) -> dict[str, Accumulating]:
    """Return the accumulating plugins by position and class."""
    return {
        f"{position} {type(plugin).__name__}": plugin
        for position, plugin in enumerate(plugins)
        if isinstance(plugin, Accumulating)
    }


class TrainingStatePlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """Make a run resumable at every finished epoch.

    All files hold tensors and plain values only, are loaded with ``weights_only=True``
    and replaced atomically. The training state is that of an experience: network,
    optimizer and what plugins gather over the steps. The best weights have a file of
    their own, written when they change; should a run be killed between the two, the
    repeated epoch finds the same best weights again. The memory, what plugins carry
    from one experience to the next, is written when an experience has been learned.

    Give it after a schedule of the learning rate and before plugins that measure while
    the network learns (:class:`~.si.SIPlugin`): a step must be complete when it is
    saved, and loaded before anything is derived from it. The order must be the same
    when the run resumes.

    ``every``: epochs between two savings, at least 1.
    ``train_time_s``: seconds of training in the current experience, over all
        interruptions.
    """

    def __init__(self, folder: Path, *, every: int = 1) -> None:
        super().__init__()
        self._folder = folder
        self._state, self._best = folder / "training.pt", folder / "best_weights.pt"
        self._every = every
        self._saved_best_epoch = 0
        self.train_time_s = 0.0
        self._started = 0.0

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        """Load the state if it belongs to this experience."""
        self.train_time_s, self._saved_best_epoch = 0.0, 0
        self._started = time.perf_counter()
        state = self._sound_state(strategy)
        if state is None:
            return
        strategy.net.load_state_dict(state["net"])
        strategy.optimizer.load_state_dict(state["optimizer"])
        if strategy.scaler.is_enabled():
            strategy.scaler.load_state_dict(state["scaler"])
        strategy.clock.train_iterations = state["train_iterations"]
        strategy.first_epoch = state["epochs_done"]
        progress = _moved(state["progress"], strategy.device)
        for name, plugin in accumulating(strategy.plugins).items():
            plugin.load_progress_dict(progress[name])
        strategy.validation.best_weights = state["best_weights"]
        strategy.validation.tell(strategy)
        self.train_time_s = state["train_time_s"]
        self._saved_best_epoch = strategy.validation.best_epoch

    def _sound_state(self, strategy: Any) -> dict[str, Any] | None:
        """Return the state of this experience with its best weights, if both are whole.

        If they are not, the experience starts again, which costs its time only.
        """
        if not self._state.is_file():
            return None
        try:
            state = _load(self._state)
            if state["experience"] != strategy.experience.current_experience:
                return None
            return state | {"best_weights": _load(self._best)}
        except UserError as error:
            print(f"{error}; this experience starts again", file=sys.stderr)
            return None

    def after_training_epoch(self, strategy: Any, **_: Any) -> None:
        """Save the state."""
        self._count_time()
        if not distributed.is_first():
            return
        done = strategy.clock.train_exp_epochs + 1
        validation = strategy.validation
        if done % self._every and done < strategy.train_epochs:
            return
        if validation.best_epoch != self._saved_best_epoch or done == self._every:
            _save(validation.best_weights, self._best)
            self._saved_best_epoch = validation.best_epoch
        state = {
            "experience": strategy.experience.current_experience,
            "epochs_done": done,
            "train_iterations": strategy.clock.train_iterations,
            "train_time_s": self.train_time_s,
            "net": strategy.net.state_dict(),
            "optimizer": strategy.optimizer.state_dict(),
            "scaler": strategy.scaler.state_dict(),
            "progress": {
                name: plugin.progress_dict()
                for name, plugin in accumulating(strategy.plugins).items()
            },
        }
        _save(state, self._state)

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Count the time of the last steps."""
        self._count_time()

    def keep_memory(self, strategy: Any, experience: int) -> str:
        """Save what the plugins carry on from this experience; return its SHA-256."""
        memories = remembering(strategy.plugins)
        if memories:
            states = {name: plugin.state_dict() for name, plugin in memories.items()}
            _save(states, self._memory(experience))
        return sha256_of(self._memory(experience)) if memories else ""

    def recall_memory(self, strategy: Any, experience: int) -> None:
        """Give the plugins back what they carried on from this experience.

        Raises UserError if it is not there, or damaged.
        """
        memories = remembering(strategy.plugins)
        path = self._memory(experience)
        if memories and not path.is_file():
            raise UserError(
                f"{path}: this file is missing, without which the run cannot go on as "
                "it began; start it again in another folder"
            )
        try:
            states = _moved(_load(path), strategy.device) if memories else {}
        except UserError as error:
            raise UserError(
                f"{error}; without it the run cannot go on as it began: restore the "
                "file from a copy, or start the run again in another folder"
            ) from None
        for name, plugin in memories.items():
            plugin.load_state_dict(states[name])

    def clear(self, *, keep_memory_of: Collection[int] = ()) -> None:
        """Remove all files, or all but the memories after some experiences."""
        kept = {self._memory(experience) for experience in keep_memory_of}
        for file in self._folder.glob("*"):
            if file not in kept:
                file.unlink()
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _memory(self, experience: int) -> Path:
        return self._folder / f"memory_{experience}.pt"

    def _count_time(self) -> None:
        now = time.perf_counter()
        self.train_time_s += now - self._started
        self._started = now


_SEAL = b"\nsha256:"
"""Before the SHA-256 of all bytes of a file so far, which ends the file."""


def _save(content: Mapping[str, Any], path: Path) -> None:
    buffer = io.BytesIO()  # PyTorch's own writer ends the process on a full disk
    torch.save(content, buffer)
    data = buffer.getbuffer()
    seal = _SEAL + hashlib.sha256(data).digest()
    with (
        replacing(path, num_bytes=len(data)) as temporary,
        temporary.open("wb") as file,
    ):
        file.write(data)
        file.write(seal)


def _load(path: Path) -> dict[str, Any]:
    """Read a file of the state onto the CPU.

    Raises UserError if it is missing or damaged.
    """
    try:
        data = path.read_bytes()
        size = len(data) - len(_SEAL) - hashlib.sha256().digest_size
        whole = memoryview(data)[: max(size, 0)]
        if data[size:] != _SEAL + hashlib.sha256(whole).digest():
            raise ValueError("its SHA-256 is another")
        content: dict[str, Any] = torch.load(
            io.BytesIO(whole), map_location="cpu", weights_only=True
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: missing or damaged ({error})") from None
    return content


def _moved(value: Any, device: torch.device) -> Any:
    """Return a nest of plain containers with its tensors on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(item, device) for item in value)
    return value

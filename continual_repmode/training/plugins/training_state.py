"""Saves the training state after each epoch, and goes on from it."""

import shutil
import time
from pathlib import Path
from typing import Any

import torch

from continual_repmode.files import replacing
from continual_repmode.training._avalanche import SupervisedPlugin


class TrainingStatePlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """Make a run resumable at every finished epoch.

    The state holds tensors and plain values only and is loaded with
    ``weights_only=True``. The best weights have a file of their own, written when they
    change. Both are replaced atomically; should a run be killed between the two, the
    repeated epoch finds the same best weights again.

    Parameters
    ----------
    folder : Path
        Where the state lives. It is emptied when an experience has been learned.
    every : int
        Epochs between two savings, at least 1.

    Attributes
    ----------
    train_time_s : float
        Seconds of training in the current experience, over all interruptions.
    """

    def __init__(self, folder: Path, *, every: int = 1) -> None:
        super().__init__()
        self._state, self._best = folder / "training.pt", folder / "best_weights.pt"
        self._every = every
        self._saved_best_epoch = 0
        self.train_time_s = 0.0
        self._started = 0.0

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        """Load the state if it belongs to this experience."""
        self.train_time_s, self._saved_best_epoch = 0.0, 0
        self._started = time.perf_counter()
        if not self._state.is_file():
            return
        state = torch.load(self._state, map_location="cpu", weights_only=True)
        if state["experience"] != strategy.experience.current_experience:
            return
        best = torch.load(self._best, map_location="cpu", weights_only=True)
        strategy.net.load_state_dict(state["net"])
        strategy.optimizer.load_state_dict(state["optimizer"])
        strategy.validation.load_state_dict(state["validation"], best)
        strategy.clock.train_iterations = state["train_iterations"]
        strategy.first_epoch = state["epochs_done"]
        self.train_time_s = state["train_time_s"]
        self._saved_best_epoch = strategy.validation.best_epoch

    def after_training_epoch(self, strategy: Any, **_: Any) -> None:
        """Save the state."""
        self._count_time()
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
            "validation": validation.state_dict(),
        }
        _save(state, self._state)

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Count the time of the last steps."""
        self._count_time()

    def clear(self) -> None:
        """Remove the state: the experience is recorded elsewhere."""
        shutil.rmtree(self._state.parent, ignore_errors=True)

    def _count_time(self) -> None:
        now = time.perf_counter()
        self.train_time_s += now - self._started
        self._started = now


def _save(content: dict[str, Any], path: Path) -> None:
    with replacing(path) as temporary:
        torch.save(content, temporary)

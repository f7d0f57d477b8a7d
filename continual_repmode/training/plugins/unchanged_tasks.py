"""Proves, or disproves, that learning a task left the earlier ones untouched."""

from dataclasses import dataclass
from typing import Any

from continual_repmode.models import TaskFingerprint, fingerprint
from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.streams import task_names_of


class ForgettingError(RuntimeError):
    """An old task changed although its strategy promises that it cannot."""


@dataclass(frozen=True, slots=True)
class TaskProof:
    """Hashes of one old task before and after an experience.

    Attributes
    ----------
    task : str
        Name of the old task.
    before, after : TaskFingerprint
        SHA-256 of its effective parameters and buffers, and of its output on a fixed
        probe volume.
    """

    task: str
    before: TaskFingerprint
    after: TaskFingerprint

    @property
    def unchanged(self) -> bool:
        """Whether parameters, buffers and output are the same to the bit."""
        return self.before == self.after


class UnchangedTasksPlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """Compare the fingerprints of the old tasks before and after each experience.

    Parameters
    ----------
    required : bool
        Raise :class:`ForgettingError` if an old task changed; otherwise only record it.

    Attributes
    ----------
    proofs : list of TaskProof
        Of the last experience; empty for the first one, which has no old tasks.
    """

    def __init__(self, *, required: bool) -> None:
        super().__init__()
        self.proofs: list[TaskProof] = []
        self._required = required
        self._before: dict[str, TaskFingerprint] = {}

    def before_train_dataset_adaptation(self, strategy: Any, **_: Any) -> None:
        """Take the fingerprints before the network grows."""
        arriving = task_names_of(strategy.experience)
        old = [name for name in strategy.net.task_names if name not in arriving]
        self._before = {name: fingerprint(strategy.net, name) for name in old}

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Compare.

        Raises
        ------
        ForgettingError
            If an old task changed and ``required`` is set.
        """
        self.proofs = [
            TaskProof(name, before, fingerprint(strategy.net, name))
            for name, before in self._before.items()
        ]
        changed = [proof.task for proof in self.proofs if not proof.unchanged]
        if changed and self._required:
            raise ForgettingError(
                f"learning {', '.join(task_names_of(strategy.experience))} changed "
                f"{', '.join(changed)}: a plugin or optimizer has moved frozen "
                "parameters or buffers"
            )

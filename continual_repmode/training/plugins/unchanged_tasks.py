"""Proves, or disproves, that learning a task left the earlier ones untouched.

The proof is a chain: what an experience starts from must be what the one before it
left, within a process and over the files of a resumed run; and what it leaves is looked
at after every plugin has run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from continual_repmode import distributed
from continual_repmode.errors import UserError
from continual_repmode.models import TaskFingerprint, TaskNetwork, fingerprints
from continual_repmode.models.fingerprint import is_comparable
from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.context import task_names_of


class ForgettingError(UserError):
    """An old task changed although its strategy promises that it cannot."""


@dataclass(frozen=True, slots=True)
class TaskProof:
    """Hashes of one old task before and after an experience."""

    #: Name of the old task.
    task: str
    #: SHA-256 of its effective parameters and buffers, and of its output on a fixed
    #: probe volume. ``before`` is as the experience before left it.
    before: TaskFingerprint
    after: TaskFingerprint

    @property
    def unchanged(self) -> bool:
        """Whether parameters, buffers and output are the same to the bit."""
        return self.before == self.after


class UnchangedTasksPlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """Compare the fingerprints of the old tasks before and after each experience.

    The strategy calls :meth:`conclude` when training has ended, after all plugins.

    ``required``: raise :class:`ForgettingError` if an old task changed; otherwise only
        record it.
    ``proofs``: of the last experience; empty for the first one, which has no old tasks.
    ``left``: of every task, as the last experience left it.
    """

    def __init__(self, *, required: bool) -> None:
        super().__init__()
        self.proofs: list[TaskProof] = []
        self.left: dict[str, TaskFingerprint] = {}
        self._required = required
        self._before: dict[str, TaskFingerprint] | None = None
        self._learning = ""

    def recall(self, net: TaskNetwork, state_sha256: Mapping[str, str]) -> None:
        """Go on from an earlier process, which left tasks with these parameters.

        What a network predicts depends on machine and library versions in its last
        bits, so outputs are compared within a process only. Digests of an earlier
        version, taken in another way, say nothing.

        Raises ForgettingError if a task of the network has other parameters, and
            ``required`` is set.
        """
        known = {
            t: digest for t, digest in state_sha256.items() if is_comparable(digest)
        }
        self.left = {
            task: replace(found, state_sha256=known[task])
            for task, found in fingerprints(net, known).items()
        }
        self.verify(net)

    def verify(self, net: TaskNetwork) -> None:
        """Compare the network with what the last experience left.

        Raises ForgettingError if a task changed since, and ``required`` is set.
        """
        found = fingerprints(net, self.left)
        changed = [task for task, left in self.left.items() if found[task] != left]
        if changed and self._required:
            raise ForgettingError(
                f"{', '.join(changed)} changed after training had ended: a plugin, or "
                "something else, has written to the network or its file"
            )

    def before_train_dataset_adaptation(self, strategy: Any, **_: Any) -> None:
        """Compare with what the experience before left, before the network grows.

        Raises ForgettingError: as :meth:`verify` and :meth:`conclude`.
        """
        if self._before is not None:  # several experiences in one call of ``train``
            self.conclude(strategy.net)
        self.verify(strategy.net)
        arriving = task_names_of(strategy.experience)
        self._learning = ", ".join(arriving)
        old = [task for task in strategy.net.task_names if task not in arriving]
        unknown = fingerprints(strategy.net, [n for n in old if n not in self.left])
        self._before = {task: (self.left | unknown)[task] for task in old}

    def conclude(self, net: TaskNetwork) -> None:
        """Compare the old tasks with what they were, and remember all tasks.

        Raises ForgettingError if an old task changed and ``required`` is set, or
            processes that train together have come to different parameters.
        """
        before, self._before = self._before or {}, None
        self.left = fingerprints(net)
        self.proofs = [
            TaskProof(name, known, self.left[name]) for name, known in before.items()
        ]
        states = {name: found.state_sha256 for name, found in self.left.items()}
        other = distributed.equal_everywhere(states)
        if other is not None:
            raise ForgettingError(
                f"learning {self._learning} left other parameters in process {other} "
                "than in process 0: a plugin has moved them in one process only"
            )
        changed = [proof.task for proof in self.proofs if not proof.unchanged]
        if changed and self._required:
            raise ForgettingError(
                f"learning {self._learning} changed {', '.join(changed)}: a plugin or "
                "optimizer has moved frozen parameters or buffers"
            )

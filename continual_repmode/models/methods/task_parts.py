"""Modules of which every task has one of its own, and networks that have such."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_network import TaskNetwork

FRESH = "fresh"
"""How the part of a new task starts, unless it copies that of a known task."""


class TaskParts(nn.Module):
    """One module per task, called ``<what>_<task>``; a sample passes that of its task.

    Parts of tasks that are absent from a batch are not run: their gradients stay None,
    so an optimizer skips them instead of moving them by its momentum.

    ``what``: first half of the names.
    ``make``: builds one part with fresh parameters; kept for tasks that come later.
    """

    def __init__(
        self, what: str, tasks: Sequence[str], make: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self._users: dict[str, str] = {}
        self._what = what
        self._make = make
        for task in tasks:
            self.add_module(f"{what}_{task}", make())
        self.to(memory_format=torch.channels_last_3d)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that have a part, in the order in which they came."""
        return tuple(name.removeprefix(f"{self._what}_") for name in self._modules)

    def forward(self, batch: Tensor, groups: TaskGroups) -> Tensor:
        """Map a batch (B, ...), sorted by task, each row by the part of its task."""
        return groups.map(lambda task, rows: self.of(task)(rows), batch)

    def of(self, task: str) -> nn.Module:
        """Return the part of a task."""
        return self.get_submodule(self.name_of(task))

    def name_of(self, task: str) -> str:
        """Return the name of the part of a task, or of that which it uses."""
        return f"{self._what}_{self._users.get(task, task)}"

    def add_task(self, name: str, init: str = FRESH) -> None:
        """Add the part of a new task; it is trainable.

        ``init``: ``"fresh"``, or the name of a known task whose part is copied with all
            that it has learned.
        Raises UserError if ``init`` is neither; nothing has changed then.
        """
        if init not in (FRESH, *self.tasks):
            raise UserError(
                f"init {init!r}: use {FRESH!r} or a known task "
                f"({', '.join(self.tasks)}) to copy"
            )
        part = self._make() if init == FRESH else self._copy(init)
        part.to(next(self.parameters())).to(memory_format=torch.channels_last_3d)
        part.requires_grad_(True).train(self.training)
        self.add_module(f"{self._what}_{name}", part)

    def share(self, name: str, start: str) -> None:
        """Let a new task use the part that a known one uses.

        Raises UserError if ``start`` is no known task; nothing has changed then.
        """
        known = (*self.tasks, *self._users)
        if start not in known:
            raise UserError(
                f"init {start!r}: use a known task ({', '.join(known)}), whose "
                f"{self._what} the new one uses"
            )
        self._users[name] = self._users.get(start, start)

    def _copy(self, task: str) -> nn.Module:
        """Copy the part of a task, without what other tasks have in it, not frozen."""
        with torch.device("meta"):
            part = self._make()
        tensors = self.of(task).state_dict()
        own = {name: tensors[name].clone() for name in part.state_dict()}
        part.load_state_dict(own, assign=True)
        return part


class PartedNetwork(TaskNetwork):
    """A network that gives a new task a part which is fresh or a copy of another's."""

    reserved_names = (FRESH,)
    task_options: ClassVar[tuple[str, ...]] = ("init",)

    def add_task(self, name: str, *, init: str = FRESH, **options: Any) -> int:
        """Add the part of a new task and return the task's label.

        ``init``: ``"fresh"``, or the name of a known task whose part is copied with all
            that it has learned, and can then be fine-tuned. Which of the two the paper
            did is unknown; fresh is our adaptation.
        Raises UserError if the name is taken or not a name, ``init`` is not as above,
            or the method has no room for another task. The network is then unchanged.
        Raises TypeError if the method has no such option.
        """
        return super().add_task(name, init=init, **options)

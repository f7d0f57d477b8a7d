"""A batch that mixes tasks, sorted so that each task is one run of rows.

The network sorts a batch once, and every unit then does its task-dependent work once
per task that is present instead of once per sample.
"""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from continual_repmode.distributed import labels_everywhere
from continual_repmode.errors import UserError


@dataclass(frozen=True)
class TaskGroup:
    """The rows ``start:stop`` of a sorted batch, all of one task."""

    task: str
    label: int
    start: int
    stop: int


class TaskGroups:
    """Which rows of a batch belong to which task.

    ``labels``: task label of each sample, in the order of the batch.
    ``task_names``: task names; a label is a position in it, or a key.
    ``present``: labels that have a group even if no sample has them: several processes
        that share a batch pass the same parts of a network, some with no rows.
    ``groups``: one per task present, in order of their labels; together they cover the
        batch.
    """

    def __init__(
        self,
        labels: Sequence[int],
        task_names: Sequence[str] | Mapping[int, str],
        present: Collection[int] = (),
    ) -> None:
        order = sorted(range(len(labels)), key=labels.__getitem__)
        self._order = None if order == list(range(len(labels))) else order
        groups: list[TaskGroup] = []
        for label in sorted({*labels, *present}):
            start = groups[-1].stop if groups else 0
            stop = start + sum(other == label for other in labels)
            groups.append(TaskGroup(task_names[label], label, start, stop))
        self.groups = tuple(groups)

    def sort(self, batch: Tensor) -> Tensor:
        """Bring the samples of a batch (B, ...) into the order of the groups."""
        return batch if self._order is None else batch[self._order]

    def unsort(self, batch: Tensor) -> Tensor:
        """Undo :meth:`sort`."""
        if self._order is None:
            return batch
        return batch[torch.tensor(self._order).argsort().to(batch.device)]

    def map(self, function: Callable[[str, Tensor], Tensor], batch: Tensor) -> Tensor:
        """Apply ``function(task, rows)`` to the rows of each task of a sorted batch."""
        parts = [
            function(group.task, batch[group.start : group.stop])
            for group in self.groups
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def alone(self, task: str) -> "TaskGroups":
        """Return the groups of a batch that consists of the rows of one task only."""
        (own,) = (group for group in self.groups if group.task == task)
        labels = [own.label] * (own.stop - own.start)
        return TaskGroups(labels, {own.label: task}, [own.label])


def group_by_task(
    task_labels: Tensor | int,
    batch_size: int,
    task_names: Sequence[str],
    *,
    shared: bool = False,
) -> TaskGroups:
    """Check the task labels of a batch and group its samples by task.

    ``task_labels``: (B,); task label of each sample, or one label for the whole batch.
    ``batch_size``: number of samples B.
    ``task_names``: task names; a label is a position in it.
    ``shared``: the batch is the share of this process of one that several have
        (:mod:`continual_repmode.distributed`): there is a group for every task that any
        of them has.
    Raises UserError if the labels are not integers, not one per sample, or out of
        range.
    """
    if isinstance(task_labels, Tensor):
        integer = not (task_labels.is_floating_point() or task_labels.is_complex())
        if not integer or task_labels.dtype == torch.bool:
            raise UserError(
                f"task_labels has dtype {task_labels.dtype}; use an integer tensor"
            )
        if task_labels.shape != (batch_size,):
            raise UserError(
                f"task_labels has shape {tuple(task_labels.shape)}; use one label per "
                f"sample, shape ({batch_size},), or a plain int"
            )
        labels = task_labels.tolist()
    else:
        if isinstance(task_labels, bool):
            raise UserError(f"task_labels {task_labels!r}: use an int or a tensor")
        try:
            labels = [operator.index(task_labels)] * batch_size
        except TypeError:
            raise UserError(
                f"task_labels {task_labels!r}: use an int or an integer tensor"
            ) from None
    for label in sorted(set(labels)):
        if not 0 <= label < len(task_names):
            raise UserError(
                f"task label {label} is out of range: this network knows "
                f"{len(task_names)} tasks, labels 0 to {len(task_names) - 1}"
            )
    return TaskGroups(labels, task_names, labels_everywhere(labels) if shared else ())

"""Batch normalization that tasks share, that can be frozen, and that a task may own."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from continual_repmode import distributed
from continual_repmode.errors import UserError
from continual_repmode.models.shared_norm import SharedBatchNorm
from continual_repmode.models.task_groups import TaskGroups

_STATE = ("weight", "bias", "running_mean", "running_var")


class TaskNorm(nn.BatchNorm3d):
    """Batch normalization over (B, Z, Y, X), shared by the tasks of a batch.

    Where several processes share a batch (:mod:`continual_repmode.distributed`), the
    statistics are those of all of it. A frozen one normalizes with its running
    statistics, whatever mode is asked for: loops that call ``train()`` on single
    modules cannot make it drift. A task with a private copy (a child called
    ``private_<task>``) is normalized by that one.

    ``tasks``: tasks that have a private normalization from the start. With any, nothing
        is shared: there are no parameters or statistics but theirs.
    """

    frozen: bool = False

    def __init__(
        self,
        num_features: int,
        tasks: Sequence[str] = (),
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
    ) -> None:
        shared = not tasks
        super().__init__(
            num_features, eps, momentum, affine=shared, track_running_stats=shared
        )
        for task in tasks:
            self.add_module(f"private_{task}", self._like())

    @property
    def is_shared(self) -> bool:
        """Whether there are parameters and statistics that tasks share."""
        return self.affine

    def forward(self, features: Tensor, groups: TaskGroups | None = None) -> Tensor:
        """Normalize features, shape (B, C, Z, Y, X).

        ``features``: sorted by task if ``groups`` is given.
        ``groups``: None means that every sample takes the shared normalization.
        """
        rows: dict[TaskNorm, list[int]] = {}
        for group in groups.groups if groups is not None else ():
            rows.setdefault(self.of(group.task), []).extend(
                range(group.start, group.stop)
            )
        if set(rows) <= {self}:
            (only,) = self._normalize([self], [features])
            return only
        if len(rows) == 1:
            (only,) = self._normalize(list(rows), [features])
            return only
        pieces = [features[_run(own)] for own in rows.values()]
        parts = self._normalize(list(rows), pieces)
        # An empty part would make the others contiguous, which convolutions undo.
        joined = torch.cat([part for part in parts if len(part)] or parts)
        order = [row for own in rows.values() for row in own]
        if order == sorted(order):
            return joined
        return joined[torch.tensor(order).argsort().to(features.device)]

    def _normalize(
        self, norms: Sequence["TaskNorm"], pieces: Sequence[Tensor]
    ) -> list[Tensor]:
        """Normalize each piece of a batch by a normalization of this module.

        What several processes share is exchanged in one message for all of them.
        """
        learning = [n for n in norms if n.training and distributed.world() > 1]
        of_all = iter(
            self._normalize_shared(
                learning,
                [p for n, p in zip(norms, pieces, strict=True) if n in learning],
            )
            if learning
            else ()
        )
        return [
            next(of_all) if norm in learning else super(TaskNorm, norm).forward(piece)
            for norm, piece in zip(norms, pieces, strict=True)
        ]

    def _normalize_shared(
        self, norms: Sequence["TaskNorm"], pieces: Sequence[Tensor]
    ) -> list[Tensor]:
        *normalized, means, variances = SharedBatchNorm.apply(
            self.eps,
            torch.stack([norm.weight for norm in norms]),
            torch.stack([norm.bias for norm in norms]),
            *pieces,
        )
        for norm, mean, variance in zip(norms, means, variances, strict=True):
            norm._follow(mean, variance)
        return list(normalized)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of a batch."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(variance.to(self.running_var), momentum)

    def of(self, task: str) -> "TaskNorm":
        """Return the normalization that a task uses: its own one or the shared one."""
        private = self._modules.get(f"private_{task}")
        return private if isinstance(private, TaskNorm) else self

    def effective_state(self) -> dict[str, Tensor]:
        """Return the tensors that decide the output in evaluation mode."""
        return {name: getattr(self, name) for name in _STATE}

    @torch.no_grad()
    def add_private(
        self, task: str, training: bool, like: Sequence[str] | None = None
    ) -> None:
        """Give a task a normalization of its own, a copy of what others use.

        ``training``: mode of the copy, which is trainable even if the others are
            frozen.
        ``like``: known tasks to start from; of several, the mean of their parameters
            and statistics. None: the shared normalization, or all tasks if none is
            shared.
        Raises UserError if nothing is shared and no task is known.
        """
        if like is None:
            sources = [self] if self.is_shared else self._private()
        else:
            sources = [self.of(name) for name in like]
        if not sources:
            raise UserError(f"task {task!r}: no normalization to start from")
        private = self._like()
        private.to(sources[0].weight).train(training)
        states = [source.effective_state() for source in sources]
        for name, tensor in private.effective_state().items():
            values = [state[name] for state in states]
            mean = torch.stack(values).mean(dim=0) if len(values) > 1 else values[0]
            tensor.copy_(mean)
        batches = [source.num_batches_tracked for source in sources]
        if private.num_batches_tracked is not None and batches[0] is not None:
            private.num_batches_tracked.copy_(batches[0])
        self.add_module(f"private_{task}", private)

    def freeze(self) -> None:
        """Fix the affine parameters and the running statistics for good."""
        self.frozen = True
        self.training = False
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen normalization stays in evaluation mode."""
        super().train(mode)
        self.training = mode and not self.frozen
        return self

    def _like(self) -> "TaskNorm":
        return TaskNorm(self.num_features, eps=self.eps, momentum=self.momentum)

    def _private(self) -> list["TaskNorm"]:
        return [norm for norm in self.children() if isinstance(norm, TaskNorm)]


def _run(rows: list[int]) -> slice | list[int]:
    """Return rows as a slice where they follow each other: a view, not a copy."""
    if not rows:  # of a task that only other processes have
        return slice(0, 0)
    first, last = rows[0], rows[-1]
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows

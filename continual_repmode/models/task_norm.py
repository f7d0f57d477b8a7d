"""Batch normalization that tasks share, that can be frozen, and that a task may own."""

from typing import Self

import torch
from torch import Tensor, nn

from continual_repmode.models.task_groups import TaskGroups

_STATE = ("weight", "bias", "running_mean", "running_var")


class TaskNorm(nn.BatchNorm3d):
    """Batch normalization over (B, Z, Y, X), shared by the tasks of a batch.

    A frozen one normalizes with its running statistics, whatever mode is asked for:
    loops that call ``train()`` on single modules cannot make it drift. A task with a
    private copy (a child called ``private_<task>``) is normalized by that one.

    Parameters
    ----------
    num_features : int
    """

    frozen: bool = False

    def forward(self, features: Tensor, groups: TaskGroups | None = None) -> Tensor:
        """Normalize features, shape (B, C, Z, Y, X).

        Parameters
        ----------
        features : Tensor
            Sorted by task if ``groups`` is given.
        groups : TaskGroups or None
            None means that every sample takes the shared normalization.
        """
        rows: dict[TaskNorm, list[int]] = {}
        for group in groups.groups if groups is not None else ():
            rows.setdefault(self.of(group.task), []).extend(
                range(group.start, group.stop)
            )
        if set(rows) <= {self}:
            return super().forward(features)
        parts = [norm(features[own]) for norm, own in rows.items()]
        order = torch.tensor([row for own in rows.values() for row in own])
        return torch.cat(parts)[order.argsort().to(features.device)]

    def of(self, task: str) -> "TaskNorm":
        """Return the normalization that a task uses: its own one or the shared one."""
        private = self._modules.get(f"private_{task}")
        return private if isinstance(private, TaskNorm) else self

    def effective_state(self) -> dict[str, Tensor]:
        """Return the tensors that decide the output in evaluation mode."""
        return {name: getattr(self, name) for name in _STATE}

    @torch.no_grad()
    def add_private(self, task: str, training: bool) -> None:
        """Give a task its own copy of the shared parameters and statistics.

        Parameters
        ----------
        task : str
        training : bool
            Mode of the copy, which is trainable even if the shared one is frozen.
        """
        private = TaskNorm(self.num_features, eps=self.eps, momentum=self.momentum)
        private.to(self.weight).train(training)
        private.load_state_dict(
            {name: self.state_dict()[name] for name in private.state_dict()}
        )
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

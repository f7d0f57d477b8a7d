"""A linear layer that is told the task of each sample, and can learn further tasks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from continual_repmode.models.task_groups import TaskGroups


class TaskLinear(nn.Module):
    """A linear layer on ``[features ; one-hot(task)]``.

    Each column that the one-hot vector would pick is a parameter of its own, called
    ``column_<task>``: the columns of tasks that a batch lacks get no gradient, and a
    task can be added. Initialized as ``nn.Linear(in_features + S, out_features)``.

    ``in_features``: number of features F, without the one-hot vector.
    ``tasks``: the S base tasks.
    """

    def __init__(
        self, in_features: int, out_features: int, tasks: Sequence[str]
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self._bound = (in_features + len(tasks)) ** -0.5
        nn.init.uniform_(self.linear.weight, -self._bound, self._bound)
        nn.init.uniform_(self.linear.bias, -self._bound, self._bound)
        for task in tasks:
            self.add_task(task)

    def forward(self, features: Tensor, groups: TaskGroups) -> Tensor:
        """Map features (B, F), sorted by task, to (B, out_features)."""
        return groups.map(
            lambda task, rows: rows + self.get_parameter(f"column_{task}"),
            self.linear(features),
        )

    @torch.no_grad()
    def add_task(self, task: str) -> None:
        """Add the column of a task, drawn as those of the base tasks are."""
        column = torch.empty_like(self.linear.bias).uniform_(-self._bound, self._bound)
        self.register_parameter(f"column_{task}", nn.Parameter(column))

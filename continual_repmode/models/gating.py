"""The gating of a MoDE block: how much each task makes of each expert (Sec. 3.3).

The paper feeds the one-hot task vector p (Eq. 1) to one fully connected layer and
applies a softmax over the experts, separately for every output channel (Eq. 2). A task
that is added later brings a table of logits of its own instead of widening that layer.
Once tasks are frozen, their activated weights are kept and the layer is dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

GATE_INITS = ("mean", "uniform")
"""Ways to start a new gate; the name of a known task is the third way."""

NEW_EXPERT_LOGIT = -2.0
"""Start of an expert unknown to the known gates: about 12 % of the weight."""


@dataclass(frozen=True)
class GatingTable:
    """The gating weights of one task in one MoDE block.

    Attributes
    ----------
    block : str
        Name of the block, such as ``encoder1.conv1``.
    task : str
    experts : tuple of str
        Names of the E experts the task uses, in the order of the rows of ``weights``.
    weights : Tensor, shape (E, O)
        Activated weights; each column (output channel) sums to 1.
    """

    block: str
    task: str
    experts: tuple[str, ...]
    weights: Tensor


class TaskGate(nn.Module):
    """Gating weights of every task in one MoDE block.

    Parameters
    ----------
    tasks : sequence of str
        The S base tasks, in the order of their labels.
    experts : sequence of str
        Names of the E base experts.
    out_channels : int

    Attributes
    ----------
    experts : dict of str to tuple of str
        For each task, the experts it uses: the rows of its gating weights.
    linear : nn.Linear or None
        The layer from one-hot task vectors to E * O logits; None once stored.
    """

    def __init__(
        self, tasks: Sequence[str], experts: Sequence[str], out_channels: int
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.experts = {task: tuple(experts) for task in tasks}
        self.linear: nn.Linear | None = nn.Linear(
            len(tasks), len(experts) * out_channels
        )
        self._columns = {task: column for column, task in enumerate(tasks)}

    def forward(self, task: str) -> Tensor:
        """Return the gating weights of a task, shape (E_task, O), each column sum 1."""
        if self._is_stored(task):
            return self.get_buffer(f"weights_{task}")
        return self.logits(task).softmax(dim=0)

    def table(self, tasks: Sequence[str], experts: Sequence[str]) -> Tensor:
        """Return the gating weights of several tasks at once, shape (T, E, O).

        Parameters
        ----------
        tasks : sequence of str
        experts : sequence of str
            Names of the rows, among them all experts that the tasks use; the weight is
            0 where a task does not use an expert.
        """
        if self.linear is not None and all(task in self._columns for task in tasks):
            columns = [self._columns[task] for task in tasks]
            logits = self.linear.weight.t()[columns] + self.linear.bias
            return logits.view(len(tasks), -1, self.out_channels).softmax(dim=1)
        return torch.stack([self._rows(task, experts) for task in tasks])

    def logits(self, task: str) -> Tensor:
        """Return what the softmax is taken of, shape (E_task, O), unless stored."""
        if task not in self._columns:
            return self.get_parameter(f"logits_{task}")
        assert self.linear is not None
        # The product with a one-hot vector picks one column of the layer.
        column = self.linear.weight[:, self._columns[task]] + self.linear.bias
        return column.view(-1, self.out_channels)

    def sources(self, task: str) -> tuple[Tensor, ...]:
        """Return the parameters or buffers that the weights of a task are made of."""
        if self._is_stored(task):
            return (self.get_buffer(f"weights_{task}"),)
        if task not in self._columns:
            return (self.get_parameter(f"logits_{task}"),)
        assert self.linear is not None
        return (self.linear.weight, self.linear.bias)

    def add_task(self, task: str, experts: Sequence[str], init: str) -> None:
        """Add a gate for a new task: a trainable table of logits, shape (E_task, O).

        Parameters
        ----------
        task : str
        experts : sequence of str
            Names of the experts it uses.
        init : str
            See :meth:`initial_logits`.
        """
        logits = self.initial_logits(experts, init)
        self.experts[task] = tuple(experts)
        self.register_parameter(f"logits_{task}", nn.Parameter(logits))

    @torch.no_grad()
    def initial_logits(self, experts: Sequence[str], init: str) -> Tensor:
        """Return the logits that a new task starts from, shape (E_task, O).

        ``"uniform"`` is zero everywhere. ``"mean"`` continues what the known tasks
        agree on: per channel, the mean of their log gates on the base experts, shifted
        so that the log-sum-exp over these is 0. The name of a known task takes that
        task's log gates, on the experts it shares with the new one, in the same way.
        Every other expert starts at -2.
        """
        like = self(next(iter(self.experts)))
        if init == "uniform":
            return torch.zeros_like(like[:1]).repeat(len(experts), 1)
        sources = list(self.experts) if init == "mean" else [init]
        known = [
            expert
            for expert in experts
            if all(expert in self.experts[source] for source in sources)
        ]
        rows = [
            self(source)[[self.experts[source].index(expert) for expert in known]]
            for source in sources
        ]
        tiny = torch.finfo(like.dtype).tiny
        logs = torch.stack(rows).clamp_min(tiny).log().mean(dim=0)
        new_row = torch.full_like(like[0], NEW_EXPERT_LOGIT)
        known_rows = dict(zip(known, logs - logs.logsumexp(dim=0), strict=True))
        return torch.stack([known_rows.get(expert, new_row) for expert in experts])

    @torch.no_grad()
    def store(self) -> None:
        """Keep the activated weights of every known task and drop what made them."""
        for task in self.experts:
            if self._is_stored(task):
                continue
            self.register_buffer(f"weights_{task}", self(task).detach().clone())
            if task not in self._columns:
                delattr(self, f"logits_{task}")
        self.linear = None

    def _rows(self, task: str, experts: Sequence[str]) -> Tensor:
        weights: Tensor = self(task)
        if self.experts[task] == tuple(experts):
            return weights
        rows = [experts.index(expert) for expert in self.experts[task]]
        index = torch.tensor(rows, device=weights.device)
        table = weights.new_zeros(len(experts), self.out_channels)
        return table.index_copy(0, index, weights)

    def _is_stored(self, task: str) -> bool:
        return f"weights_{task}" in self._buffers

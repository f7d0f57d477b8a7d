"""The gating of a MoDE block: how much each task makes of each expert (Sec. 3.3).

The paper feeds the one-hot task vector p (Eq. 1) to one fully connected layer and
applies a softmax over the experts, separately for every output channel (Eq. 2). A task
that is added later brings a table of logits of its own instead of widening that layer.
Once tasks are frozen, their activated weights are kept and the layer is dropped.
Other task vectors, layers and activations are chosen by a
:class:`~continual_repmode.models.gate_spec.GateSpec`.

The experts of a later task are mixed in one of two ways (:data:`EXPERT_MIXES`).
``"softmax"``: its own expert competes with the others, as in the paper. ``"additive"``,
our proposal: the softmax is over the base experts alone, and the task's own expert is
added with weight 1. In the softmax a new expert starts with 12 % of the mix, so its
kernel learns at about an eighth of the learning rate; added, it learns at the full one.
Base tasks may have experts of their own from the start, which are added in this way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.models.gate_spec import (
    PAPER_GATE,
    GateSpec,
    activate,
    full_precision_linear,
    mean_logits,
)

EXPERT_MIXES = ("softmax", "additive")
"""How a new task's experts are mixed; see :meth:`TaskGate.add_task`."""

GATE_INITS = ("mean", "uniform")
"""Ways to start a new gate; the name of a known task is the third way."""

NEW_EXPERT_LOGIT = -2.0
"""Start of an expert unknown to the known gates: about 12 %, softmax or sigmoid."""


@dataclass(frozen=True)
class GatingTable:
    """The gating weights of one task in one MoDE block."""

    #: Name of the block, such as ``encoder1.conv1``.
    block: str
    task: str
    #: Names of the E experts the task uses, in the order of the rows of ``weights``.
    experts: tuple[str, ...]
    #: (E, O). Activated weights; each column (output channel) sums to 1, unless the
    #: gates are activated by a sigmoid. Experts that are added outside the activation
    #: (``expert_mix="additive"``) come last; theirs are not part of that sum.
    weights: Tensor


class TaskGate(nn.Module):
    """Gating weights of every task in one MoDE block.

    ``tasks``: the S base tasks, in the order of their labels.
    ``spec``: task vectors, layers and activation; those of the paper by default.
    ``experts``: for each task, the experts it uses: the rows of its gating weights.
    ``linear``: the layer to E * O logits, from task vectors or hidden units; None once
        stored.
    ``hidden``: the layer from task vectors to hidden units, before a ReLU; None without
        one.
    """

    #: (S, S). The task vectors, a buffer; None if they are one-hot.
    embedding: Tensor | None

    def __init__(
        self,
        tasks: Sequence[str],
        experts: Sequence[str],
        out_channels: int,
        spec: GateSpec = PAPER_GATE,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.activation = spec.activation
        self.experts = {task: tuple(experts) for task in tasks}
        self._base_experts = tuple(experts)
        self._mixes: dict[str, str] = {}
        vectors = None if spec.embedding is None else spec.embedding.clone()
        self.register_buffer("embedding", vectors)
        inputs, outputs = len(tasks), len(experts) * out_channels
        self.hidden = None if spec.hidden is None else nn.Linear(inputs, spec.hidden)
        self.linear: nn.Linear | None = nn.Linear(spec.hidden or inputs, outputs)
        self._columns = {task: column for column, task in enumerate(tasks)}

    def forward(self, task: str) -> Tensor:
        """Return the gating weights of a task, shape (E_task, O)."""
        if self._is_stored(task):
            return self.get_buffer(f"weights_{task}")
        return self._activated(task)

    def table(self, tasks: Sequence[str], experts: Sequence[str]) -> Tensor:
        """Return the gating weights of several tasks at once, shape (T, E, O).

        ``experts``: names of the rows, among them all experts that the tasks use; the
            weight is 0 where a task does not use an expert.
        """
        of_layer = self.linear is not None and self._columns.keys() >= set(tasks)
        if of_layer and tuple(experts) == self._base_experts:
            return activate(self._base_logits(tasks), self.activation)
        return torch.stack([self._rows(task, experts) for task in tasks])

    def logits(self, task: str) -> Tensor:
        """Return what the activation is taken of, shape (E_task, O), unless stored.

        Of a task with additive experts: the parameters that its weights are made of.
        """
        if task not in self._columns:
            return self.get_parameter(f"logits_{task}")
        return self._base_logits([task])[0]

    def sources(self, task: str) -> tuple[Tensor, ...]:
        """Return the parameters or buffers that the weights of a task are made of."""
        if self._is_stored(task):
            return (self.get_buffer(f"weights_{task}"),)
        if task not in self._columns:
            return (self.get_parameter(f"logits_{task}"),)
        layers = [layer for layer in (self.linear, self.hidden) if layer is not None]
        vectors = [] if self.embedding is None else [self.embedding]
        return (*(p for layer in layers for p in layer.parameters()), *vectors)

    def add_task(
        self,
        task: str,
        experts: Sequence[str],
        init: str,
        mix: str = "softmax",
    ) -> None:
        """Add a gate for a new task: a trainable table, shape (E_task, O).

        ``experts``: names of the experts it uses: the base experts, those of earlier
            extensions, then its own if it has one.
        ``mix``: "softmax" or "additive"; ``"softmax"``: all compete, and the table
            holds logits. ``"additive"``: the table holds logits of the base experts
            only. Those of earlier extensions are added with a weight per output channel
            that is learned and starts at 0, the task's own with weight 1, which is no
            parameter.
        """
        if mix == "softmax":
            table = self.initial_logits(experts, init)
        else:
            base = len(self._base_experts)
            table = self.initial_logits(experts[:base], init)
            earlier = sum(name != extension_name(task) for name in experts[base:])
            table = torch.cat([table, torch.zeros_like(table[:1]).repeat(earlier, 1)])
        self.experts[task] = tuple(experts)
        self._mixes[task] = mix
        self.register_parameter(f"logits_{task}", nn.Parameter(table))

    def give_expert(self, task: str) -> None:
        """Let a base task use an expert of its own, added to the others, weight 1."""
        self.experts[task] = (*self._base_experts, extension_name(task))
        self._mixes[task] = "additive"

    def num_weights(self, task: str) -> int:
        """Count the gating weights that a task has, without those that are always 1."""
        fixed = self._mix(task) == "additive" and self._has_own_expert(task)
        return (len(self.experts[task]) - fixed) * self.out_channels

    @torch.no_grad()
    def initial_logits(self, experts: Sequence[str], init: str) -> Tensor:
        """Return the logits that a new task starts from, shape (E_task, O).

        ``"uniform"`` is zero everywhere. ``"mean"`` continues what the known tasks
        agree on: per channel, the mean of their log gates on the base experts, shifted
        so that the log-sum-exp over these is 0 (with a sigmoid, the mean of their
        logits). The name of a known task takes that task's log gates, on the experts it
        shares with the new one, in the same way. Every other expert starts at -2.
        """
        if self._is_structure:
            return self._shape_only(experts)
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
        logits = mean_logits(torch.stack(rows), self.activation)
        new_row = torch.full_like(like[0], NEW_EXPERT_LOGIT)
        known_rows = dict(zip(known, logits, strict=True))
        return torch.stack([known_rows.get(expert, new_row) for expert in experts])

    @torch.no_grad()
    def store(self) -> None:
        """Keep the activated weights of every known task and drop what made them."""
        for task in self.experts:
            if self._is_stored(task):
                continue
            weights = (
                self._shape_only(self.experts[task])
                if self._is_structure
                else self(task).detach().clone()
            )
            self.register_buffer(f"weights_{task}", weights)
            if task not in self._columns:
                delattr(self, f"logits_{task}")
        self.linear = self.hidden = self.embedding = None

    def stored(self) -> dict[str, Tensor]:
        """Return the weights that :meth:`store` has kept, by task."""
        return {t: self(t) for t in self.experts if self._is_stored(t)}

    def _activated(self, task: str) -> Tensor:
        """Return the gating weights of a task that are not stored, (E_task, O)."""
        table = self.logits(task)
        if self._mix(task) == "softmax":
            return activate(table, self.activation)
        base = len(self._base_experts)
        weights = [activate(table[:base], self.activation), table[base:]]
        if self._has_own_expert(task):
            weights.append(torch.ones_like(table[:1]))
        return torch.cat(weights)

    def _mix(self, task: str) -> str:
        return self._mixes.get(task, "softmax")

    def _has_own_expert(self, task: str) -> bool:
        return extension_name(task) in self.experts[task]

    def _base_logits(self, tasks: Sequence[str]) -> Tensor:
        """Return the logits of T base tasks, shape (T, E, O)."""
        assert self.linear is not None
        columns = [self._columns[task] for task in tasks]
        if self.hidden is None:
            flat = self._on_task_vectors(self.linear, columns)
        else:
            units = F.relu(self._on_task_vectors(self.hidden, columns))
            flat = full_precision_linear(self.linear, units)
        return flat.view(len(tasks), -1, self.out_channels)

    def _on_task_vectors(self, layer: nn.Linear, columns: list[int]) -> Tensor:
        if self.embedding is None:  # a product with one-hot vectors picks columns
            return layer.weight.t()[columns] + layer.bias
        return full_precision_linear(layer, self.embedding[columns])

    def _rows(self, task: str, experts: Sequence[str]) -> Tensor:
        weights: Tensor = self(task)
        if self.experts[task] == tuple(experts):
            return weights
        rows = [experts.index(expert) for expert in self.experts[task]]
        index = torch.tensor(rows, device=weights.device)
        table = weights.new_zeros(len(experts), self.out_channels)
        return table.index_copy(0, index, weights)

    @property
    def _is_structure(self) -> bool:
        """Whether there are no numbers, as in a network whose file is yet to be read.

        PyTorch computes without numbers too, but loads its compiler for it: seconds.
        """
        own = chain(self._parameters.values(), self._buffers.values())
        found = next((part for part in own if part is not None), None)
        if found is None:
            assert self.linear is not None
            found = self.linear.weight
        return found.is_meta

    def _shape_only(self, experts: Sequence[str]) -> Tensor:
        return torch.empty(len(experts), self.out_channels, device="meta")

    def _is_stored(self, task: str) -> bool:
        return f"weights_{task}" in self._buffers


def extension_name(task: str) -> str:
    """Return the name of the expert that a task has to itself."""
    return f"extension_{task}"

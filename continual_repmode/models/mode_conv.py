"""The Mixture-of-Diverse-Experts (MoDE) block (paper Sec. 3.3, 3.4, Fig. 3 and 5).

To read first: ``experts.py`` (what is mixed) and ``gating.py`` (with which weights).
A block holds experts and a gate. In evaluation it merges the experts of a task into one
kernel (GatRep), keeps it, and runs one ordinary convolution; in training ``mixing.py``
merges or mixes, whichever is faster.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.models.convolution import convolve
from continual_repmode.models.experts import (
    ConvExpert,
    build_expert,
    build_experts,
    crop_kernel,
    merge_parallel,
)
from continual_repmode.models.gate_spec import PAPER_GATE, GateSpec
from continual_repmode.models.gating import TaskGate, extension_name
from continual_repmode.models.kernel_cache import KernelCache
from continual_repmode.models.mixing import Mixture, convolve_mixed
from continual_repmode.models.spatial import Axes, reach
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_norm import TaskNorm


class MoDEConv(nn.Module):
    """A convolution whose kernel is mixed from experts, per task.

    ``tasks``: names of the base tasks, in the order of their labels.
    ``experts``: kinds of the base experts, such as ``conv5`` or ``avg3_conv1``.
    ``axes``: axes that the kernels extend over.
    ``gate``: how the gate is made; as in the paper by default.
    ``level``: of the resolution, 1 for the full one; kept as ``level``.
    ``private_expert``: kind of an expert that each base task has to itself, or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        tasks: Sequence[str],
        experts: Sequence[str],
        axes: Axes,
        gate: GateSpec = PAPER_GATE,
        level: int = 1,
        private_expert: str | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.axes = axes
        self.level = level
        self.experts = build_experts(experts, in_channels, out_channels, axes, level)
        self.base_experts = tuple(self.experts)
        self.gate = TaskGate(tasks, self.base_experts, out_channels, gate)
        if private_expert is not None:
            for task in tasks:
                self._add_expert(task, private_expert).zero_()
                self.gate.give_expert(task)
        self._cache = KernelCache()

    def forward(self, features: Tensor, groups: TaskGroups) -> Tensor:
        """Convolve each sample with the kernel of its task, with 'same' zero padding.

        ``features``: (B, I, Z, Y, X); sorted by task.
        Returns: (B, O, Z, Y, X).
        """
        if self.training:
            return convolve_mixed(features, self._mixture(groups))
        return groups.map(self._convolve, features)

    def merged_kernel(self, task: str) -> Tensor:
        """Merge the experts of a task into one kernel, (O, I, kZ, kY, kX): GatRep."""
        kernels = [expert.kernel() for expert in self.experts_of(task).values()]
        return merge_parallel(kernels, self.gate(task))

    def experts_of(self, task: str) -> dict[str, ConvExpert]:
        """Return the experts that a task uses, in the order of its gating weights."""
        used = {name: self.experts[name] for name in self.gate.experts[task]}
        return {name: e for name, e in used.items() if isinstance(e, ConvExpert)}

    def add_task(
        self,
        task: str,
        expert: str | None,
        use_extensions: Sequence[str],
        gate_init: str,
        expert_mix: str = "softmax",
    ) -> None:
        """Add a gate for a new task and, unless None, an expert of the given kind.

        The expert is called ``extension_<task>``. The task uses the base experts, those
        added for the tasks in ``use_extensions``, and its own, in this order; see
        :meth:`~continual_repmode.models.gating.TaskGate.add_task` for their mix.
        """
        used = [*self.base_experts, *map(extension_name, use_extensions)]
        if expert is not None:
            self._add_expert(task, expert)
            used.append(extension_name(task))
        self.gate.add_task(task, used, gate_init, expert_mix)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; training forgets the kernels kept for evaluation."""
        if mode:
            self._cache.clear()
        return super().train(mode)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self._cache.clear()  # a moved network does not keep its old copy alive
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # untyped in torch
        return self

    def _add_expert(self, task: str, kind: str) -> ConvExpert:
        expert = build_expert(
            kind, self.in_channels, self.out_channels, self.axes, self.level
        )
        like = next(self.experts.parameters())
        if not like.is_meta:
            expert.to(like).to(memory_format=torch.channels_last_3d)
        self.experts[extension_name(task)] = expert.train(self.training)
        return expert

    def _mixture(self, groups: TaskGroups) -> Mixture:
        own = [group for group in groups.groups if group.stop > group.start]
        own = own or list(groups.groups[:1])  # others may have rows, this process none
        tasks = [group.task for group in own]
        used = {name: e for task in tasks for name, e in self.experts_of(task).items()}
        counts = [group.stop - group.start for group in own]
        return Mixture(
            tuple(used.values()), self.gate.table(tasks, tuple(used)), counts
        )

    def _convolve(self, task: str, rows: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            kernel = self.merged_kernel(task)
        else:
            experts = self.experts_of(task).values()
            weights = (p for expert in experts for p in expert.parameters())
            sources = [*self.gate.sources(task), *weights]
            kernel = self._cache.get(task, sources, lambda: self.merged_kernel(task))
        kernel = crop_kernel(kernel, reach(kernel.shape[2:], rows.shape[2:]))
        return convolve(rows, kernel)


class MoDEBlock(nn.Module):
    """A MoDE convolution, batch normalization and ReLU; or the convolution alone.

    ``norm``: None for the block that makes the prediction, which has no ReLU either.
    """

    def __init__(self, conv: MoDEConv, norm: TaskNorm | None) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, features: Tensor, groups: TaskGroups) -> Tensor:
        """Map features (B, I, Z, Y, X), sorted by task, to (B, O, Z, Y, X)."""
        features = self.conv(features, groups)
        return features if self.norm is None else F.relu_(self.norm(features, groups))

"""Keeps each step from raising the loss over stored patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from continual_repmode.training.strategies.rehearsal import (
    MemoryConfig,
    RehearsalPlugin,
)
from continual_repmode.training.strategies.strategy_config import Tuning


@dataclass(kw_only=True, slots=True)
class AGEMConfig(MemoryConfig):
    """Take no step that raises the mean loss over stored patches."""

    label: ClassVar[str] = "A-GEM"
    tuning: ClassVar[Tuning | None] = Tuning(chosen="agem_own")

    def plugins(self) -> list[object]:
        """Make the plugin."""
        return [AGEMPlugin(**self.sizes())]


class AGEMPlugin(RehearsalPlugin):
    """Averaged gradient episodic memory.

    Chaudhry et al., ICLR 2019 ("Efficient lifelong learning with A-GEM"), Eq. 11. If
    the gradient of a step points against that of the loss over patches drawn from
    memory, the latter's direction is removed from it. Avalanche's plugin cannot be
    saved, and fails with weights that lie with their channels last.
    """

    def after_backward(self, strategy: Any, **_: Any) -> None:
        """Project the gradients."""
        if not len(self.memory):
            return
        signal, target, labels = self.draw(strategy)
        trainable = [p for p in strategy.model.parameters() if p.requires_grad]
        reference = torch.autograd.grad(
            strategy.batch_loss(signal, target, labels), trainable, allow_unused=True
        )
        current = [parameter.grad for parameter in trainable]
        projected = project(current, reference)
        for parameter, gradient in zip(trainable, projected, strict=True):
            parameter.grad = gradient


def project(
    current: Sequence[Tensor | None], reference: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Return ``g - (g.r / r.r) r`` if ``g.r < 0``, else ``g``.

    ``current``, ``reference``: the gradients ``g`` and ``r``, one tensor per parameter;
        None is zero.
    """
    pairs = [
        (g, r)
        for g, r in zip(current, reference, strict=True)
        if g is not None and r is not None
    ]
    dots = [torch.sum(g * r) for g, r in pairs]
    if not dots or torch.stack(dots).sum() >= 0:
        return list(current)
    squares = torch.stack([torch.sum(r * r) for r in reference if r is not None])
    share = torch.stack(dots).sum() / squares.sum()
    projected: list[Tensor | None] = []
    for g, r in zip(current, reference, strict=True):
        if r is None:
            projected.append(g)
        else:
            projected.append(-share * r if g is None else g - share * r)
    return projected

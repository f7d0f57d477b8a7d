"""Rehearses stored patches together with what the network predicted for them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from continual_repmode.checks import at_least, setting
from continual_repmode.training.strategies.rehearsal import (
    MemoryConfig,
    RehearsalPlugin,
)
from continual_repmode.training.strategies.strategy_config import Tuning


@dataclass(kw_only=True, slots=True)
class DERConfig(MemoryConfig):
    """Learn stored patches, and what the network predicted for them."""

    label: ClassVar[str] = "DER"
    tuning: ClassVar[Tuning | None] = Tuning(
        chosen="der_2_own", settings=("alpha", "beta"), values=(0.05, 0.5, 5.0)
    )

    #: Weight of the distance from the stored predictions.
    alpha: float = setting(0.5, at_least(0))
    #: Weight of the distance from the targets; 0: predictions only.
    beta: float = setting(0.5, at_least(0))

    def plugins(self) -> list[object]:
        """Make the plugin."""
        return [
            DERPlugin(
                **self.sizes(),
                alpha=self.alpha,
                beta=self.beta,
            )
        ]


class DERPlugin(RehearsalPlugin):
    """Dark experience replay for regression.

    Buzzega et al., NeurIPS 2020 ("Dark experience for general continual learning").
    The loss gains ``alpha * MSE(output, stored output) + beta * loss(output, target)``
    over patches in memory, with the loss that the strategy trains with. ``beta=0`` is
    DER, otherwise DER++.

    Our adaptation: images are predicted instead of logits; a patch is stored when its
    experience has been learned, with the prediction of the weights that were kept, not
    with predictions from along the way; both terms use one draw of patches. Avalanche's
    plugin needs class labels.
    """

    def __init__(
        self,
        *,
        patches: int = 120,
        patches_per_step: int = 8,
        alpha: float = 0.5,
        beta: float = 0.5,
    ) -> None:
        super().__init__(patches=patches, patches_per_step=patches_per_step)
        self._alpha, self._beta = alpha, beta

    def before_backward(self, strategy: Any, **_: Any) -> None:
        """Add the loss over stored patches."""
        if not len(self.memory):
            return
        drawn = self.draw(strategy)
        signal, target, stored, labels = drawn
        output = strategy.model(signal, labels)
        strategy.loss = (
            strategy.loss
            + self._alpha * F.mse_loss(output, stored)
            + self._beta * strategy._criterion(output, target)
        )

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Store patches of the tasks that were learned, and their predictions."""

        @torch.no_grad()
        def predicted(signal: Tensor, label: int) -> tuple[Tensor]:
            return (strategy.model(signal[None].to(strategy.device), label)[0],)

        strategy.model.eval()
        self.memory.fill(strategy.experience.dataset, predicted)
        strategy.model.train()

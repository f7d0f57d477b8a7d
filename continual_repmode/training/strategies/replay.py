"""Rehearses stored patches of old tasks together with the new ones."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from continual_repmode.training.strategies.rehearsal import (
    MemoryConfig,
    RehearsalPlugin,
)
from continual_repmode.training.strategies.strategy_config import Tuning


@dataclass(kw_only=True, slots=True)
class ReplayConfig(MemoryConfig):
    """Learn stored patches together with the new ones."""

    label: ClassVar[str] = "Replay"
    tuning: ClassVar[Tuning | None] = Tuning(chosen="replay_own")

    def plugins(self) -> list[object]:
        """Make the plugin."""
        return [ReplayPlugin(**self.sizes())]


class ReplayPlugin(RehearsalPlugin):
    """Experience replay: add stored patches to the batch of every step.

    Rolnick et al., NeurIPS 2019 ("Experience replay for continual learning"); Chaudhry
    et al., 2019 ("On tiny episodic memories in continual learning"). The memory is
    filled when an experience has been learned; in the next ones each batch is the new
    patches and ``patches_per_step`` old ones. Avalanche's plugin stores indices of
    images, whose data must then stay at hand, and balances by experience, so that tasks
    learned jointly share one place; this one stores patches and balances by task.
    """

    def before_training_iteration(self, strategy: Any, **_: Any) -> None:
        """Add stored patches to the batch."""
        if len(self.memory):
            drawn = self.draw(strategy)
            pairs = zip(strategy.mbatch, drawn, strict=True)
            strategy.mbatch = [torch.cat(pair) for pair in pairs]

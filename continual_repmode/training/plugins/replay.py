"""Rehearses stored patches of old tasks beside the new ones."""

from typing import Any

import torch

from continual_repmode.training._avalanche import SupervisedPlugin
from continual_repmode.training.patch_memory import PatchMemory


class ReplayPlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """Experience replay: add stored patches to the batch of every step.

    Rolnick et al., NeurIPS 2019 ("Experience replay for continual learning"); Chaudhry
    et al., 2019 ("On tiny episodic memories in continual learning"). The memory is
    filled when an experience has been learned; in the next ones each batch is the new
    patches and ``patches_per_step`` old ones. Avalanche's plugin stores indices of
    images, whose data must then stay at hand, and balances by experience, so that tasks
    learned jointly share one place; this one stores patches and balances by task.

    Parameters
    ----------
    patches : int
        Patches in memory, of all tasks together.
    patches_per_step : int
        Patches that are drawn for each step.
    """

    def __init__(self, *, patches: int = 120, patches_per_step: int = 8) -> None:
        super().__init__()
        self.memory = PatchMemory(patches)
        self._patches_per_step = patches_per_step

    def before_training_iteration(self, strategy: Any, **_: Any) -> None:
        """Add stored patches to the batch."""
        if len(self.memory):
            drawn = self.memory.draw(self._patches_per_step, strategy.device)
            pairs = zip(strategy.mbatch, drawn, strict=True)
            strategy.mbatch = [torch.cat(pair) for pair in pairs]

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Store patches of the tasks that were learned."""
        self.memory.fill(strategy.experience.dataset)

    def state_dict(self) -> dict[str, Any]:
        """Return the memory."""
        return self.memory.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory."""
        self.memory.load_state_dict(state)

"""What methods that keep patches of old tasks have in common."""

from typing import Any

from torch import Tensor

from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.patch_memory import PatchMemory


class RehearsalPlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """Stores patches of the tasks of each experience when it has been learned.

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

    def draw(self, strategy: Any) -> list[Tensor]:
        """Draw stored patches for a step: one batch of each thing that is stored."""
        return list(self.memory.draw(self._patches_per_step, strategy.device))

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Store patches of the tasks that were learned."""
        self.memory.fill(strategy.experience.dataset)

    def state_dict(self) -> dict[str, Any]:
        """Return the memory."""
        return self.memory.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory."""
        self.memory.load_state_dict(state)

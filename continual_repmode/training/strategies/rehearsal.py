"""What methods that keep patches of old tasks have in common."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from continual_repmode.checks import at_least, setting
from continual_repmode.errors import UserError
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.training.patch_memory import PatchMemory
from continual_repmode.training.strategies.naive import ProtectingConfig


@dataclass(kw_only=True, slots=True)
class MemoryConfig(ProtectingConfig):
    """Fine-tuning with stored patches; the base of such strategies."""

    #: Patches in memory, of all tasks together.
    patches: int = setting(120, at_least(1))
    #: Patches drawn from it for each step.
    patches_per_step: int = setting(8, at_least(1))

    def sizes(self) -> dict[str, int]:
        """Return the arguments of a :class:`RehearsalPlugin`."""
        return {
            "patches": self.patches,
            "patches_per_step": self.patches_per_step,
        }

    def check(self, net: TaskNetwork, num_tasks: int) -> None:
        """Refuse a memory of less than one patch per task as well."""
        ProtectingConfig.check(self, net, num_tasks)
        if self.patches < num_tasks:
            raise UserError(
                f"strategy.patches={self.patches}: fewer than the {num_tasks} tasks of "
                f"the scenario; use at least {num_tasks}"
            )


class RehearsalPlugin:
    """Stores patches of the tasks of each experience when it has been learned.

    ``patches``: patches in memory, of all tasks together.
    ``patches_per_step``: patches that are drawn for each step.
    """

    def __init__(self, *, patches: int = 120, patches_per_step: int = 8) -> None:
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

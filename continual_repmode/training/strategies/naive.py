"""Fine-tuning, which forgets; the base of what fine-tunes with something against it."""

from dataclasses import dataclass
from typing import Any, ClassVar

from continual_repmode.errors import UserError
from continual_repmode.models.methods.task_parts import FRESH
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.training.strategies.expert_options import ExpertsConfig
from continual_repmode.training.strategies.strategy_config import Tuning


@dataclass(kw_only=True, slots=True)
class NaiveConfig(ExpertsConfig):
    """Fine-tune everything on each new task: shows the forgetting to beat.

    A new task gets what its network gives a task (in a RepMode network an expert and a
    gate), but nothing is frozen. The change of the old tasks is recorded, not refused.
    With a network of one decoder per task it is the fine-tuning of the paper's Table 3.
    """

    label: ClassVar[str] = "all fine-tuned"
    tuning: ClassVar[Tuning | None] = Tuning(chosen="naive")

    #: How a part of its own starts, where the network gives a task one: fresh, or as a
    #: copy of that of an old task, given by name or closest. Which of these the paper's
    #: fine-tuned Multi-Head did is unknown; fresh is our adaptation.
    init: str = FRESH

    def check(self, net: TaskNetwork, num_tasks: int) -> None:
        """Refuse settings of what the network does not give a task."""
        plain = NaiveConfig()
        of_experts = ("expert", "private_bn", "expert_mix", "gate_rate", "outer_rate")
        for name in () if "expert" in net.task_options else of_experts:
            value = getattr(self, name)
            if value != getattr(plain, name):
                raise UserError(
                    f"strategy.{name}={value}: only model=repmode can add that to its "
                    f"blocks; leave strategy.{name} out"
                )
        if self.init != FRESH and "init" not in net.task_options:
            raise UserError(
                f"strategy.init={self.init}: this network has no part of a task to "
                "copy; leave strategy.init out"
            )

    def task_options(self, net: TaskNetwork) -> dict[str, Any]:
        """Return what the network can give a task; nothing is frozen."""
        wanted = {
            "expert": self.expert,
            "private_bn": self.private_bn,
            "expert_mix": self.expert_mix,
            "init": self.init,
            "freeze": False,
        }
        return {name: wanted[name] for name in wanted if name in net.task_options}


@dataclass(kw_only=True, slots=True)
class ProtectingConfig(NaiveConfig):
    """Fine-tuning that holds on to old tasks; the base of such strategies."""

    def check(self, net: TaskNetwork, num_tasks: int) -> None:
        """Refuse a network whose tasks share nothing as well."""
        if not net.shares_parameters:
            raise UserError(
                "its tasks share nothing, so there is nothing to protect; use "
                "strategy=individual"
            )
        NaiveConfig.check(self, net, num_tasks)

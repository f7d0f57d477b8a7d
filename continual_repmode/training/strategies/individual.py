"""One network per task ("Multi-Net, individual training" of the paper's Table 3)."""

from dataclasses import dataclass
from typing import ClassVar

from continual_repmode.errors import UserError
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.training.strategies.strategy_config import StrategyConfig


@dataclass(kw_only=True, slots=True)
class IndividualConfig(StrategyConfig):
    """Train one network per task; those of old tasks stay as they are."""

    label: ClassVar[str] = "individual training"
    freezes: ClassVar[bool] = True

    def check(self, net: TaskNetwork, num_tasks: int) -> None:
        """Refuse a network whose tasks share parameters."""
        if net.shares_parameters:
            raise UserError(
                f"the tasks of {type(net).__name__} share parameters; use a network "
                "per task (model=multinet or model=fnet), or strategy=naive"
            )

    def before_growth(self, net: TaskNetwork) -> None:
        """Leave the networks of old tasks alone."""
        net.requires_grad_(False)

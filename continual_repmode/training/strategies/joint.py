"""All tasks at once: what a stream is measured against."""

from dataclasses import dataclass, replace
from typing import ClassVar

from continual_repmode.scenario import Scenario
from continual_repmode.training.strategies.strategy_config import StrategyConfig


@dataclass(kw_only=True, slots=True)
class JointConfig(StrategyConfig):
    """Learn all tasks of the scenario at once: what a stream is measured against."""

    label: ClassVar[str] = "joint (all tasks at once)"

    def stream(self, scenario: Scenario) -> Scenario:
        """Make one experience of all tasks."""
        everything = [list(scenario.task_names)]
        return replace(scenario, experiences=everything, new_task=None)

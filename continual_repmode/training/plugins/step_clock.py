"""Times training steps, and ends the training when it has seen enough."""

import time
from typing import Any

from continual_repmode.measuring import synchronize
from continual_repmode.training.avalanche_api import SupervisedPlugin


class EnoughStepsError(Exception):
    """The steps that were asked for are done; the network is left half trained."""


class StepClock:
    """Time from before the first plugin's work on a step to after the last one's.

    Loading the batch is not counted; what a strategy computes besides the loss is.

    ``num_steps``: steps to time; the training is then ended by
        :class:`EnoughStepsError`.
    """

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        self.seconds: list[float] = []
        self.began = 0.0

    def watch(self, strategy: Any) -> None:
        """Put a plugin before and one after those that the strategy has."""
        strategy.plugins.insert(0, _BeforePlugin(self))
        strategy.plugins.append(_AfterPlugin(self))


class _BeforePlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    def __init__(self, clock: StepClock) -> None:
        super().__init__()
        self._clock = clock

    def before_training_iteration(self, strategy: Any, **_: Any) -> None:
        synchronize()
        self._clock.began = time.perf_counter()


class _AfterPlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    def __init__(self, clock: StepClock) -> None:
        super().__init__()
        self._clock = clock

    def after_training_iteration(self, strategy: Any, **_: Any) -> None:
        synchronize()
        clock = self._clock
        clock.seconds.append(time.perf_counter() - clock.began)
        if len(clock.seconds) == clock.num_steps:
            raise EnoughStepsError

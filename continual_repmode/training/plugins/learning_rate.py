"""Learning-rate schedule as a pure function of progress, so that it needs no state."""

import math
from typing import Any

from continual_repmode.training.avalanche_api import SupervisedPlugin


def one_cycle(progress: float, *, warm_up: float = 0.1, floor: float = 0.01) -> float:
    """Return the factor on the learning rate at ``progress`` of an experience.

    Rises linearly during ``warm_up``, then falls along half a cosine to ``floor``.

    ``progress``: share of the experience's steps that are done, 0 to 1.
    ``warm_up``: share of the steps in which the rate rises.
    ``floor``: the factor at both ends.

    Examples
    --------
    >>> [round(one_cycle(p), 2) for p in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.01, 0.5, 1.0, 0.5, 0.01]
    """
    if progress < warm_up:
        return floor + (1 - floor) * progress / warm_up
    fall = (progress - warm_up) / (1 - warm_up)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * fall))


class OneCyclePlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """Follow :func:`one_cycle` in each experience, from the optimizer's rates.

    Each group of parameters has a peak of its own: the rate that it had when the plugin
    first saw it, at the start of an experience. Groups keep their places.

    For short training; the paper keeps the rate constant (no plugin).
    """

    def __init__(self) -> None:
        super().__init__()
        self._peaks: list[float] = []

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        """Take the rates of the optimizer's groups as their peaks, each once."""
        new = strategy.optimizer.param_groups[len(self._peaks) :]
        self._peaks += [group["lr"] for group in new]

    def before_training_iteration(self, strategy: Any, **_: Any) -> None:
        """Set the rate of this step."""
        clock, steps = strategy.clock, len(strategy.dataloader)
        done = clock.train_exp_epochs * steps + clock.train_epoch_iterations
        factor = one_cycle(done / (strategy.train_epochs * steps))
        groups = strategy.optimizer.param_groups
        for group, peak in zip(groups, self._peaks, strict=True):
            group["lr"] = peak * factor

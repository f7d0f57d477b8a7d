"""Adapters: freeze plain convolutions, adapt them to each new task."""

from dataclasses import dataclass
from typing import Any, ClassVar

from continual_repmode.checks import ABOVE_0, setting
from continual_repmode.errors import UserError
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.training.strategies.strategy_config import (
    CLOSEST,
    StrategyConfig,
)


@dataclass(kw_only=True, slots=True)
class AdapterConfig(StrategyConfig):
    """Learn base tasks jointly, then adapt frozen plain convolutions to each new one.

    What RepMode is to be measured against. The first experience trains the network as
    it is. Every later one freezes it and gives each new task adapters, batch
    normalization and a last convolution of its own, next to the convolutions of a known
    task; see :class:`~continual_repmode.models.methods.adaptable.AdaptableNetwork`.
    """

    label: ClassVar[str] = "adapters"
    freezes: ClassVar[bool] = True

    #: What each convolution gains: low_rank<R> (R channels), residual, grouped, or
    #: none: normalization and the last convolution only.
    adapter: str = "low_rank4"
    #: The known task that a new one starts from: closest, or given by name; with
    #: model=multihead_las also fresh, then its last convolution starts at random.
    init: str = CLOSEST
    #: Factor of the learning rate for the outer factors of low-rank adapters.
    outer_rate: float = setting(1.0, ABOVE_0)

    def check(self, net: TaskNetwork, num_tasks: int) -> None:
        """Refuse a network that takes no adapters."""
        if "adapter" not in net.task_options:
            raise UserError(
                "adapters are for plain networks whose tasks have parts; use "
                "model=multihead_las, model=multihead_dec, model=multinet or model=fnet"
            )

    def before_growth(self, net: TaskNetwork) -> None:
        """Freeze what is known."""
        net.freeze()

    def task_options(self, net: TaskNetwork) -> dict[str, Any]:
        """Return kind and start of the adapters."""
        return {"adapter": self.adapter, "init": self.init}

    def rate_factors(self) -> dict[str, float]:
        """Return the factor for low-rank adapters."""
        return {"outer": self.outer_rate}

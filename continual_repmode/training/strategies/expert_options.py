"""What a new task gets in a RepMode network, whatever the strategy."""

from dataclasses import dataclass

from continual_repmode.checks import ABOVE_0, one_of, setting
from continual_repmode.training.strategies.strategy_config import StrategyConfig


@dataclass(kw_only=True, slots=True)
class ExpertsConfig(StrategyConfig):
    """The base of strategies that add experts and gates."""

    #: With model=repmode: the new expert of each block (conv3 in the paper;
    #: conv3_rank2 is far smaller), or null for a gate only.
    expert: str | None = "conv3"
    #: With model=repmode: give a new task batch-normalization layers of its own, so
    #: that its images do not move the running statistics that old tasks rely on.
    private_bn: bool = False
    #: With model=repmode: softmax, the new expert competes with the others (paper), or
    #: additive, it is added to what the others make.
    expert_mix: str = setting("softmax", one_of("softmax", "additive"))
    #: With model=repmode: factor of the learning rate for gates.
    gate_rate: float = setting(1.0, ABOVE_0)
    #: Factor of the learning rate for the outer factors of low-rank experts.
    outer_rate: float = setting(1.0, ABOVE_0)

    def rate_factors(self) -> dict[str, float]:
        """Return the factors for gates and for low-rank experts."""
        return {"gates": self.gate_rate, "outer": self.outer_rate}

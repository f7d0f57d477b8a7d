"""RepMode: freeze what is known, add experts and gates (paper, Sec. 4.4, Fig. 8)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from continual_repmode.errors import UserError
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.training.strategies.expert_options import ExpertsConfig
from continual_repmode.training.strategies.strategy_config import Tuning


@dataclass(kw_only=True, slots=True)
class RepModeConfig(ExpertsConfig):
    """Learn base tasks jointly, then add tasks without touching what is there.

    The first experience trains shared experts, gates and everything else. Every later
    one freezes the network and adds to each MoDE block one expert and one gate for the
    new task. After each experience the gating weights are stored.
    """

    label: ClassVar[str] = "RepMode, experts frozen"
    tuning: ClassVar[Tuning | None] = Tuning(
        chosen="repmode_own", preset="repmode_paper"
    )
    freezes: ClassVar[bool] = True

    #: Let a new task use the experts that earlier extensions added.
    use_extensions: bool = False
    #: How its gate and normalization start: mean of the old ones, uniform (the gate
    #: alone), the name of an old task, or closest (the old task that predicts the new
    #: data best).
    gate_init: str = "mean"
    #: How its expert starts: random, or zero (adding nothing).
    expert_init: str = "random"

    def preset(self, option: str) -> str:
        """Tell the paper's preset apart by how a new expert is mixed."""
        return f"{option}_paper" if self.expert_mix == "softmax" else option

    def check(self, net: TaskNetwork, num_tasks: int) -> None:
        """Refuse a network without experts and gates of tasks."""
        if "gate_init" not in net.task_options:
            raise UserError(
                "there are no experts and gates to add; use model=repmode, or "
                "strategy=naive"
            )

    def before_growth(self, net: TaskNetwork) -> None:
        """Freeze what is known."""
        net.freeze()

    def task_options(self, net: TaskNetwork) -> dict[str, Any]:
        """Return what each block gains; tasks that arrive together share nothing new.

        They are all learned, so adding one must not freeze the others.
        """
        return {
            "expert": self.expert,
            "private_bn": self.private_bn,
            "use_extensions": net.extended_tasks if self.use_extensions else (),
            "gate_init": self.gate_init,
            "expert_init": self.expert_init,
            "expert_mix": self.expert_mix,
            "freeze": False,
        }

    def plugins(self) -> list[object]:
        """Make the plugin that stores the gates."""
        return [StoredGatesPlugin()]


class StoredGatesPlugin:
    """Freeze the network after each experience, its gating weights in buffers.

    From then on every known task uses its stored weights, so that nothing learned later
    can change them (paper, Sec. 4.4).
    """

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Freeze what has been learned."""
        strategy.net.freeze()

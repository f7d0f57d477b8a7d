"""Elastic weight consolidation, by Avalanche."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from continual_repmode.checks import at_least, setting
from continual_repmode.training.strategies.naive import ProtectingConfig
from continual_repmode.training.strategies.strategy_config import Tuning

if TYPE_CHECKING:
    from continual_repmode.training.avalanche_api import ParamData


@dataclass(kw_only=True, slots=True)
class EWCConfig(ProtectingConfig):
    """Hold weights that the loss of old tasks is sensitive to."""

    label: ClassVar[str] = "EWC"
    tuning: ClassVar[Tuning | None] = Tuning(
        chosen="ewc_2_own", settings=("strength",), values=(100.0, 1000.0, 10_000.0)
    )

    #: Weight of the penalty.
    strength: float = setting(1000.0, at_least(0))

    def plugins(self) -> list[object]:
        """Make the plugin."""
        return [EWCPlugin(strength=self.strength)]


class EWCPlugin:
    """Avalanche's EWC, with a state that can be saved.

    Kirkpatrick et al., PNAS 2017. The loss gains ``strength * sum_e sum_k F_ek
    (w_k - w*_ek)^2`` over the learned experiences ``e``: ``w*`` are the weights they
    ended with and ``F`` the mean over batches of the squared gradient of the loss (of a
    batch, not of a sample, as Avalanche has it), in evaluation mode, in one more pass
    over their training data. That loss is of the prediction alone, without side
    predictions (PIPO-FAN).

    Each experience keeps a penalty of its own, which costs two copies of the network.
    Avalanche's single penalty (``mode="online"``) fails with networks that add
    parameters in their middle.
    """

    def __init__(self, *, strength: float) -> None:
        from continual_repmode.training.avalanche_api import EWCPlugin as AvalancheEWC

        self.ewc = AvalancheEWC(strength, mode="separate")

    def before_backward(self, strategy: Any, **_: Any) -> None:
        """Add the penalty."""
        self.ewc.before_backward(strategy)

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Measure the importances on the training data of the experience."""
        self.ewc.after_training_exp(strategy)

    def state_dict(self) -> dict[str, Any]:
        """Return importances and weights: experience -> parameter -> tensor."""
        return {
            "importances": _plain(self.ewc.importances),
            "saved_params": _plain(self.ewc.saved_params),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what :meth:`state_dict` returned."""
        self.ewc.importances.update(_wrapped(state["importances"]))
        self.ewc.saved_params.update(_wrapped(state["saved_params"]))


def _plain(found: "dict[int, dict[str, ParamData]]") -> dict[int, dict[str, Tensor]]:
    return {
        experience: {name: value.data for name, value in values.items()}
        for experience, values in found.items()
    }


def _wrapped(found: dict[int, dict[str, Tensor]]) -> "dict[int, dict[str, ParamData]]":
    from continual_repmode.training.avalanche_api import ParamData

    return {
        experience: {
            name: ParamData(name, init_tensor=value, device=value.device)
            for name, value in values.items()
        }
        for experience, values in found.items()
    }

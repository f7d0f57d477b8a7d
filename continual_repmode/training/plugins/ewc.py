"""Elastic weight consolidation, by Avalanche."""

from typing import Any

from torch import Tensor

from continual_repmode.training.avalanche_api import EWCPlugin as AvalancheEWCPlugin
from continual_repmode.training.avalanche_api import ParamData


class EWCPlugin(AvalancheEWCPlugin):  # type: ignore[misc] # Avalanche is untyped
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

    Parameters
    ----------
    strength : float
        Weight of the penalty.
    """

    def __init__(self, *, strength: float) -> None:
        super().__init__(strength, mode="separate")

    def state_dict(self) -> dict[str, Any]:
        """Return importances and weights: experience -> parameter -> tensor."""
        return {
            "importances": _plain(self.importances),
            "saved_params": _plain(self.saved_params),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what :meth:`state_dict` returned."""
        self.importances.update(_wrapped(state["importances"]))
        self.saved_params.update(_wrapped(state["saved_params"]))


def _plain(found: dict[int, dict[str, ParamData]]) -> dict[int, dict[str, Tensor]]:
    return {
        experience: {name: value.data for name, value in values.items()}
        for experience, values in found.items()
    }


def _wrapped(found: dict[int, dict[str, Tensor]]) -> dict[int, dict[str, ParamData]]:
    return {
        experience: {
            name: ParamData(name, init_tensor=value, device=value.device)
            for name, value in values.items()
        }
        for experience, values in found.items()
    }

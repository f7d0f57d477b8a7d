"""How much each weight matters to the tasks so far: shared by MAS and SI."""

from typing import Any

import torch
from torch import Tensor, nn


class WeightImportance:
    """Importances of the weights, and the weights to hold them to.

    Weights that are new, or whose shape a new task has changed, are not held.
    """

    def __init__(self) -> None:
        self.importance: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}

    def add(self, net: nn.Module, importance: dict[str, Tensor]) -> None:
        """Add to the importances, and hold to the weights as they are now."""
        self.anchor = {name: p.detach().clone() for name, p in net.named_parameters()}
        kept = self._fitting(importance)
        self.importance = {
            name: value + kept[name] if name in kept else value
            for name, value in importance.items()
        }

    def penalty(self, net: nn.Module) -> Tensor:
        """Return ``sum_k importance_k (w_k - anchor_k)^2``, a scalar."""
        parameters = dict(net.named_parameters())
        total = torch.zeros((), device=next(iter(parameters.values())).device)
        for name, importance in self._fitting(parameters).items():
            moved = parameters[name] - self.anchor[name]
            total = total + (importance * moved**2).sum()
        return total

    def penalty_gradients(self, net: nn.Module) -> dict[str, Tensor]:
        """Return the gradient of :meth:`penalty` by parameter name."""
        parameters = dict(net.named_parameters())
        return {
            name: 2 * importance * (parameters[name].detach() - self.anchor[name])
            for name, importance in self._fitting(parameters).items()
        }

    def _fitting(self, tensors: dict[str, Any]) -> dict[str, Tensor]:
        return {
            name: value
            for name, value in self.importance.items()
            if name in tensors and tensors[name].shape == value.shape
        }


class HoldingPlugin:
    """Adds a penalty for moving weights that matter; the base of MAS and SI."""

    def __init__(self, *, strength: float) -> None:
        self._strength = strength
        self.weights = WeightImportance()

    def before_backward(self, strategy: Any, **_: Any) -> None:
        """Add the penalty."""
        strategy.loss = strategy.loss + self._strength * self.weights.penalty(
            strategy.net
        )

    def state_dict(self) -> dict[str, Any]:
        """Return importances and weights."""
        return {"importance": self.weights.importance, "anchor": self.weights.anchor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what :meth:`state_dict` returned."""
        self.weights.importance = state["importance"]
        self.weights.anchor = state["anchor"]

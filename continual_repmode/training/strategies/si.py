"""Holds weights that lowered the loss of old tasks on their way."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from continual_repmode.checks import ABOVE_0, at_least, setting
from continual_repmode.training.strategies.importance import HoldingPlugin
from continual_repmode.training.strategies.naive import ProtectingConfig
from continual_repmode.training.strategies.strategy_config import Tuning


@dataclass(kw_only=True, slots=True)
class SIConfig(ProtectingConfig):
    """Hold weights that lowered the loss of old tasks on their way."""

    label: ClassVar[str] = "SI"
    tuning: ClassVar[Tuning | None] = Tuning(
        chosen="si_2_own", settings=("strength",), values=(1.0, 10.0, 100.0)
    )
    learns_first: ClassVar[bool] = True

    #: Weight of the penalty.
    strength: float = setting(10.0, at_least(0))
    #: Keeps the importance of weights that hardly moved finite.
    damping: float = setting(0.001, ABOVE_0)

    def plugins(self) -> list[object]:
        """Make the plugin."""
        return [SIPlugin(strength=self.strength, damping=self.damping)]


class SIPlugin(HoldingPlugin):
    """Synaptic intelligence.

    Zenke et al., ICML 2017, Eq. 4 and 5. The loss gains ``strength * sum_k O_k
    (w_k - w*_k)^2``. While an experience is learned, ``-gradient * step`` adds up to
    the share of each weight in lowering the loss; divided by its squared way plus
    ``damping``, and if positive, it is added to ``O``. The gradient is that of the task
    alone, without the penalty.

    Our adaptation: the way is measured to the last step, while ``w*`` are the weights
    that were kept by validation. In Avalanche 0.6 the plugin has no effect on a CPU,
    because its stored weights are the live ones; hence this one. It measures while the
    network learns, so it knows nothing of tasks that were learned elsewhere.

    ``damping``: keeps the importance of weights that hardly moved finite (xi in the
        paper).
    """

    def __init__(self, *, strength: float, damping: float = 1e-3) -> None:
        super().__init__(strength=strength)
        self._damping = damping
        self._start: dict[str, Tensor] = {}
        self._share: dict[str, Tensor] = {}
        self._gradients: dict[str, Tensor] = {}
        self._last: dict[str, Tensor] = {}

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        """Note where the weights start."""
        self._last = _values(strategy.net)
        if not self._start:  # otherwise an interrupted experience resumes
            self._start = dict(self._last)
            self._share = {n: torch.zeros_like(p) for n, p in self._last.items()}

    def after_backward(self, strategy: Any, **_: Any) -> None:
        """Take the gradient of the task, and the weights before the step."""
        of_penalty = self.weights.penalty_gradients(strategy.net)
        self._gradients = {
            name: p.grad - self._strength * of_penalty.get(name, torch.zeros(()).to(p))
            for name, p in strategy.net.named_parameters()
            if p.grad is not None
        }

    def after_update(self, strategy: Any, **_: Any) -> None:
        """Add up what the step of each weight did to the loss."""
        now = _values(strategy.net)
        for name, gradient in self._gradients.items():
            moved = now[name] - self._last[name]
            still = moved == 0  # perhaps since the gradient overflowed in float16
            self._share[name] -= torch.where(still, moved, gradient * moved)
        self._last = now

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Turn the sums into importances."""
        importance = {
            name: share.clamp_min(0)
            / ((self._last[name] - self._start[name]) ** 2 + self._damping)
            for name, share in self._share.items()
        }
        self.weights.add(strategy.net, importance)
        self._start, self._share = {}, {}
        self._last, self._gradients = {}, {}

    def progress_dict(self) -> dict[str, Any]:
        """Return the sums so far, and where the experience started."""
        return {"start": self._start, "share": self._share}

    def load_progress_dict(self, progress: dict[str, Any]) -> None:
        """Go back to what :meth:`progress_dict` returned."""
        self._start, self._share = progress["start"], progress["share"]


def _values(net: Any) -> dict[str, Tensor]:
    return {
        name: p.detach().clone()
        for name, p in net.named_parameters()
        if p.requires_grad
    }

"""Holds weights that the predictions of old tasks are sensitive to."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from continual_repmode.checks import at_least, setting
from continual_repmode.training.strategies.importance import HoldingPlugin
from continual_repmode.training.strategies.naive import ProtectingConfig
from continual_repmode.training.strategies.strategy_config import Tuning


@dataclass(kw_only=True, slots=True)
class MASConfig(ProtectingConfig):
    """Hold weights that the predictions of old tasks are sensitive to."""

    label: ClassVar[str] = "MAS"
    tuning: ClassVar[Tuning | None] = Tuning(
        chosen="mas_3_own", settings=("strength",), values=(1.0, 10.0, 100.0, 1000.0)
    )

    #: Weight of the penalty.
    strength: float = setting(100.0, at_least(0))

    def plugins(self) -> list[object]:
        """Make the plugin."""
        return [MASPlugin(strength=self.strength)]


class MASPlugin(HoldingPlugin):
    """Memory-aware synapses.

    Aljundi et al., ECCV 2018. The loss gains ``strength * sum_k M_k (w_k - w*_k)^2``,
    where ``M`` sums over the experiences the mean over samples of the magnitude of the
    gradient of the squared output, and ``w*`` are the weights after the last one.

    Our adaptation: the squared output is averaged over voxels, so that the size of a
    patch does not matter. Avalanche's plugin measures in training mode, which moves the
    running statistics of batch normalization after the weights were chosen; this one
    measures in evaluation mode, sample by sample.
    """

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Measure the importances on the training data of the experience."""
        strategy.model.eval()
        self.weights.add(strategy.net, _sensitivity(strategy))
        strategy.model.train()


def _sensitivity(strategy: Any) -> dict[str, Tensor]:
    """Return the mean over samples of ``|d mean(output^2) / d w|`` for each weight."""
    parameters = {n: p for n, p in strategy.net.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    dataset = strategy.experience.dataset
    for index in range(len(dataset)):
        signal, _, label = dataset[index]
        output = strategy.model(signal[None].to(strategy.device), int(label))
        gradients = torch.autograd.grad(
            output.square().mean(), list(parameters.values()), allow_unused=True
        )
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient.abs() / len(dataset)
    return total

"""Gradient episodic memory, by Avalanche."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from continual_repmode.checks import at_least, setting
from continual_repmode.training.strategies.naive import ProtectingConfig
from continual_repmode.training.strategies.strategy_config import Tuning


@dataclass(kw_only=True, slots=True)
class GEMConfig(ProtectingConfig):
    """Take no step that raises the loss over the stored patches of an experience."""

    label: ClassVar[str] = "GEM"
    tuning: ClassVar[Tuning | None] = Tuning(chosen="gem_own")

    #: At most so many patches in memory of each experience (one of an image, not
    #: balanced by task); every step passes over all of them.
    patches: int = setting(16, at_least(1))
    #: Offset of the projection in favor of the old experiences.
    margin: float = setting(0.5, at_least(0))

    def plugins(self) -> list[object]:
        """Make the plugin."""
        return [GEMPlugin(patches=self.patches, margin=self.margin)]


class GEMPlugin:
    """Avalanche's GEM, with a state that can be saved.

    Lopez-Paz and Ranzato, NeurIPS 2017. Where the gradient of a step would raise the
    loss over the patches in memory of an earlier experience, it is projected to the
    nearest one that raises none; a margin above 0 turns it further, in favor of the
    old experiences. There is one constraint per experience, so tasks that
    were learned jointly share one. Here the projection also moves weights that only the
    memory uses, such as the heads of old tasks; Avalanche leaves these out, and then
    the step can raise the loss after all.

    The memory is the first pass over the data of an experience: one patch of an image,
    not balanced by task, and fewer patches where there are fewer images. Its loss is
    that of the prediction alone, without side predictions (PIPO-FAN).

    ``patches``: at most so many in memory of each experience; every step passes over
        all of them.
    ``margin``: offset of the projection in favor of the old experiences (gamma in the
        paper).
    """

    def __init__(self, *, patches: int = 16, margin: float = 0.5) -> None:
        from continual_repmode.training.avalanche_api import GEMPlugin as AvalancheGEM

        self.gem = AvalancheGEM(patches, margin)

    def before_training_iteration(self, strategy: Any, **_: Any) -> None:
        """Take the gradients over the patches of each earlier experience."""
        self.gem.before_training_iteration(strategy)

    def after_backward(self, strategy: Any, **_: Any) -> None:
        """Project the gradient, those of weights that the batch does not use too."""
        if strategy.clock.train_exp_counter > 0:
            for parameter in strategy.model.parameters():
                if parameter.requires_grad and parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
        self.gem.after_backward(strategy)

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Store patches of the experience that was learned."""
        self.gem.after_training_exp(strategy)

    def state_dict(self) -> dict[str, Any]:
        """Return the memory: experience -> tensor, for signals, targets and labels."""
        return {
            "signals": dict(self.gem.memory_x),
            "targets": dict(self.gem.memory_y),
            "labels": dict(self.gem.memory_tid),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what :meth:`state_dict` returned."""
        self.gem.memory_x = dict(state["signals"])
        self.gem.memory_y = dict(state["targets"])
        self.gem.memory_tid = dict(state["labels"])

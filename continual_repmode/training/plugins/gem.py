"""Gradient episodic memory, by Avalanche."""

from typing import Any

import torch

from continual_repmode.training.avalanche_api import GEMPlugin as AvalancheGEMPlugin


class GEMPlugin(AvalancheGEMPlugin):  # type: ignore[misc] # Avalanche is untyped
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

    Parameters
    ----------
    patches : int
        At most so many in memory of each experience; every step passes over all of
        them.
    margin : float
        Offset of the projection in favor of the old experiences (gamma in the paper).
    """

    def __init__(self, *, patches: int = 16, margin: float = 0.5) -> None:
        super().__init__(patches, margin)

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Project the gradient, those of weights that the batch does not use too."""
        if strategy.clock.train_exp_counter > 0:
            for parameter in strategy.model.parameters():
                if parameter.requires_grad and parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
        super().after_backward(strategy, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """Return the memory: experience -> tensor, for signals, targets and labels."""
        return {
            "signals": dict(self.memory_x),
            "targets": dict(self.memory_y),
            "labels": dict(self.memory_tid),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what :meth:`state_dict` returned."""
        self.memory_x = dict(state["signals"])
        self.memory_y = dict(state["targets"])
        self.memory_tid = dict(state["labels"])

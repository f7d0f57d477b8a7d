"""Stops a run at the first non-finite loss or gradient."""

from operator import itemgetter
from typing import Any

import torch

from continual_repmode import distributed
from continual_repmode.errors import UserError
from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.context import context_of, task_names_of


class NonFiniteError(UserError):
    """Training produced a loss or gradient that is not a number or infinite."""


class FiniteGuardPlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """Raise before a bad step reaches the weights, naming its images and tasks."""

    def after_backward(self, strategy: Any, **_: Any) -> None:
        """Check the loss and the norm of all gradients.

        A gradient that overflows because the loss was scaled is no fault: the step is
        left out.

        Raises NonFiniteError if one of them is not finite.
        """
        gradients = [p.grad for p in strategy.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        scaled = strategy.scaler.is_enabled() and strategy.scaler.get_scale() > 1
        checked = strategy.loss.detach() if scaled else norm + strategy.loss.detach()
        if not torch.isfinite(checked):
            bad = _bad_samples(strategy)
            told = distributed.gathered((bool(bad), _describe(strategy, bad)))
            raise NonFiniteError(max(told, key=itemgetter(0))[1])


def _describe(strategy: Any, bad: list[int]) -> str:
    """Say where it happened, as closely as it can be told."""
    images, labels = strategy.batch_images(), strategy.mb_task_id.tolist()
    suspects = bad or range(len(labels))
    names = context_of(strategy.experience).stream_tasks
    tasks = sorted({names[labels[i]] for i in suspects})
    bad_loss = not torch.isfinite(strategy.loss.detach())
    clock = strategy.clock
    return (
        f"the {'loss' if bad_loss else 'gradient'} became non-finite in experience "
        f"{strategy.experience.current_experience} "
        f"({', '.join(task_names_of(strategy.experience))}), epoch "
        f"{clock.train_exp_epochs + 1}, step {clock.train_epoch_iterations + 1}; "
        f"task {', '.join(tasks)}; image "
        f"{', '.join(images[i] for i in suspects if i < len(images))}"
    )


def _bad_samples(strategy: Any) -> list[int]:
    """Return the samples with a bad input, else with a bad output."""
    target = strategy.mb_y.masked_fill(strategy.mb_y.isnan(), 0)  # not recorded
    batch = (strategy.mb_x + target, strategy.mb_output.detach())
    for values in batch:
        bad = ~torch.isfinite(values.flatten(1)).all(dim=1)
        if bad.any():
            found: list[int] = bad.nonzero().flatten().tolist()
            return found
    return []

"""Wraps a plain task-conditioned network for Avalanche, and lets it grow."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models import TaskNetwork
from continual_repmode.training._avalanche import CLExperience, MultiTaskModule
from continual_repmode.training.streams import context_of, task_names_of

Grow = Callable[[TaskNetwork, str, CLExperience], None]
"""Adds one new task, by name, to a network that is about to learn ``experience``."""


class TaskModule(MultiTaskModule):  # type: ignore[misc] # Avalanche is untyped
    """Shows a network to Avalanche as a multi-task module.

    Avalanche passes task labels to a :class:`MultiTaskModule` only, and lets it grow in
    ``adaptation``. Its own ``adaptation`` and ``forward`` are made for class scores,
    so both are overridden.

    Parameters
    ----------
    net : TaskNetwork
    grow : Grow
        Called for every task of a training experience that the network does not know.
    precision : {"float32", "bfloat16"}
        Of the network's arithmetic. Applied here and not in the strategy because some
        of Avalanche's plugins call the model themselves.
    """

    def __init__(
        self, net: TaskNetwork, grow: Grow, *, precision: str = "float32"
    ) -> None:
        super().__init__()
        self.net = net
        self._grow = grow
        self._precision = precision

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context in which the network computes on ``device``."""
        return torch.autocast(
            device.type, torch.bfloat16, enabled=self._precision == "bfloat16"
        )

    def forward(self, x: Tensor, task_labels: Tensor | int) -> Tensor:
        """Predict (B, 1, Z, Y, X) from a signal of that shape and (B,) task labels."""
        return self.predict(x, task_labels)[0]

    def predict(
        self, x: Tensor, task_labels: Tensor | int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the prediction and the side predictions, all of the same shape.

        The network is left without side predictions, so that it holds no graph.
        """
        with self.autocast(x.device):
            output: Tensor = self.net(x, task_labels)
        sides = tuple(side.float() for side in self.net.side_predictions)
        self.net.side_predictions = ()
        return output.float(), sides

    def adaptation(self, experience: CLExperience) -> None:
        """Add the experience's unknown tasks; only in training.

        Raises
        ------
        UserError
            If the network's labels would not be those of the stream.
        """
        if not self.training:
            return
        stream_names = context_of(experience).stream_tasks
        for name in task_names_of(experience):
            if name not in self.net.task_names:
                self._grow(self.net, name, experience)
            _check_label(self.net.task_names.index(name), name, stream_names)
        self.known_train_tasks_labels.update(experience.task_labels)


def _check_label(label: int, name: str, stream_names: tuple[str, ...]) -> None:
    expected = stream_names.index(name)
    if label != expected:
        raise UserError(
            f"task {name!r} has label {label} in the network but {expected} in the "
            "stream: create the network with task_names=benchmark.base_tasks, and "
            "train the experiences in the stream's order"
        )


@torch.no_grad()
def closest_task(net: TaskNetwork, experience: CLExperience) -> str:
    """Return the known task whose prediction fits the new training data best.

    Each known task's network predicts one training patch of every image; the task
    with the lowest mean squared error wins. A start for the gate of a new task; our
    own proposal, not part of the paper.
    """
    device = next(net.parameters()).device
    was_training = net.training
    net.eval()
    patches = [experience.dataset[i] for i in range(len(experience.dataset))]
    errors = {}
    for label, name in enumerate(net.task_names):
        total = 0.0
        for signal, target, *_ in patches:
            predicted = net(signal[None].to(device), label)
            total += nn.functional.mse_loss(predicted, target[None].to(device)).item()
        errors[name] = total / len(patches)
    net.train(was_training)
    return min(errors, key=errors.__getitem__)

"""Wraps a plain task-conditioned network for Avalanche, and lets it grow."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from continual_repmode import distributed
from continual_repmode.errors import UserError, one_line
from continual_repmode.inference.projection import Projection, projected_like
from continual_repmode.models import TaskNetwork
from continual_repmode.runtime import PRECISIONS
from continual_repmode.training.avalanche_api import CLExperience, MultiTaskModule
from continual_repmode.training.context import context_of, task_names_of
from continual_repmode.training.strategies.strategy_config import (
    CLOSEST,
    StrategyConfig,
)

_log = logging.getLogger(__name__)


class TaskModule(MultiTaskModule):  # type: ignore[misc] # Avalanche is untyped
    """Shows a network to Avalanche as a multi-task module.

    Avalanche passes task labels to a :class:`MultiTaskModule` only, and lets it grow in
    ``adaptation``. Its own ``adaptation`` and ``forward`` are made for class scores,
    so both are overridden.

    ``method``: what the network is given when it meets tasks that it does not know.
    ``precision``: "float32" or "bfloat16" or "float16"; of the network's arithmetic.
        Applied here and not in the strategy because some of Avalanche's plugins call
        the model themselves.
    ``compiled``: let PyTorch compile the network for training: once for every mixture
        of tasks in a batch, up to its limit. Where that fails, it is told once, and the
        network goes on as it is.
    """

    def __init__(
        self,
        net: TaskNetwork,
        method: StrategyConfig,
        *,
        precision: str = "float32",
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.net = net
        self._method = method
        self._dtype = PRECISIONS[precision]
        self._compiled = torch.compile(net.forward) if compiled else None
        #: Task label -> how its predictions are projected before the loss.
        self.projections: dict[int, Projection] = {}

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context in which the network computes on ``device``."""
        reduced = self._dtype != torch.float32
        return torch.autocast(
            device.type, self._dtype if reduced else None, enabled=reduced
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
            output = self._run(x, task_labels)
        sides = tuple(side.float() for side in self.net.side_predictions)
        self.net.side_predictions = ()
        projected = [
            self._projected(each, task_labels) for each in (output.float(), *sides)
        ]
        return projected[0], tuple(projected[1:])

    def _projected(self, stacks: Tensor, task_labels: Tensor | int) -> Tensor:
        """Project what is compared with projections; in every plane, the same."""
        if not self.projections or not len(stacks):
            return stacks
        labels = torch.as_tensor(task_labels).expand(len(stacks)).tolist()
        kinds = [self.projections.get(label) for label in labels]
        if not any(kinds):
            return stacks
        return torch.cat(
            [
                one if kind is None else projected_like(one, kind)
                for one, kind in zip(torch.split(stacks, 1), kinds, strict=True)
            ]
        )

    def _run(self, x: Tensor, task_labels: Tensor | int) -> Tensor:
        if self._compiled is not None and self.training:
            from torch._dynamo.exc import TorchDynamoException

            try:
                compiled: Tensor = self._compiled(x, task_labels)
                return compiled
            except TorchDynamoException as error:
                self._compiled = None
                _log.warning(
                    "train.compile=true: the network cannot be compiled here (%s); "
                    "training continues without",
                    one_line(str(error).strip().partition("\n")[0])[:200],
                )
        output: Tensor = self.net(x, task_labels)
        return output

    def adaptation(self, experience: CLExperience) -> None:
        """Add the experience's unknown tasks; only in training.

        Raises UserError if the network's labels would not be those of the stream.
        """
        self.projections |= context_of(experience).projections
        if not self.training:
            return
        stream_names = context_of(experience).stream_tasks
        names = task_names_of(experience)
        new = [name for name in names if name not in self.net.task_names]
        if new:
            self._add_tasks(new, experience)
        distributed.copy_from_first(self.net)
        for name in names:
            _check_label(self.net.task_names.index(name), name, stream_names)
        self.known_train_tasks_labels.update(experience.task_labels)

    def _add_tasks(self, names: Sequence[str], experience: CLExperience) -> None:
        known = self.net.task_names
        self._method.before_growth(self.net)
        options = self._method.task_options(self.net)
        for name in names:
            found = {
                option: distributed.of_first(
                    closest_task(self.net, known, name, experience)
                )
                if value == CLOSEST
                else value
                for option, value in options.items()
            }
            self.net.add_task(name, **found)


def _check_label(label: int, name: str, stream_names: tuple[str, ...]) -> None:
    expected = stream_names.index(name)
    if label != expected:
        raise UserError(
            f"task {name!r} has label {label} in the network but {expected} in the "
            "stream: create the network with task_names=benchmark.base_tasks, and "
            "train the experiences in the stream's order"
        )


@torch.no_grad()
def closest_task(
    net: TaskNetwork, known: Sequence[str], new: str, experience: CLExperience
) -> str:
    """Return the known task whose prediction fits a new one's training data best.

    Each of ``known`` predicts one training patch of every image of ``new``. The task
    with the lowest mean squared error wins, after the best scale, not below 0, and
    offset: without these the flattest prediction would win, not the most related one. A
    start for what the new task gets; our own proposal, not part of the paper.
    """
    device = next(net.parameters()).device
    was_training = net.training
    net.eval()
    stream_label = context_of(experience).stream_tasks.index(new)
    samples = (experience.dataset[i] for i in range(len(experience.dataset)))
    patches = [
        (signal[None].to(device), target[None].to(device))
        for signal, target, label, *_ in samples
        if int(label) == stream_label
    ]
    errors = {}
    for name in known:
        label = net.task_label(name)
        predicted = torch.cat([net(signal, label) for signal, _ in patches])
        errors[name] = _error_after_fit(predicted, torch.cat([t for _, t in patches]))
    net.train(was_training)
    return min(errors, key=errors.__getitem__)


def _error_after_fit(predicted: Tensor, target: Tensor) -> float:
    """Return the mean squared error of the best ``scale * predicted + offset``."""
    x = predicted.double() - predicted.double().mean()
    y = target.double() - target.double().mean()
    power = float(x.square().sum())
    scale = max(0.0, float((x * y).sum()) / power) if power > 0 else 0.0
    return float((y - scale * x).square().mean())

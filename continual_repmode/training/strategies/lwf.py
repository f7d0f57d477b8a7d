"""Holds the network to what it predicted for old tasks, without old data."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from continual_repmode import distributed
from continual_repmode.checks import at_least, setting
from continual_repmode.models import TaskNetwork
from continual_repmode.training.context import task_names_of
from continual_repmode.training.strategies.naive import ProtectingConfig
from continual_repmode.training.strategies.strategy_config import Tuning


@dataclass(kw_only=True, slots=True)
class LwFConfig(ProtectingConfig):
    """Stay close to what the old network predicts for the new signals."""

    label: ClassVar[str] = "LwF"
    tuning: ClassVar[Tuning | None] = Tuning(
        chosen="lwf_2_own", settings=("strength",), values=(0.1, 1.0, 10.0)
    )

    #: Weight of the distance.
    strength: float = setting(1.0, at_least(0))

    def plugins(self) -> list[object]:
        """Make the plugin."""
        return [LwFPlugin(strength=self.strength)]


class LwFPlugin:
    """Learning without forgetting, as output distillation for regression.

    Li and Hoiem, ECCV 2016. The loss gains ``strength * MSE(network, old network)`` for
    the signals of the new task, both asked to predict an old task.

    Our adaptation: images are compared instead of softened class scores, and each
    sample of each step is given one old task at random instead of all of them, so that
    a step costs about twice as much however many tasks are old. Avalanche's plugin
    takes a softmax over the channels, of which there is one here.

    The network is asked in training mode, so the new signals also move the running
    statistics of the old tasks' batch normalization, even where the new task has
    normalization of its own.

    The old network is the network at the start of the experience, so nothing has to be
    stored for a resumed run.
    """

    def __init__(self, *, strength: float = 1.0) -> None:
        self._strength = strength
        self._teacher: TaskNetwork | None = None
        self._old_labels = torch.empty(0, dtype=torch.long)

    def before_train_dataset_adaptation(self, strategy: Any, **_: Any) -> None:
        """Copy the network before it grows."""
        net, arriving = strategy.net, task_names_of(strategy.experience)
        old = [i for i, name in enumerate(net.task_names) if name not in arriving]
        self._old_labels = torch.tensor(old, dtype=torch.long)
        self._teacher = copy.deepcopy(net).eval().requires_grad_(False) if old else None

    def before_backward(self, strategy: Any, **_: Any) -> None:
        """Add the distance from the old network's predictions."""
        if self._teacher is None:
            return
        signal = strategy.mb_x
        drawn = torch.randint(len(self._old_labels), (strategy.num_patches,))
        own = list(distributed.share(range(len(drawn))))
        labels = self._old_labels[drawn[own]].to(strategy.device)
        found = strategy.model(signal, labels)
        if not len(signal):  # other processes have the patches
            strategy.loss = strategy.loss + found.sum()
            return
        with torch.no_grad(), strategy.model.autocast(strategy.device):
            wanted = self._teacher(signal, labels)
        distance = F.mse_loss(found, wanted.float())
        strategy.loss = strategy.loss + self._strength * distance

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Let the old network go."""
        self._teacher = None

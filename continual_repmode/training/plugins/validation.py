"""Validates during training, keeps the best weights and the learning curve."""

import math
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from continual_repmode.metrics.regression import RegressionSums
from continual_repmode.training._avalanche import MetricValue, SupervisedPlugin
from continual_repmode.training.weight_average import WeightAverage


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One point of the learning curve.

    Attributes
    ----------
    epoch : int
        Counted from 1 within the experience.
    train_loss : float
        Mean over the steps of the epoch.
    valid_mse : float or None
        Mean over the validation images; ``None`` if the epoch was not validated.
    """

    epoch: int
    train_loss: float
    valid_mse: float | None


class ValidationPlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """End each experience with the weights of the lowest validation error.

    The validation MSE is the mean over the whole validation volumes of the
    experience's tasks (paper, Sec. 4.1).

    Parameters
    ----------
    every : int
        Epochs between validations, at least 1; the last epoch is always validated.
    ema : float
        Above 0: what is validated and kept is a moving average of the network with this
        decay (:class:`~continual_repmode.training.weight_average.WeightAverage`), which
        starts anew with each experience; training goes on from the network itself.

    Attributes
    ----------
    curve : list of EpochRecord
        Learning curve of the current or last experience.
    best_epoch : int
        Counted from 1; 0 before the first validation.
    best_mse : float
        Validation MSE of that epoch.
    best_weights : dict of str to Tensor
        Trainable parameters and all buffers of that epoch; empty after the experience.
    """

    def __init__(self, *, every: int, ema: float = 0.0) -> None:
        super().__init__()
        self._every = every
        self._ema = ema
        self._average: WeightAverage | None = None
        self._losses: list[float] = []
        self._reset()

    def _reset(self) -> None:
        self.curve: list[EpochRecord] = []
        self.best_epoch, self.best_mse = 0, math.inf
        self.best_weights: dict[str, Tensor] = {}

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        """Start a new learning curve, and a new average."""
        self._reset()
        if self._ema:
            self._average = WeightAverage(strategy.net, self._ema)

    def before_training_epoch(self, strategy: Any, **_: Any) -> None:
        """Start a new mean of the training loss."""
        self._losses = []

    def after_update(self, strategy: Any, **_: Any) -> None:
        """Take the step into the average."""
        if self._average:
            self._average.update(strategy.net)

    def after_training_iteration(self, strategy: Any, **_: Any) -> None:
        """Add the loss of this step."""
        self._losses.append(float(strategy.loss.detach()))

    def after_training_epoch(self, strategy: Any, **_: Any) -> None:
        """Validate if it is time, and keep the weights if they are the best so far."""
        epoch = strategy.clock.train_exp_epochs + 1
        valid_mse = None
        if epoch % self._every == 0 or epoch == strategy.train_epochs:
            average = self._average
            with average.in_place_of(strategy.net) if average else nullcontext():
                valid_mse = validation_mse(strategy)
                if valid_mse < self.best_mse or self.best_epoch == 0:
                    self.best_epoch, self.best_mse = epoch, valid_mse
                    self.best_weights = _learnable_state(strategy.net)
        loss = sum(self._losses) / len(self._losses)
        self.curve.append(EpochRecord(epoch, loss, valid_mse))
        self._publish(strategy, {"train_loss": loss, "valid_mse": valid_mse})

    def _publish(self, strategy: Any, values: dict[str, float | None]) -> None:
        """Hand the values of this epoch to the loggers."""
        experience = strategy.experience.current_experience
        step = strategy.clock.train_iterations
        for name, value in values.items():
            if value is not None:
                full_name = f"{name}/experience_{experience}"
                emitted = MetricValue(self, full_name, value, step)
                strategy.evaluator.publish_metric_value(emitted)

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Go back to the best weights."""
        state = strategy.net.state_dict()
        with torch.no_grad():
            for name, value in self.best_weights.items():
                state[name].copy_(value)
        self.best_weights = {}
        self._average = None

    def progress_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, without the best weights."""
        return {
            "curve": [asdict(record) for record in self.curve],
            "best_epoch": self.best_epoch,
            "best_mse": self.best_mse,
            **({"average": self._average.state_dict()} if self._average else {}),
        }

    def load_progress_dict(self, progress: dict[str, Any]) -> None:
        """Go on from what :meth:`progress_dict` returned."""
        self.curve = [EpochRecord(**record) for record in progress["curve"]]
        self.best_epoch, self.best_mse = progress["best_epoch"], progress["best_mse"]
        if self._average:
            self._average.load_state_dict(progress["average"])


@torch.no_grad()
def validation_mse(strategy: Any) -> float:
    """Return the mean MSE over the validation images of the current experience."""
    volumes = strategy.validation_volumes
    strategy.model.eval()
    strategy.forget_deployed()
    errors = []
    for index in range(len(volumes)):
        signal, target, label = volumes[index]
        predicted = strategy.predict(signal[None].to(strategy.device), int(label))
        sums = RegressionSums()
        sums.update(predicted[0], target.to(strategy.device))
        errors.append(sums.result().mse)
    strategy.forget_deployed()
    strategy.model.train()
    return sum(errors) / len(errors)


def _learnable_state(net: torch.nn.Module) -> dict[str, Tensor]:
    """Copy the trainable parameters and all buffers (running statistics)."""
    trainable = {n: p for n, p in net.named_parameters() if p.requires_grad}
    return {
        name: value.detach().clone()
        for name, value in (trainable | dict(net.named_buffers())).items()
    }

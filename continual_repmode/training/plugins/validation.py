"""Validates during training, keeps the best weights and the learning curve."""

import math
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from continual_repmode import distributed
from continual_repmode.inference.windows import WindowGrid
from continual_repmode.metrics.learned import ValidationScore
from continual_repmode.metrics.regression import RegressionSums
from continual_repmode.training.avalanche_api import MetricValue, SupervisedPlugin
from continual_repmode.training.context import context_of
from continual_repmode.training.weight_average import WeightAverage


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One point of the learning curve."""

    #: Counted from 1 within the experience.
    epoch: int
    #: Mean over the steps of the epoch.
    train_loss: float
    #: Mean over the validation images; ``None`` if the epoch was not validated.
    valid_mse: float | None


class ValidationPlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """End each experience with the weights of the lowest validation error.

    The validation MSE is the mean over the whole validation volumes of the
    experience's tasks (paper, Sec. 4.1).

    ``every``: epochs between validations, at least 1; None: so often that they take at
        most a quarter of the training time, by the work that they are
        (:func:`validation_interval`). The last epoch is always validated.
    ``ema``: above 0: what is validated and kept is a moving average of the network with
        this decay (:class:`~continual_repmode.training.weight_average.WeightAverage`),
        which starts again with each experience; training continues from the network
        itself.
    ``patience``: end the experience at a validation that comes so many epochs after the
        best.
    ``every``: epochs between validations of the current or last experience.
    ``cost_epochs``: work of a validation, in that of an epoch of training.
    ``curve``: learning curve of the current or last experience.
    ``best_epoch``: counted from 1; 0 before the first validation.
    ``best_weights``: trainable parameters and all buffers of that epoch; empty after
        the experience.
    """

    def __init__(
        self, *, every: int | None, ema: float = 0.0, patience: int | None = None
    ) -> None:
        super().__init__()
        self._patience = patience
        self._asked = every
        self.every, self.cost_epochs = every or 1, 0.0
        self._ema = ema
        self._average: WeightAverage | None = None
        self._losses: list[float] = []
        self._reset()

    def _reset(self) -> None:
        self.curve: list[EpochRecord] = []
        self.best_epoch, self.best_mse = 0, math.inf
        self.best_scores: dict[str, ValidationScore] = {}
        self.best_weights: dict[str, Tensor] = {}
        self._told: dict[str, float] = {}

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        """Start a new curve and a new average, and decide how often to validate."""
        self._reset()
        self.cost_epochs = validation_cost(strategy)
        self.every = self._asked or validation_interval(
            strategy.train_epochs, self.cost_epochs
        )
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
        valid_mse: float | None = None
        scores: dict[str, ValidationScore] = {}
        if epoch % self.every == 0 or epoch == strategy.train_epochs:
            average = self._average
            with average.in_place_of(strategy.net) if average else nullcontext():
                valid_mse, scores = validate(strategy)
                if valid_mse < self.best_mse or self.best_epoch == 0:
                    self.best_epoch, self.best_mse = epoch, valid_mse
                    self.best_scores = scores
                    self.best_weights = _learnable_state(strategy.net)
        loss = sum(self._losses) / len(self._losses)
        self.curve.append(EpochRecord(epoch, loss, valid_mse))
        of_tasks = {
            f"task_valid_mse/{task}": score.mse for task, score in scores.items()
        }
        rate = strategy.optimizer.param_groups[0]["lr"]
        values = {"train_loss": loss, "valid_mse": valid_mse, "learning_rate": rate}
        values |= of_tasks if len(scores) > 1 else {}
        self._told = {n: v for n, v in values.items() if v is not None}
        self.tell(strategy)

    @property
    def is_exhausted(self) -> bool:
        """Whether ``patience`` has run out."""
        if self._patience is None or not self.curve or not self.best_epoch:
            return False
        last = self.curve[-1]
        waited = last.epoch - self.best_epoch
        return last.valid_mse is not None and waited >= self._patience

    def num_left(self, epoch: int, epochs: int) -> int:
        """Return how many validations follow after ``epoch`` of ``epochs``."""
        due = [*range(self.every, epochs, self.every), epochs]
        return sum(at > epoch for at in due)

    def tell(self, strategy: Any) -> None:
        """Hand the values of the last epoch to the loggers.

        Again when training resumes: it may have been killed before they took them.
        """
        experience = strategy.experience.current_experience
        step = strategy.clock.train_iterations
        for name, value in self._told.items():
            what, _, task = name.partition("/")
            full_name = f"{what}/experience_{experience}" + (task and f"/{task}")
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
            "best_scores": {t: asdict(score) for t, score in self.best_scores.items()},
            "told": self._told,
            **({"average": self._average.state_dict()} if self._average else {}),
        }

    def load_progress_dict(self, progress: dict[str, Any]) -> None:
        """Go on from what :meth:`progress_dict` returned."""
        self.curve = [EpochRecord(**record) for record in progress["curve"]]
        self.best_epoch, self.best_mse = progress["best_epoch"], progress["best_mse"]
        scores = progress.get("best_scores", {})  # none in states of older versions
        self.best_scores = {t: ValidationScore(**score) for t, score in scores.items()}
        self._told = progress.get("told", {})
        if self._average:
            self._average.load_state_dict(progress["average"])


@torch.no_grad()
def validate(strategy: Any) -> tuple[float, dict[str, ValidationScore]]:
    """Predict the validation images of the current experience.

    Returns
    -------
    float
        Mean MSE over the images.
    dict of str to ValidationScore
        The same task by task, with the variance of the targets.
    """
    volumes = strategy.validation_volumes
    strategy.model.eval()
    strategy.forget_deployed()
    own: list[tuple[str, RegressionSums]] = []
    for index in distributed.share(range(len(volumes))):
        signal, target, label = volumes[index]
        predicted = strategy.predict(signal[None].to(strategy.device), int(label))
        sums = RegressionSums.of(predicted[0], target)
        own.append((strategy.net.task_names[int(label)], sums))
    errors: list[float] = []
    by_task: dict[str, list[RegressionSums]] = {}
    for task, sums in distributed.in_turn(own):
        errors.append(sums.result().mse)
        by_task.setdefault(task, []).append(sums)
    strategy.forget_deployed()
    strategy.model.train()
    return sum(errors) / len(errors), {t: _score(of) for t, of in by_task.items()}


def _score(images: list[RegressionSums]) -> ValidationScore:
    return ValidationScore(
        mse=fmean(sums.squared_error / sums.num_voxels for sums in images),
        target_variance=fmean(sums.target_spread / sums.num_voxels for sums in images),
    )


def _learnable_state(net: torch.nn.Module) -> dict[str, Tensor]:
    """Copy the trainable parameters and all buffers (running statistics)."""
    trainable = {n: p for n, p in net.named_parameters() if p.requires_grad}
    return {
        name: value.detach().clone()
        for name, value in (trainable | dict(net.named_buffers())).items()
    }


LARGEST_SHARE = 0.25
"""Work of all validations of an experience, at most, in that of its training."""
MOST_VALIDATIONS = 10
"""Validations of an experience; more choose the weights hardly better."""
_PASSES_OF_TRAINING = 3


def validation_interval(epochs: int, cost_epochs: float) -> int:
    """Return the epochs between validations.

    ``epochs``: of the experience, at least 0.
    ``cost_epochs``: work of a validation, in that of an epoch of training.
    Returns: at least 1. As many validations, evenly spread, as :data:`LARGEST_SHARE`
        leaves room for, but at most :data:`MOST_VALIDATIONS`; the last epoch, which is
        always validated, is one of them. It remains, at whatever cost, where there is
        room for none.

    Examples
    --------
    >>> [validation_interval(600, cost) for cost in (0.1, 30, 60, 1000)]
    [60, 120, 300, 600]
    """
    room = epochs * LARGEST_SHARE
    number = max(1, min(MOST_VALIDATIONS, math.floor(room / cost_epochs)))
    return max(1, math.ceil(epochs / number))


def validation_cost(strategy: Any) -> float:
    """Return the work of a validation, in that of an epoch of training.

    Counts the voxels of every window over every validation image, as they overlap,
    against three times those of the training patches. What a strategy adds to its
    batches is left out.

    ``strategy``: with the data of its current experience.
    """
    patch = math.prod(context_of(strategy.experience).patch_size)
    trained = _PASSES_OF_TRAINING * patch * len(strategy.adapted_dataset)
    grids = [
        WindowGrid.over(pair.load().signal.shape, strategy.window, strategy.overlap)
        for pair in strategy.validation_pairs
    ]
    return sum(grid.num_windows * math.prod(grid.sides) for grid in grids) / trained

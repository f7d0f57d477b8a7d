"""The loop of all strategies for dense 3D regression, in Avalanche's manner.

The loop of every strategy here::

    train(experience)
        the network grows          (TaskModule.adaptation)
        the optimizer is given the trainable parameters
        for each epoch
            for each batch         forward, loss, backward, step
            validate               (ValidationPlugin keeps the best weights)
        best weights, stored gates
    proof, after all plugins, that old tasks are unchanged
    eval(test_stream)
        for each learned task, for each volume
            predict by Gaussian windows, measure
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, Optimizer

from continual_repmode.data.collection import Pair
from continual_repmode.errors import UserError
from continual_repmode.inference.windows import DEFAULT_OVERLAP, Overlap
from continual_repmode.models import TaskNetwork
from continual_repmode.training.avalanche_api import (
    CLExperience,
    EvaluationPlugin,
    SupervisedPlugin,
)
from continual_repmode.training.context import context_of, task_names_of
from continual_repmode.training.fitting import check_order, check_plugins
from continual_repmode.training.losses import over_recorded
from continual_repmode.training.metric_plugins import evaluator_with
from continual_repmode.training.patch_training import PatchTraining
from continual_repmode.training.plugins.finite_guard import FiniteGuardPlugin
from continual_repmode.training.plugins.unchanged_tasks import UnchangedTasksPlugin
from continual_repmode.training.plugins.validation import ValidationPlugin
from continual_repmode.training.rate_groups import RateGroups
from continual_repmode.training.strategies.strategy_config import StrategyConfig
from continual_repmode.training.task_module import TaskModule
from continual_repmode.volumes.volume import DEFAULT_WINDOW


class DenseStrategy(PatchTraining):
    """The training and evaluation loop that all strategies of this package share.

    Differs from Avalanche's template in that batches mix tasks at random unless
    balance is asked for (methods of the paper, Sec. 4.1), the optimizer holds trainable
    parameters only, and evaluation predicts whole volumes by Gaussian windows.

    Parameters
    ----------
    model : TaskNetwork
        Made with ``task_names=benchmark.base_tasks``.
    method : StrategyConfig
        What happens when tasks arrive, such as
        :class:`~continual_repmode.training.strategies.naive.NaiveConfig`.
    optimizer : Optimizer, optional
        Adam with the paper's learning rate 1e-4 unless given.
    criterion : callable, optional
        Loss of (prediction, target), such as one of
        :mod:`continual_repmode.training.losses`; mean squared error unless given.
        Voxels that were not recorded, whose target is NaN, are left out of it.
    train_mb_size : int
        Patches in a batch.
    train_epochs : int
        Epochs of every experience; an epoch is one random patch of every image.
    extension_epochs : int, optional
        Epochs of every experience after the first, if different.
    device : str or torch.device
        Where to compute.
    plugins : sequence of SupervisedPlugin, optional
        Further plugins; they run after the strategy's own, so after an experience
        they see its best weights, and before those of the method.
    evaluator : EvaluationPlugin, optional
        One with :class:`RegressionMetrics` and no loggers unless given.
    validate_every : int or None
        Epochs between validations; None: so often that they take at most a quarter of
        the training time
        (:mod:`~continual_repmode.training.plugins.validation`). The last epoch is
        always validated.
    ema : float
        Decay, below 1, of a moving average of the weights that is validated and kept in
        their place; 0: none. See
        :class:`~continual_repmode.training.weight_average.WeightAverage`.
    patience : int, optional
        End an experience at a validation that comes so many epochs after the best one.
    mixing : {"random", "balanced"}
        Batches take images at random, or the tasks in turn
        (:class:`~continual_repmode.training.sampling.BalancedSampler`).
    window : tuple of int
        Prediction window (Z, Y, X) in voxels.
    overlap : float or sequence of float
        Share of a window, 0 to below 1, that it has in common with the next; for all
        axes, or for each of (Z, Y, X).
    precision : {"float32", "bfloat16", "float16"}
        Of forward and backward passes (autocast). With ``"float16"`` the loss is scaled
        so that small gradients do not vanish; where a scaled one overflows, the step is
        left out and the scale halved.
    compile : bool
        See :class:`~continual_repmode.training.task_module.TaskModule`.
    num_workers : int
        Processes that load training patches. Each draws random places of its own, so
        a run repeats with equally many.

    Raises
    ------
    UserError
        If the method does not go with the network, or a plugin not with this loop.

    Attributes
    ----------
    proof : UnchangedTasksPlugin
        One of the plugins; what it compares is what the strategy promises.
    train_pairs : list of Pair
        The pairs trained on in this experience, in the order of ``adapted_dataset``.
    validation_volumes : TaskDataset
        What the weights to keep are chosen by.
    validation_pairs : list of Pair
        Its pairs, in the same order.
    """

    _stop_training: bool

    def __init__(
        self,
        *,
        model: TaskNetwork,
        method: StrategyConfig,
        optimizer: Optimizer | None = None,
        criterion: Any = None,
        train_mb_size: int = 8,
        train_epochs: int = 1,
        extension_epochs: int | None = None,
        device: str | torch.device = "cpu",
        plugins: Sequence[SupervisedPlugin] = (),
        evaluator: EvaluationPlugin | None = None,
        validate_every: int | None = 1,
        ema: float = 0.0,
        patience: int | None = None,
        mixing: str = "random",
        window: tuple[int, int, int] = DEFAULT_WINDOW,
        overlap: Overlap = DEFAULT_OVERLAP,
        precision: str = "float32",
        compile: bool = False,
        num_workers: int = 0,
    ) -> None:
        method.check(model, len(model.task_names))
        check_plugins(plugins)
        self.method = method
        self.proof = UnchangedTasksPlugin(required=method.freezes)
        self.validation = ValidationPlugin(
            every=validate_every, ema=ema, patience=patience
        )
        self.first_epoch = 0
        self.train_pairs: list[Pair] = []
        self.validation_volumes: Any = None
        self.validation_pairs: list[Pair] = []
        later_epochs = train_epochs if extension_epochs is None else extension_epochs
        #: Of the first experience, and of each later one.
        self.epochs = (train_epochs, later_epochs)
        self._adopting = False
        self._has_learned = False
        model.to(device)
        super().__init__(
            window=window,
            overlap=overlap,
            mixing=mixing,
            precision=precision,
            num_workers=num_workers,
            model=TaskModule(model, method, precision=precision, compiled=compile),
            optimizer=optimizer or Adam(model.parameters(), lr=1e-4, fused=True),
            criterion=over_recorded(criterion or nn.MSELoss()),
            train_mb_size=train_mb_size,
            train_epochs=train_epochs,
            eval_mb_size=1,
            device=device,
            plugins=[
                FiniteGuardPlugin(),
                self.validation,
                self.proof,
                *plugins,
                *method.plugins(),
            ],
            evaluator=evaluator or evaluator_with(),
            eval_every=-1,
        )
        self._rate_groups = RateGroups(self.optimizer, method.rate_factors())
        # Not None, or Avalanche would set the optimizer up before the network grows.
        self.optimized_param_id: dict[str, Any] = {}

    def train(
        self,
        experiences: Any,
        eval_streams: Sequence[Any] | None = None,
        *,
        num_workers: int | None = None,
    ) -> None:
        """Learn one or more experiences, and prove what it left of the old tasks.

        Parameters
        ----------
        experiences : experience or iterable of them
            In the order of the stream.
        eval_streams : sequence, optional
            Only as Avalanche has it: nothing is evaluated while it learns but the
            validation images, so it must be empty.
        num_workers : int, optional
            Instead of that of the strategy, in this call.

        Raises
        ------
        UserError
            If an experience comes before another one that the network has not learned,
            or there is a stream to evaluate.
        ForgettingError
            If an old task changed and the strategy promises that it cannot.
        """
        if eval_streams:
            raise UserError(
                "train(eval_streams=): nothing but the validation images is evaluated "
                "while the network learns; leave it out, and call eval() afterwards"
            )
        usual = self.num_workers
        self.num_workers = usual if num_workers is None else num_workers
        try:
            super().train(experiences)
        finally:
            self.num_workers = usual
        self.proof.conclude(self.net)

    def adopt(self, experience: CLExperience) -> None:
        """Take the tasks of an experience as learned: all of training but the epochs.

        Plugins see the experience as if it had been trained, so importances are
        measured and memories filled.
        """
        self._adopting = True
        try:
            self.train(experience)
        finally:
            self._adopting = False

    def _before_training_exp(self, **kwargs: Any) -> None:
        check_order(self.experience, self.net, self._has_learned)
        is_extension = self.experience.current_experience > 0
        self.train_epochs = 0 if self._adopting else self.epochs[is_extension]
        super()._before_training_exp(**kwargs)

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Train on, and validate with, the data of the experience."""
        super().train_dataset_adaptation(**kwargs)
        context = context_of(self.experience)
        self.train_pairs = list(context.pairs)
        self.validation_volumes = context.validation
        self.validation_pairs = list(context.validation_pairs)

    def make_optimizer(self, **_: Any) -> None:
        """Give the optimizer the trainable parameters, and only them, without state.

        Raises
        ------
        UserError
            If nothing is trainable.
        """
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        if not trainable and not self._adopting:
            raise UserError(
                f"the tasks {', '.join(task_names_of(self.experience))} were learned "
                "and frozen before: train an experience with a new task"
            )
        self._rate_groups.take(trainable, self.net.rate_kinds())

    def _train_exp(self, experience: CLExperience, *_: Any, **kwargs: Any) -> None:
        """Run the epochs from ``first_epoch`` on (above 0 when a run is resumed)."""
        self.clock.train_exp_epochs = self.first_epoch
        for _epoch in range(self.first_epoch, self.train_epochs):
            if self.validation.is_exhausted:
                break
            self._before_training_epoch(**kwargs)
            if self._stop_training:  # in this experience
                self._stop_training = False
                break
            self.training_epoch(**kwargs)
            self._after_training_epoch(**kwargs)
        self.first_epoch = 0
        self._has_learned = True

"""The strategies as classes of Avalanche's kind, for use in Python.

Each is a :class:`~continual_repmode.training.dense_strategy.DenseStrategy` with a
method of :mod:`continual_repmode.training.strategies`.
"""

from collections.abc import Sequence
from typing import Any

from continual_repmode.models import TaskNetwork
from continual_repmode.models.methods.task_parts import FRESH
from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.dense_strategy import DenseStrategy
from continual_repmode.training.strategies.adapter import AdapterConfig
from continual_repmode.training.strategies.individual import IndividualConfig
from continual_repmode.training.strategies.naive import NaiveConfig
from continual_repmode.training.strategies.repmode import RepModeConfig
from continual_repmode.training.strategies.strategy_config import CLOSEST


class RepMode(DenseStrategy):
    """Learn base tasks jointly, then add tasks without touching what is there.

    See :class:`~continual_repmode.training.strategies.repmode.RepModeConfig`. That old
    tasks are unchanged is proved by comparing SHA-256 hashes of their parameters and of
    their output on a probe volume; a mismatch stops the run.

    Parameters
    ----------
    model : RepModeUNet
        Made with ``task_names=benchmark.base_tasks``.
    expert, private_bn, expert_mix, gate_rate, outer_rate, use_extensions
    gate_init, expert_init
        Fields of ``RepModeConfig``.
    plugins, **loop
        Arguments of :class:`DenseStrategy`.
    """

    def __init__(
        self,
        *,
        model: TaskNetwork,
        expert: str | None = "conv3",
        private_bn: bool = False,
        expert_mix: str = "softmax",
        gate_rate: float = 1.0,
        outer_rate: float = 1.0,
        use_extensions: bool = False,
        gate_init: str = "mean",
        expert_init: str = "random",
        plugins: Sequence[SupervisedPlugin] = (),
        **loop: Any,
    ) -> None:
        method = RepModeConfig(
            expert=expert,
            private_bn=private_bn,
            expert_mix=expert_mix,
            gate_rate=gate_rate,
            outer_rate=outer_rate,
            use_extensions=use_extensions,
            gate_init=gate_init,
            expert_init=expert_init,
        )
        super().__init__(model=model, method=method, plugins=plugins, **loop)


class Adapter(DenseStrategy):
    """Learn base tasks jointly, then adapt frozen plain convolutions to each new one.

    See :class:`~continual_repmode.training.strategies.adapter.AdapterConfig`. That old
    tasks are unchanged is proved as in :class:`RepMode`.

    Parameters
    ----------
    model : AdaptableNetwork
        Such as :class:`~continual_repmode.models.methods.multihead.MultiHeadUNet`, made
        with ``task_names=benchmark.base_tasks``.
    adapter, init, outer_rate
        Fields of ``AdapterConfig``.
    plugins, **loop
        Arguments of :class:`DenseStrategy`.
    """

    def __init__(
        self,
        *,
        model: TaskNetwork,
        adapter: str = "low_rank4",
        init: str = CLOSEST,
        outer_rate: float = 1.0,
        plugins: Sequence[SupervisedPlugin] = (),
        **loop: Any,
    ) -> None:
        method = AdapterConfig(
            adapter=adapter,
            init=init,
            outer_rate=outer_rate,
        )
        super().__init__(model=model, method=method, plugins=plugins, **loop)


class Naive(DenseStrategy):
    """Fine-tune everything on each experience: shows the forgetting to beat.

    See :class:`~continual_repmode.training.strategies.naive.NaiveConfig`. With a plugin
    of :mod:`continual_repmode.training.strategies` this is any of the
    continual-learning baselines: ``Naive(model=net, plugins=[ReplayPlugin()])``.

    Parameters
    ----------
    model : TaskNetwork
        Made with ``task_names=benchmark.base_tasks``.
    expert, private_bn, expert_mix, gate_rate, outer_rate, init
        Fields of ``NaiveConfig``.
    plugins, **loop
        Arguments of :class:`DenseStrategy`.
    """

    def __init__(
        self,
        *,
        model: TaskNetwork,
        expert: str | None = "conv3",
        private_bn: bool = False,
        expert_mix: str = "softmax",
        gate_rate: float = 1.0,
        outer_rate: float = 1.0,
        init: str = FRESH,
        plugins: Sequence[SupervisedPlugin] = (),
        **loop: Any,
    ) -> None:
        method = NaiveConfig(
            expert=expert,
            private_bn=private_bn,
            expert_mix=expert_mix,
            gate_rate=gate_rate,
            outer_rate=outer_rate,
            init=init,
        )
        super().__init__(model=model, method=method, plugins=plugins, **loop)


class Individual(DenseStrategy):
    """Train one network per task; those of old tasks are not touched.

    See :class:`~continual_repmode.training.strategies.individual.IndividualConfig`.
    That old tasks stay as they are is proved as in :class:`RepMode`.

    Parameters
    ----------
    model : TaskNetwork
        One whose tasks share no parameter, such as
        :class:`~continual_repmode.models.methods.multinet.MultiNet`, made with
        ``task_names=benchmark.base_tasks``.
    plugins, **loop
        Arguments of :class:`DenseStrategy`.
    """

    def __init__(
        self,
        *,
        model: TaskNetwork,
        plugins: Sequence[SupervisedPlugin] = (),
        **loop: Any,
    ) -> None:
        method = IndividualConfig()
        super().__init__(model=model, method=method, plugins=plugins, **loop)

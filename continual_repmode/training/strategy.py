"""The strategies as classes of Avalanche's kind, for use in Python.

Each is a :class:`~continual_repmode.training.dense_strategy.DenseStrategy` with a
method of :mod:`continual_repmode.training.strategies`.
"""

from dataclasses import fields
from inspect import Parameter, Signature
from typing import Any, ClassVar

from continual_repmode.models import TaskNetwork
from continual_repmode.training.dense_strategy import DenseStrategy
from continual_repmode.training.strategies.adapter import AdapterConfig
from continual_repmode.training.strategies.individual import IndividualConfig
from continual_repmode.training.strategies.naive import NaiveConfig
from continual_repmode.training.strategies.repmode import RepModeConfig
from continual_repmode.training.strategies.strategy_config import StrategyConfig


class _OfMethod(DenseStrategy):
    """A strategy of one method; other arguments are those of its loop."""

    _method: ClassVar[type[StrategyConfig]]
    __signature__: ClassVar[Signature]

    def __init_subclass__(cls, *, method: type[StrategyConfig], **_: Any) -> None:
        only = Parameter.KEYWORD_ONLY
        own = [Parameter(f.name, only, default=f.default) for f in fields(method)]
        loop = Parameter("loop", Parameter.VAR_KEYWORD)
        cls._method = method
        cls.__signature__ = Signature([Parameter("model", only), *own, loop])

    def __init__(self, *, model: TaskNetwork, **options: Any) -> None:
        own = {item.name for item in fields(self._method)} & options.keys()
        method = self._method(**{name: options.pop(name) for name in own})
        super().__init__(model=model, method=method, **options)


class RepMode(_OfMethod, method=RepModeConfig):
    """Learn base tasks jointly, then add tasks without touching what is there.

    That old tasks are unchanged is proved by comparing SHA-256 hashes of their
    parameters and of their output on a probe volume; a mismatch stops the run.

    Parameters
    ----------
    model : RepModeUNet
        Made with ``task_names=benchmark.base_tasks``.
    **options
        Fields of :class:`~continual_repmode.training.strategies.repmode.RepModeConfig`,
        and arguments of :class:`DenseStrategy`, such as ``plugins``.
    """


class Adapter(_OfMethod, method=AdapterConfig):
    """Learn base tasks jointly, then adapt frozen plain convolutions to each new one.

    That old tasks are unchanged is proved as in :class:`RepMode`.

    Parameters
    ----------
    model : AdaptableNetwork
        Such as :class:`~continual_repmode.models.methods.multihead.MultiHeadUNet`, made
        with ``task_names=benchmark.base_tasks``.
    **options
        Fields of :class:`~continual_repmode.training.strategies.adapter.AdapterConfig`,
        and arguments of :class:`DenseStrategy`, such as ``plugins``.
    """


class Naive(_OfMethod, method=NaiveConfig):
    """Fine-tune everything on each experience: shows the forgetting to beat.

    With a plugin of :mod:`continual_repmode.training.strategies` this is any of the
    continual-learning baselines: ``Naive(model=net, plugins=[ReplayPlugin()])``.

    Parameters
    ----------
    model : TaskNetwork
        Made with ``task_names=benchmark.base_tasks``.
    **options
        Fields of :class:`~continual_repmode.training.strategies.naive.NaiveConfig`,
        and arguments of :class:`DenseStrategy`, such as ``plugins``.
    """


class Individual(_OfMethod, method=IndividualConfig):
    """Train one network per task; those of old tasks are not touched.

    That old tasks stay as they are is proved as in :class:`RepMode`.

    Parameters
    ----------
    model : TaskNetwork
        One whose tasks share no parameter, such as
        :class:`~continual_repmode.models.methods.multinet.MultiNet`, made with
        ``task_names=benchmark.base_tasks``.
    **options
        Arguments of :class:`DenseStrategy`.
    """

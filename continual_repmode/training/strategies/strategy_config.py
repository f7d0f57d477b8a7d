"""What every strategy says of itself, and what it is asked."""

from dataclasses import dataclass
from typing import Any, ClassVar

from continual_repmode.checks import check_settings
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.scenario import Scenario

CLOSEST = "closest"
"""A new task starts from the old one that predicts its data best."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """How ``strengths`` finds how strongly a strategy holds on to old tasks."""

    #: The row with the lowest sum of the new task's MSE and forgetting; None: not
    #: measured yet, the first row is a first guess.
    chosen: str | None = None
    #: Those that say how strongly it holds; all get the same value.
    settings: tuple[str, ...] = ()
    #: What is tried: three around a first guess; where the best of them was at an end,
    #: one beyond it. Without any, only the normalization is tried.
    values: tuple[float, ...] = ()
    #: Option of ``strategy=`` to try, if it is not that of the strategy.
    preset: str | None = None


@dataclass(kw_only=True, slots=True)
class StrategyConfig:
    """What happens when a new task arrives; the base of all strategies.

    Attributes
    ----------
    label : str
        Name in tables.
    tuning : Tuning or None
        None: the strategy is not in the table ``strengths``.
    freezes : bool
        Old tasks stay as they are, which is proved after each experience; so the
        strategy can start from a network that is frozen.
    learns_first : bool
        The strategy must learn the first experience itself.
    shares_batches : bool
        Several processes can train together: what the strategy does in a step is a mean
        over the patches of the batch, and nothing is kept of single ones.
    """

    label: ClassVar[str] = ""
    tuning: ClassVar[Tuning | None] = None
    freezes: ClassVar[bool] = False
    learns_first: ClassVar[bool] = False
    shares_batches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check ranges."""
        check_settings(self, "strategy")

    def preset(self, option: str) -> str:
        """Return the preset of ``strategy=`` that these settings belong to.

        Parameters
        ----------
        option : str
            The name of the strategy.
        """
        return option

    def stream(self, scenario: Scenario) -> Scenario:
        """Return what is learned when of a scenario."""
        return scenario

    def check(self, net: TaskNetwork, num_tasks: int) -> None:
        """Refuse a network, or settings that it has no use for.

        Parameters
        ----------
        net : TaskNetwork
            Perhaps without values.
        num_tasks : int
            Of the whole stream.

        Raises
        ------
        UserError
            With the reason and a remedy.
        """

    def before_growth(self, net: TaskNetwork) -> None:
        """Prepare a network for new tasks, such as by freezing it."""

    def task_options(self, net: TaskNetwork) -> dict[str, Any]:
        """Return what a new task gets: options of :meth:`TaskNetwork.add_task`.

        The value ``"closest"`` is replaced by the name of the closest old task.
        """
        return {}

    def plugins(self) -> list[object]:
        """Make the plugins of the strategy: objects with hooks of Avalanche's."""
        return []

    def rate_factors(self) -> dict[str, float]:
        """Return factors of the learning rate by kind of parameter.

        See :meth:`~continual_repmode.models.task_network.TaskNetwork.rate_kinds`. Each
        kind has a group of its own in the optimizer, also while it is empty, so that
        the groups stay the same when the network grows.
        """
        return {}

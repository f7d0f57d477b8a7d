"""Settings of networks: one class per option of ``model``, in the network's file.

A class has exactly the arguments of its network.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from continual_repmode.checks import (
    ODD,
    Rule,
    at_least,
    check_settings,
    one_of,
    setting,
)
from continual_repmode.models.task_network import TaskNetwork


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """The U-Net that all networks share; the base of the options.

    Attributes
    ----------
    network : type of TaskNetwork
    """

    network: ClassVar[type[TaskNetwork]]

    #: Channels of the first level; doubled at each further one. The paper has 32.
    width: int = setting(32, at_least(1))
    #: Number of down-sampling levels. The paper has 4.
    depth: int = setting(4, Rule(lambda depth: 1 <= depth <= 8, "1 to 8"))
    #: ZYX, or YX for a network that treats the planes of a stack one by one.
    axes: str = setting("ZYX", one_of("ZYX", "YX"))

    def __post_init__(self) -> None:
        """Check ranges."""
        check_settings(self, "model")

    def build(self, task_names: Sequence[str]) -> TaskNetwork:
        """Make the network for these base tasks."""
        return self.network(task_names, **asdict(self))


@dataclass(kw_only=True, slots=True)
class KernelConfig(ModelConfig):
    """Networks of ordinary convolutions of one size; the base of their options."""

    #: Odd extent of the convolutions. 5 as RepMode has when merged.
    kernel_size: int = setting(5, ODD)


@dataclass(kw_only=True, slots=True)
class HeadConfig(KernelConfig):
    """Networks with a choice of heads; the base of their options."""

    #: shared by all tasks, as originally published, or per_task.
    head: str = setting("shared", one_of("shared", "per_task"))

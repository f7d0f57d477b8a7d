"""Settings of networks: one class per option of ``model``, in the network's file.

A class has exactly the arguments of its network.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from continual_repmode.checks import require, require_choice
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
    width: int = 32
    #: Number of down-sampling levels. The paper has 4.
    depth: int = 4
    #: ZYX, or YX for a network that treats the planes of a stack one by one.
    axes: str = "ZYX"

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.width >= 1, "model.width", self.width, "at least 1")
        require(1 <= self.depth <= 8, "model.depth", self.depth, "1 to 8")
        require_choice("model.axes", self.axes, ("ZYX", "YX"))

    def build(self, task_names: Sequence[str]) -> TaskNetwork:
        """Make the network for these base tasks."""
        return self.network(task_names, **asdict(self))


@dataclass(kw_only=True, slots=True)
class KernelConfig(ModelConfig):
    """Networks of ordinary convolutions of one size; the base of their options."""

    #: Odd extent of the convolutions. 5 as RepMode has when merged.
    kernel_size: int = 5

    def __post_init__(self) -> None:
        """Check ranges."""
        ModelConfig.__post_init__(self)
        size = self.kernel_size
        require(size >= 1 and size % 2 == 1, "model.kernel_size", size, "odd")


@dataclass(kw_only=True, slots=True)
class HeadConfig(KernelConfig):
    """Networks with a choice of heads; the base of their options."""

    #: shared by all tasks, as originally published, or per_task.
    head: str = "shared"

    def __post_init__(self) -> None:
        """Check ranges."""
        KernelConfig.__post_init__(self)
        require_choice("model.head", self.head, ("shared", "per_task"))

"""Output convolutions of which every task has its own."""

from collections.abc import Sequence
from functools import partial

from continual_repmode.models.conv_units import UnitSpec, build_conv
from continual_repmode.models.methods.task_parts import TaskParts
from continual_repmode.models.spatial import Axes


class TaskHeads(TaskParts):
    """One output convolution per task, ``head_<task>``, as a unit of the U-Net.

    Equals one convolution with a channel per task of which each sample takes that of
    its task, except that heads absent from a batch have no gradient at all. With zero
    gradients, as from a single convolution, Adam's momentum would keep moving them (our
    adaptation; which of the two RepMode's Multi-Head baselines do is unknown).

    ``kernel_size``: odd extent of the kernels, with 'same' zero padding.
    """

    def __init__(
        self,
        in_channels: int,
        tasks: Sequence[str],
        kernel_size: int,
        axes: Axes,
        out_channels: int = 1,
        *,
        bias: bool = False,
    ) -> None:
        spec = UnitSpec("output", "output", in_channels, out_channels, axes)
        super().__init__(
            "head", tasks, partial(build_conv, spec, kernel_size, bias=bias)
        )

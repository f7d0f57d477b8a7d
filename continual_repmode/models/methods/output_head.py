"""The output convolution as an option: one that the tasks share, or one per task.

The paper counts CondNet and TSNs among the networks with task-specific heads (Sec.
4.2), while both were published with a shared one, which is the default here.
"""

from collections.abc import Sequence

from torch import nn

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import UnitSpec, plain_unit
from continual_repmode.models.methods.heads import TaskHeads
from continual_repmode.models.methods.task_parts import FRESH


def build_output(
    spec: UnitSpec, kernel_size: int, head: str, tasks: Sequence[str]
) -> nn.Module:
    """Build the output unit: an ordinary convolution or one convolution per task.

    ``spec``: of role ``output``.
    ``head``: "shared" or "per_task".
    Raises UserError if ``head`` is something else.
    """
    match head:
        case "shared":
            return plain_unit(spec, kernel_size)
        case "per_task":
            return TaskHeads(
                spec.in_channels, tasks, kernel_size, spec.axes, spec.out_channels
            )
        case _:
            raise UserError(f"head {head!r}: use 'shared' or 'per_task'")


def grow_output(output: nn.Module, name: str, init: str) -> None:
    """Give a new task its head, where tasks have heads of their own.

    ``output``: from :func:`build_output`.
    ``init``: ``"fresh"``, or the name of the known task whose head is copied.
    Raises UserError if there is no such start.
    """
    if isinstance(output, TaskHeads):
        output.add_task(name, init)
    elif init != FRESH:
        raise UserError(
            f"init {init!r}: the tasks of this network share one head; "
            f"use {FRESH!r} or build it with head 'per_task'"
        )

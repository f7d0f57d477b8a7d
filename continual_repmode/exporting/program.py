"""One task of a network, traced for volumes of any size.

What is traced of a RepMode network is the merged plain U-Net of the task: no gate, no
expert, no batch normalization and no other task is left in it.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from continual_repmode.errors import UserError
from continual_repmode.models.deploy import deploy
from continual_repmode.models.spatial import Size3
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.models.unet3d import UNet3d

_SMALLEST_TRACED = 2  # torch.export writes this bound down for sizes of 1, too
_ASSERTION = torch.ops.aten._assert_scalar.default


class AnySize(nn.Module):
    """A network of one task that mirrors and crops without asking how large a side is.

    Predicts the same as the network, which extends a side that is not a multiple of its
    divisor by mirroring at its far end. Here that is one indexing for all sizes, so
    that a single traced graph serves them all.

    ``net``: maps (B, C_in, Z, Y, X) to (B, C_out, Z, Y, X).
    ``divisor``: what the sides that ``net`` gets are multiples of, along (Z, Y, X).
    """

    def __init__(self, net: nn.Module, divisor: Size3) -> None:
        super().__init__()
        self.net = net
        self.divisor = divisor
        self.eval()

    def forward(self, signal: Tensor) -> Tensor:
        """Predict (B, C_out, Z, Y, X) from a signal (B, C_in, Z, Y, X)."""
        features = signal
        for axis, multiple in enumerate(self.divisor, start=2):
            if multiple > 1:
                index = _mirrored_index(signal, axis, multiple)
                features = features.index_select(axis, index)
        if isinstance(self.net, UNet3d):
            encoded, skips = self.net.encode(features)
            prediction: Tensor = self.net.output(self.net.decode(encoded, skips))
        else:
            prediction = self.net(features)
        for axis in (2, 3, 4):  # as an index: a slice would ask whether it cuts at all
            kept = torch.arange(signal.shape[axis], device=signal.device)
            prediction = prediction.index_select(axis, kept)
        return prediction


class TracedTask(NamedTuple):
    """What :func:`trace` gives."""

    #: Maps ``signal`` (B, C_in, Z, Y, X) to (B, C_out, Z, Y, X), Z, Y and X of any
    #: size.
    program: ExportedProgram
    #: Whether B is any number, too; otherwise it is 1.
    any_batch: bool


@torch.no_grad()
def trace(net: TaskNetwork, task: str) -> TracedTask:
    """Trace one task of a network, on the CPU.

    Networks whose kernels depend on the image, and those of other methods than RepMode,
    are traced as they are with the task fixed; tensors of other tasks are left out.

    Raises UserError if the network does not know the task or cannot be traced for any
        size.
    """
    one = deploy(net, task)
    any_batch = isinstance(one, UNet3d)
    if not any_batch:
        one = copy.deepcopy(one)  # it shares its tensors with the network
    one.to(memory_format=torch.contiguous_format)  # as other programs expect kernels
    module: nn.Module = AnySize(one, net.divisor)
    sides = [2 * multiple + 1 for multiple in net.divisor]
    example = torch.zeros(2 if any_batch else 1, net.in_channels, *sides)
    try:
        program = _trace(module, example, any_batch)
        if not any_batch:
            program = _trace(_without_unused(program), example, any_batch)
        smallest = max(int(r.lower) for r in program.range_constraints.values())
        if smallest > _SMALLEST_TRACED:
            raise ValueError(f"only for sides of {smallest} voxels and more")
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"task {task!r}: a {type(net).__name__} cannot be traced for volumes of "
            f"any size ({reason})"
        ) from None
    return TracedTask(program, any_batch)


def _mirrored_index(signal: Tensor, axis: int, multiple: int) -> Tensor:
    """Return which voxels make an axis a multiple: 0 ... n-1, then back and forth."""
    size = signal.shape[axis]
    whole = (size + multiple - 1) // multiple * multiple
    index = torch.arange(whole, device=signal.device)
    period = torch.full_like(index, 2 * size)
    index = index % period
    return torch.minimum(index, period - 1 - index)


def _trace(module: nn.Module, example: Tensor, any_batch: bool) -> ExportedProgram:
    free = dict.fromkeys((0, 2, 3, 4) if any_batch else (2, 3, 4), Dim.DYNAMIC)
    program = export(
        module,
        (example,),
        dynamic_shapes=(free,),
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    # What is asserted of sizes only tells on which path the example was traced, such as
    # that the deepest feature map has more than one voxel. That other sizes give what
    # the network gives is measured on every file that is written.
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is _ASSERTION:
            graph.erase_node(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program


def _without_unused(program: ExportedProgram) -> nn.Module:
    """Return the traced module without tensors that no operation reads."""
    module = program.module()
    for node in list(module.graph.nodes):
        if node.op == "get_attr" and not node.users:
            module.graph.erase_node(node)
    module.recompile()
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name in set(module.state_dict()) - used:
        owner, _, attribute = name.rpartition(".")
        delattr(module.get_submodule(owner), attribute)
    return module

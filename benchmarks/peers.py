"""Other ways to compute the same network, to measure ours against.

Each peer has the parameters of a :class:`RepModeUNet` and equals it up to rounding, in
output and gradients; only the order of the arithmetic differs.
"""

import copy
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.models.experts import AvgConvExpert, ConvExpert
from continual_repmode.models.mode_conv import MoDEConv
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.models.spatial import Size3
from continual_repmode.models.task_groups import TaskGroups, group_by_task
from continual_repmode.models.unet3d import UNet3d


class SampleBySample(nn.Module):
    """A MoDE convolution as the published implementation computes it.

    The experts become kernels of the largest extent: poolings are spread out, small
    kernels padded. Then each sample has a kernel of its own merged, whatever the tasks
    of its neighbours, and is convolved alone. Automatic differentiation keeps all of
    these kernels for the backward pass.

    Parameters
    ----------
    conv : MoDEConv
        Where experts and gate come from.
    """

    def __init__(self, conv: MoDEConv) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, features: Tensor, groups: TaskGroups) -> Tensor:
        """Convolve features (B, I, Z, Y, X), sorted by task, to (B, O, Z, Y, X)."""
        padded: dict[str, Tensor] = {}
        samples = torch.split(features, 1)
        convolved = []
        for group in groups.groups:
            experts = self.conv.experts_of(group.task)
            largest = max(expert.size for expert in experts.values())
            for name in experts.keys() - padded.keys():
                padded[name] = pad(experts[name].kernel().contiguous(), largest)
            kernels = [padded[name] for name in experts]
            for row in range(group.start, group.stop):
                kernel = merge_plainly(kernels, self.conv.gate(group.task))
                convolved.append(F.conv3d(samples[row], kernel, padding="same"))
        return torch.cat(convolved)


class Branches(nn.Module):
    """A MoDE convolution as a plain mixture of experts (Fig. 4a).

    Every expert maps the whole batch, an average pooling with its 1x1x1 convolution as
    such; the outputs are weighted by the gates of each sample and added.

    Parameters
    ----------
    conv : MoDEConv
        Where experts and gate come from; all tasks must use the same experts.
    """

    def __init__(self, conv: MoDEConv) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, features: Tensor, groups: TaskGroups) -> Tensor:
        """Map features (B, I, Z, Y, X), sorted by task, to (B, O, Z, Y, X)."""
        rows = [g for g in groups.groups for _ in range(g.start, g.stop)]
        gates = torch.stack([self.conv.gate(group.task) for group in rows], dim=1)
        experts = self.conv.experts_of(rows[0].task).values()
        return sum_weighted(
            (gate[:, :, None, None, None], run_expert(expert, features))
            for gate, expert in zip(gates, experts, strict=True)
        )


def pad(kernel: Tensor, size: Size3) -> Tensor:
    """Centre a kernel (O, I, kZ, kY, kX) in zeros of a larger extent."""
    z, y, x = (
        (want - have) // 2 for have, want in zip(kernel.shape[2:], size, strict=True)
    )
    return F.pad(kernel, (x, x, y, y, z, z))


def merge_plainly(kernels: Sequence[Tensor], gates: Tensor) -> Tensor:
    """Sum kernels, each (O, I, kZ, kY, kX), weighted by their gates (E, O) (Eq. 6)."""
    return sum_weighted(
        (gate[:, None, None, None, None], kernel)
        for gate, kernel in zip(gates, kernels, strict=True)
    )


def sum_weighted(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Add up weight times tensor."""
    first, *others = (weight * tensor for weight, tensor in pairs)
    for other in others:
        first = first + other
    return first


def run_expert(expert: ConvExpert, features: Tensor) -> Tensor:
    """Map features with one expert: a convolution, or a pooling and a convolution."""
    if isinstance(expert, AvgConvExpert):
        z, y, x = (side // 2 for side in expert.size)
        features = F.pad(features, (x, x, y, y, z, z))  # its zeros count
        features = F.avg_pool3d(features, expert.size, stride=1)
    return F.conv3d(features, expert.weight, padding="same")


class PeerNet(nn.Module):
    """A RepMode network with its MoDE convolutions computed another way.

    Parameters
    ----------
    net : RepModeUNet
        Is copied.
    convolution : SampleBySample or Branches
        The class of what replaces each MoDE convolution.
    memory_format : torch.memory_format
        Of features and parameters: contiguous is how PyTorch makes tensors.
    """

    def __init__(
        self,
        net: RepModeUNet,
        convolution: type[SampleBySample] | type[Branches],
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        for block in self.net.blocks().values():
            block.add_module("conv", convolution(block.conv))
        self.memory_format = memory_format
        set_memory_format(self.net, memory_format)

    def forward(self, signal: Tensor, task_labels: Tensor | int) -> Tensor:
        """Predict from a signal (B, 1, Z, Y, X) whose sides divide."""
        groups = group_by_task(task_labels, len(signal), self.net.task_names)
        features = groups.sort(signal)
        return groups.unsort(
            run_unet(self.net.unet, features, self.memory_format, groups)
        )


def run_unet(
    unet: UNet3d,
    signal: Tensor,
    memory_format: torch.memory_format,
    groups: TaskGroups | None = None,
) -> Tensor:
    """Run a U-Net in a memory format of our choice, which its ``forward`` does not."""
    features, skips = unet.encode(
        signal.contiguous(memory_format=memory_format), groups
    )
    prediction: Tensor = unet.output(unet.decode(features, skips, groups), groups)
    return prediction


def set_memory_format(net: nn.Module, memory_format: torch.memory_format) -> None:
    """Store all convolution kernels in a memory format."""
    for parameter in net.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)

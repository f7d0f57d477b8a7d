"""How far what a written file predicts is from what the network predicts."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from continual_repmode.errors import UserError
from continual_repmode.models.deploy import OneTask
from continual_repmode.models.spatial import Size3
from continual_repmode.models.task_network import TaskNetwork

LIMIT = 1e-4
"""Largest deviation of a file that is kept, as a share of the largest prediction."""

_SEED = 20230618


class Deviation(NamedTuple):
    """The largest difference over all voxels of all checked volumes."""

    #: In z-scores.
    absolute: float
    #: As a share of the largest absolute value of the volume's prediction.
    relative: float


@torch.no_grad()
def measure_deviation(
    net: TaskNetwork, task: str, predict: Callable[[Tensor], Tensor], any_batch: bool
) -> Deviation:
    """Compare ``predict`` with the network, experts, gates and all.

    On random volumes of sizes that divide, that do not, and of fewer voxels than the
    network halves; where ``any_batch``, one volume and two at a time.

    ``net``: on the CPU, in evaluation mode.
    ``predict``: maps (B, C_in, Z, Y, X) to (B, C_out, Z, Y, X).
    ``any_batch``: whether ``predict`` takes batches.
    Raises UserError if the relative deviation exceeds :data:`LIMIT` for any of them.
    """
    reference = OneTask(net, task)
    generator = torch.Generator().manual_seed(_SEED)
    worst = Deviation(0.0, 0.0)
    shapes = list(checked_shapes(net.divisor, any_batch))
    for shape in tqdm(shapes, desc=f"checking {task}", leave=False, disable=None):
        batch, *sides = shape
        signal = torch.randn(batch, net.in_channels, *sides, generator=generator)
        expected = reference(signal)
        got = predict(signal)
        if got.shape != expected.shape:
            raise UserError(
                f"task {task!r}: the export of a volume {shape} has shape "
                f"{tuple(got.shape)}, the network's prediction {tuple(expected.shape)}"
            )
        difference = float((got - expected).abs().max())
        largest = float(expected.abs().max())
        relative = difference / largest if largest > 0 else difference
        if not relative <= LIMIT:  # also if it is not a number
            raise UserError(
                f"task {task!r}: the export of a volume {shape} differs from the "
                f"network by {relative:.1e} of the largest value, more than {LIMIT:g}; "
                "nothing was written"
            )
        worst = Deviation(
            max(worst.absolute, difference), max(worst.relative, relative)
        )
    return worst


def checked_shapes(
    divisor: Size3, any_batch: bool
) -> Iterator[tuple[int, int, int, int]]:
    """Yield the sizes (B, Z, Y, X) that every file is checked on."""
    z, y, x = divisor
    batch = 2 if any_batch else 1
    yield 1, z, 2 * y, 2 * x
    yield batch, z + 1, y + 3, 2 * x - 1
    yield 1, 1, max(1, y // 2), x + 1

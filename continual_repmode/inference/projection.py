"""From a predicted stack to the one plane that its target is.

Many collections have stacks of transmitted light but targets of a single plane: the
maximum over all planes, or the plane in best focus. The network predicts a stack all
the same; it is projected before it is compared with the target, and before it is
written.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from continual_repmode.volumes.volume_file import VolumeFile

Projection = Literal["max", "focus"]
"""``max``: the maximum along Z. ``focus``: the plane whose values vary most."""

PROJECTIONS: tuple[Projection, ...] = ("max", "focus")


def project(stack: Tensor, kind: Projection) -> Tensor:
    """Project stacks along Z.

    ``stack``: (B, C, Z, Y, X).
    Returns: (B, C, 1, Y, X); differentiable: gradients go to the voxels, or the plane,
        that were taken.
    """
    if kind == "max":
        return stack.amax(2, keepdim=True)
    spread = stack.detach().flatten(3).var(3, correction=0)
    plane = spread.argmax(2)[..., None, None, None]
    return stack.gather(2, plane.expand(-1, -1, 1, *stack.shape[3:]))


def projected_like(stack: Tensor, kind: Projection) -> Tensor:
    """Return the projection in every plane, so that the shape stays."""
    return project(stack, kind).expand_as(stack)


def project_answers(answers: Tensor, kind: Projection) -> Tensor:
    """Project a prediction (C, Z, Y, X) by its first channel, as :func:`project_files`.

    Returns: (C, 1, Y, X).
    """
    known = answers[:1].nan_to_num(-torch.inf)
    if kind == "max":
        place = known.argmax(1, keepdim=True)
    else:
        spreads = [
            plane[plane.isfinite()].var(correction=0).nan_to_num(-1)
            for plane in answers[0]
        ]
        place = torch.stack(spreads).argmax().expand(1, 1, *answers.shape[2:])
    return answers.gather(1, place.expand(len(answers), -1, -1, -1))


def project_files(
    stacks: Sequence[VolumeFile], planes: Sequence[VolumeFile], kind: Projection
) -> None:
    """Project a volume on disk, plane by plane; NaN counts for nothing.

    ``stacks``: the prediction, and volumes that are taken at the same places: its
        deviation.
    ``planes``: (1, Y, X); as many; made again.
    """
    num_z = stacks[0].shape[0]
    best = np.full(stacks[0].shape[1:], -np.inf, np.float32)
    taken = [np.full_like(best, np.nan) for _ in stacks]
    most = -1.0
    for z in range(num_z):
        found = [stack[z] for stack in stacks]
        known = np.isfinite(found[0])
        if kind == "max":
            better = known & (found[0] > best)
            best = np.where(better, found[0], best)
        else:
            spread = float(found[0][known].var()) if known.any() else -1.0
            better = np.full(best.shape, spread > most)
            most = max(most, spread)
        taken = [
            np.where(better, new, old) for new, old in zip(found, taken, strict=True)
        ]
    for plane, values in zip(planes, taken, strict=True):
        plane.create()
        plane[0] = values
        plane.settle()

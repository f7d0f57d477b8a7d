"""A patch, and how long to learn, proposed from the volumes and the machine.

As nnU-Net does (Isensee et al. 2021): as much context as fits. Patches grow, and each
is tried with a step of training, until the next would take more memory than there is,
more time than is good, or more than the smallest volume.
"""

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from continual_repmode.errors import UserError
from continual_repmode.files import format_bytes
from continual_repmode.measuring import peak_while, synchronize
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.volumes.volume import DEFAULT_WINDOW, Size3, memory_bytes

STEPS_PER_TASK = 600
"""Steps of training for each task; small networks had learned most by then."""
GOOD_S = 2 * 3600.0
"""A larger patch must not make the training longer than this."""
MOST_S = 24 * 3600.0
"""Where even the smallest patch takes longer, there are fewer epochs."""
_SHARES = ((0.25, 0.25), (0.5, 0.25), (0.5, 0.5), (1.0, 0.5), (1.0, 1.0))
"""Of the paper's patch (32, 128, 128): of its depth, and of its rows and columns."""
_VALIDATION = 4 / 3
"""Validations take at most a quarter of the time."""


@dataclass(frozen=True, slots=True)
class Learning:
    """What one experience has to learn from."""

    #: Learned at the same time, and their training images together.
    num_tasks: int
    num_images: int
    #: Of all images that are tested afterwards.
    test_voxels: int


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What is proposed."""

    #: Of training, and of prediction windows.
    patch_size: Size3
    #: Of each experience.
    epochs: tuple[int, ...]
    #: Of all training and testing.
    seconds: float
    #: At most; None where it cannot be measured.
    memory_bytes: int | None

    def __str__(self) -> str:
        patch = " x ".join(map(str, self.patch_size))
        epochs = ", ".join(map(str, self.epochs))
        memory = (
            "unknown" if self.memory_bytes is None else format_bytes(self.memory_bytes)
        )
        minutes = max(1, round(self.seconds / 60))
        hours = f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes} min"
        return (
            f"patches and windows of {patch}, {epochs} epochs: about {hours}, "
            f"memory {memory}"
        )


def plan_training(
    net: TaskNetwork,
    smallest: Size3,
    stream: Sequence[Learning],
    *,
    batch_size: int,
    device: torch.device,
    epochs: Sequence[int | None],
    patch_size: Size3 | None = None,
    depth: int | None = None,
    overlap: float = 0.5,
) -> TrainingPlan:
    """Propose a patch and epochs.

    ``net``: to be trained; it is not changed.
    ``smallest``: the sides (z, y, x) that every training volume has on the model grid.
    ``stream``: the experiences, in order.
    ``epochs``: of each experience where the user says it.
    ``patch_size``: where the user says it.
    ``depth``: planes that a patch must have, as targets are projections of all planes
        of a volume; volumes with fewer are padded.
    ``overlap``: of windows in tests.
    Raises UserError if no patch fits into the volumes or the memory.
    """
    limit = _memory_limit(device)
    found: tuple[Size3, float, int | None] | None = None
    wanted = _epochs(stream, batch_size, epochs)
    patches = (
        [patch_size] if patch_size else list(_patches(smallest, net.divisor, depth))
    )
    for patch in patches:
        if found is not None:
            growth = math.prod(patch) / math.prod(found[0])
            memory = (found[2] or 0) * growth
            seconds = _total(
                stream, wanted, batch_size, found[1] * growth, patch, overlap
            )
            if memory > limit or seconds > GOOD_S:
                break
        step_s, peak = measure_step(net, patch, batch_size, device)
        if (peak or 0) > limit:
            break
        seconds = _total(stream, wanted, batch_size, step_s, patch, overlap)
        if found is not None and seconds > GOOD_S:
            break
        found = patch, step_s, peak
    if found is None:
        raise UserError(
            f"plan=auto: a step of training with patches of {list(patches[0])} and "
            f"batches of {batch_size} takes more than the {format_bytes(limit)} of "
            "memory there are; choose a smaller batch or network"
        )
    patch, step_s, peak = found
    total = _total(stream, wanted, batch_size, step_s, patch, overlap)
    if total > MOST_S:
        wanted = tuple(
            said or max(1, int(count * MOST_S / total))
            for said, count in zip(epochs, wanted, strict=True)
        )
        total = _total(stream, wanted, batch_size, step_s, patch, overlap)
    return TrainingPlan(patch, wanted, total, peak)


def measure_step(
    net: TaskNetwork, patch: Size3, batch_size: int, device: torch.device
) -> tuple[float, int | None]:
    """Return the time (s) and the peak memory (bytes) of a step of training."""
    trained = copy.deepcopy(net).to(device).train().requires_grad_(True)
    optimizer = torch.optim.Adam(trained.parameters())
    light = torch.randn(batch_size, net.in_channels, *patch, device=device)
    labels = torch.arange(batch_size, device=device) % len(net.task_names)
    seconds = 0.0

    def steps() -> None:
        nonlocal seconds
        for _ in range(2):  # the first one sets things up
            started = time.perf_counter()
            optimizer.zero_grad()
            loss = (trained(light, labels) - light[:, : net.out_channels]).square()
            torch.autograd.backward(loss.mean())
            optimizer.step()
            synchronize()
            seconds = time.perf_counter() - started

    try:
        peak = peak_while(steps, device)
    except torch.OutOfMemoryError:
        return math.inf, 2**62
    return seconds, peak


def _patches(smallest: Size3, divisor: Size3, depth: int | None) -> Iterator[Size3]:
    """Yield patches that fit into all volumes, each larger than the one before."""
    before: Size3 | None = None
    for axis, room, part in zip("ZYX", smallest, divisor, strict=True):
        if room < part and not (axis == "Z" and depth):
            raise UserError(
                f"plan=auto: the smallest training volume has {room} voxels along "
                f"{axis}, fewer than the {part} that this network needs; leave it out, "
                "or set data.pad_small=true and data.patch_size"
            )
    for deep, wide in _SHARES:
        shares = (deep, wide, wide)
        z, y, x = (
            max(1, min(int(share * side), room) // part) * part
            for share, side, room, part in zip(
                shares, DEFAULT_WINDOW, smallest, divisor, strict=True
            )
        )
        patch = (depth or z, y, x)
        if patch != before:
            yield patch
        before = patch


def depth_of_projections(
    deepest: int, smallest: int, part: int, pad: bool
) -> int | None:
    """Return the planes of a patch that holds every stack that was projected.

    ``deepest``: planes of the deepest of these, on the model grid; 0, for which None is
        returned, if there are none.
    ``smallest``: planes of the smallest volume of all.
    ``part``: what the network needs a multiple of.
    ``pad``: smaller volumes are padded.
    Raises UserError if they would have to be, and are not.
    """
    if not deepest:
        return None
    depth = -(-deepest // part) * part
    if depth > smallest and not pad:
        raise UserError(
            f"plan=auto: targets are projections of up to {deepest} planes, so a patch "
            f"needs {depth}, and the smallest training volume has {smallest}: set "
            "data.pad_small=true (extend: --pad-small)"
        )
    return depth


def _epochs(
    stream: Sequence[Learning], batch_size: int, said: Sequence[int | None]
) -> tuple[int, ...]:
    return tuple(
        given
        or -(-STEPS_PER_TASK * each.num_tasks // -(-each.num_images // batch_size))
        for given, each in zip(said, stream, strict=True)
    )


def _total(
    stream: Sequence[Learning],
    epochs: Sequence[int],
    batch_size: int,
    step_s: float,
    patch: Size3,
    overlap: float,
) -> float:
    """Return the seconds of all training and testing.

    Forward passes are a third of a step; windows overlap along all axes.
    """
    voxel_s = step_s / 3 / batch_size / math.prod(patch)
    return sum(
        count * -(-each.num_images // batch_size) * step_s * _VALIDATION
        + each.test_voxels * voxel_s / (1 - overlap) ** 3
        for count, each in zip(epochs, stream, strict=True)
    )


def _memory_limit(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(0.9 * free)
    return memory_bytes() // 2

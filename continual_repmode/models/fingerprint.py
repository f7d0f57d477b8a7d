"""Digests that show, to the bit, whether a task of a network has changed."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from continual_repmode.models.spatial import Size3
from continual_repmode.models.task_network import TaskNetwork

_PROBE_SEED = 20230618
_SCHEME = "parts:"
"""Before a digest over those of tensors. Earlier ones, over all bytes, had none."""


@dataclass(frozen=True)
class TaskFingerprint:
    """What one task is made of and what it predicts, as digests."""

    #: Over the digests of all tensors that the task uses; comparable between machines.
    state_sha256: str
    #: Over the prediction for a fixed probe volume; comparable on one machine with the
    #: same device, library versions and number of threads.
    output_sha256: str


def fingerprint(
    net: TaskNetwork, task: str | int, probe_shape: Size3 | None = None
) -> TaskFingerprint:
    """Take the fingerprint of one task.

    The modes of the network's modules and the global random generators are left as they
    are. The prediction is made in evaluation mode on the network's device.

    Parameters
    ----------
    net : TaskNetwork
    task : str or int
        Name or label of the task.
    probe_shape : (int, int, int), optional
        Size (Z, Y, X) of the probe in voxels; twice the network's divisor by default.

    Raises
    ------
    UserError
        If the network does not know the task.
    """
    name = net.task_name(task)
    return TaskFingerprint(
        sha256_of_tasks(net, [name])[name],
        _sha256_of_output(net, _probe(net, probe_shape), name),
    )


def sha256_of_tasks(
    net: TaskNetwork, tasks: Iterable[str] | None = None
) -> dict[str, str]:
    """Return the SHA-256 of what each task is made of; tensors are read once.

    ``tasks``: all by default.
    """
    known: dict[object, tuple[Tensor, str]] = {}  # tensors live, so addresses tell

    def of(tensor: Tensor) -> str:
        place = tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
        if place not in known:
            known[place] = tensor, sha256_of_tensors({"": tensor})
        return known[place][1]

    def of_task(task: str) -> str:
        parts = sorted((n, of(t.detach())) for n, t in net.task_tensors(task).items())
        return _SCHEME + hashlib.sha256(repr(parts).encode()).hexdigest()

    return {n: of_task(n) for n in (net.task_names if tasks is None else tasks)}


def is_comparable(state_sha256: object) -> bool:
    """Tell whether a digest of a task was taken as :func:`sha256_of_tasks` does."""
    return str(state_sha256).startswith(_SCHEME)


def fingerprints(
    net: TaskNetwork, tasks: Iterable[str] | None = None
) -> dict[str, TaskFingerprint]:
    """Take the :func:`fingerprint` of several tasks, by default of all."""
    states = sha256_of_tasks(net, tasks)
    probe = _probe(net, None)
    return {
        task: TaskFingerprint(state, _sha256_of_output(net, probe, task))
        for task, state in states.items()
    }


def _probe(net: TaskNetwork, shape: Size3 | None) -> Tensor:
    """Return the probe volume, (1, C, Z, Y, X)."""
    if shape is None:
        z, y, x = net.divisor
        shape = (2 * z if z > 1 else 1, 2 * y, 2 * x)
    generator = torch.Generator().manual_seed(_PROBE_SEED)
    probe = torch.randn(1, net.in_channels, *shape, generator=generator)
    return probe.to(next(net.parameters()))


def _sha256_of_output(net: TaskNetwork, probe: Tensor, task: str) -> str:
    prediction = _predict(net, probe, net.task_label(task))
    return sha256_of_tensors({"prediction": prediction})


def _predict(net: TaskNetwork, probe: Tensor, label: int) -> Tensor:
    modes = [(module, module.training) for module in net.modules()]
    cudnn = torch.backends.cudnn
    try:
        net.eval()
        with (
            torch.no_grad(),
            cudnn.flags(
                enabled=cudnn.enabled,
                benchmark=False,
                deterministic=True,
                allow_tf32=cudnn.allow_tf32,
            ),
        ):
            prediction: Tensor = net(probe, label)
            return prediction
    finally:
        net.train()  # forgets the kernels that were merged for the probe
        for module, mode in modes:
            module.training = mode


def sha256_of_tensors(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of names, dtypes, shapes and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        raw = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(raw.numpy().data)
    return digest.hexdigest()

"""Several processes that train one network together, as ``torchrun`` starts them.

Every process draws the same batches and takes its share of each. Statistics of batch
normalization and gradients are summed over all, so N processes do what one would do, up
to the rounding of sums. This is PyTorch's data-parallel training, but not its wrapper
``DistributedDataParallel``: networks grow between experiences, some strategies pass a
network twice in a step, and parts that no process has used must get no gradient.

Alone, that is without ``torchrun``, every function here does nothing, or returns what
it was given.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.nn import Parameter

from continual_repmode.errors import UserError
from continual_repmode.processes import started_by_torchrun

T = TypeVar("T")

_LONGEST_WAIT = timedelta(days=2)
"""For the first process to prepare volumes. A lost process is noticed by torchrun."""
_PATIENCE_S = 40
"""For torchrun to end this process because of an error that another tells."""
_BUCKET = 2**24
"""Numbers that are summed in one message, at most."""

_host: Any = None
"""The processes, talking through main memory: plain objects, labels, flags."""


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that ``torchrun`` has started, until the end of the block.

    They talk by Gloo, and about tensors on CUDA devices by NCCL. Each takes the CUDA
    device of its number on the machine.

    Raises UserError if there are fewer CUDA devices than processes on this machine.
    """
    global _host
    if not started_by_torchrun():
        yield
        return
    devices, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
    if devices and local >= devices:
        raise UserError(
            f"torchrun has started process {local + 1} of this machine, which has "
            f"{devices} CUDA devices: give --nproc-per-node {devices}, or hide them "
            "with CUDA_VISIBLE_DEVICES= to train on the CPU"
        )
    if devices:
        torch.cuda.set_device(local)
    backend = "cpu:gloo,cuda:nccl" if devices else "gloo"
    dist.init_process_group(
        backend,
        store=_meeting_place(),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=_LONGEST_WAIT,
    )
    _host = dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)
    try:
        yield
    finally:
        _host = None
        dist.destroy_process_group()


def _meeting_place() -> Store:
    """Return where the processes meet, when all have come.

    They wait here, in Python, where a signal ends that; PyTorch's own wait hears none.
    """
    number, own = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    is_there = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(  # type: ignore[attr-defined] # exported at run time only
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        number,
        own == 0 and not is_there,
        _LONGEST_WAIT,
        wait_for_workers=False,
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    place = PrefixStore(f"attempt {attempt}", store)
    place.add("arrived", 1)
    while place.add("arrived", 0) < number:
        time.sleep(0.02)
    return place


@contextmanager
def errors_told_once() -> Iterator[None]:
    """Let the process that has a fault tell it, and not all that lose it or share it.

    torchrun ends all processes as soon as one has failed. So the others wait for that.

    Raises UserError: what was raised in the block, or that another process has ended.
    """
    try:
        yield
    except UserError:
        let_first_tell()
        raise
    except RuntimeError as error:
        if world() == 1 or "gloo" not in str(error):
            raise
        time.sleep(_PATIENCE_S)
        raise UserError(
            "another of the processes that train together has ended; what it said, or "
            "the system's log, tells why"
        ) from error


def let_first_tell() -> None:
    """Wait, unless this is the first process, to be ended before telling an error."""
    if not is_first():
        time.sleep(_PATIENCE_S)


def world() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if _host is not None else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if _host is not None else 0


def is_first() -> bool:
    """Tell whether this process writes files and reports."""
    return rank() == 0


def share(items: Sequence[T]) -> Sequence[T]:
    """Return every ``world()``-th item, from the ``rank()``-th on."""
    return items[rank() :: world()]


def gathered(value: T) -> list[T]:
    """Return the values that all processes give, in the order of their numbers."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, value, group=_host)
    return found


def in_turn(own: Sequence[T]) -> list[T]:
    """Join what the processes made of their shares, in the order of the items."""
    shares = gathered(list(own))
    longest = max(map(len, shares))
    return [part[i] for i in range(longest) for part in shares if i < len(part)]


def of_first(value: T) -> T:
    """Return the value that the first process gives."""
    if world() == 1:
        return value
    found: list[Any] = [value]
    dist.broadcast_object_list(found, src=0, group=_host)
    first: T = found[0]
    return first


@contextmanager
def first_before_others() -> Iterator[None]:
    """Let the first process do the block, then the others: they find what it made."""
    if not is_first():
        gathered(None)
    yield
    if is_first():
        gathered(None)


def equal_everywhere(value: T) -> int | None:
    """Return the number of a process with another value than the first, or None."""
    values = gathered(value)
    return next((i for i, other in enumerate(values) if other != values[0]), None)


@torch.no_grad()
def copy_from_first(net: nn.Module) -> None:
    """Give parameters and buffers the values that they have in the first process."""
    if world() == 1:
        return
    for tensor in net.state_dict().values():
        sent = tensor.contiguous()
        dist.broadcast(sent, src=0)
        tensor.copy_(sent)


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes."""
    if world() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def part_of_batch(count: Tensor, rows: int) -> Tensor:
    """Return the share of some rows in a count over the batch of all processes.

    It is the count that they would have if it were the same in all rows. Who divides by
    it, instead of by a count of its own, divides alike in all processes.

    ``count``: over the rows that this process has, ``rows`` of them.
    """
    if world() == 1:
        return count
    whole, all_rows = sum_over_processes(torch.stack([count, count.new_tensor(rows)]))
    share: Tensor = whole * rows / all_rows
    return share


@contextmanager
def apart() -> Iterator[None]:
    """Let this process do the block for itself, as if there were no other."""
    global _host
    host, _host = _host, None
    try:
        yield
    finally:
        _host = host


def gather_rows(row: Tensor) -> Tensor:
    """Return the vectors of all processes, shape (N, length)."""
    rows = [torch.empty_like(row) for _ in range(world())]
    dist.all_gather(rows, row)
    return torch.stack(rows)


def labels_everywhere(labels: Iterable[int]) -> set[int]:
    """Return the task labels that the batch of any process has."""
    own = set(labels)
    return own.union(*gathered(own)) if world() > 1 else own


@torch.no_grad()
def sum_gradients(parameters: Iterable[Parameter], stop: bool = False) -> bool:
    """Sum the gradients over all processes, and agree whether to stop.

    A parameter that some process has used gets a gradient in all of them. One that none
    has used gets none, so that no optimizer moves it.

    ``parameters``: in the same order in all processes.
    ``stop``: this process has been told to stop.
    Returns: whether any process has. Then there are no sums.
    """
    if world() == 1:
        return stop
    trained = [p for p in parameters if p.requires_grad]
    told = [stop, *(p.grad is not None for p in trained)]
    agreed = torch.tensor(told, dtype=torch.uint8)
    dist.all_reduce(agreed, dist.ReduceOp.MAX, group=_host)
    stop, *used = map(bool, agreed.tolist())
    if stop:
        return True
    bucket: list[Tensor] = []
    for parameter, is_used in zip(trained, used, strict=True):
        if not is_used:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if bucket and sum(g.numel() for g in bucket) + parameter.numel() > _BUCKET:
            _sum(bucket)
            bucket = []
        bucket.append(parameter.grad)
    if bucket:
        _sum(bucket)
    return False


def _sum(gradients: list[Tensor]) -> None:
    """Sum tensors in place, in one message."""
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))

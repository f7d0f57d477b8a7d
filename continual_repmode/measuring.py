"""How much memory work takes, measured in a fresh process, and on which machine."""

import ctypes
import gc
import os
import platform
import re
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import torch

from continual_repmode.processes import end_with_parent, fresh_processes


def cuda_in_use() -> bool:
    """Tell whether this process has used a CUDA device."""
    used: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch
    return used


def synchronize() -> None:
    """Wait until the CUDA device, if one is in use, has done everything asked of it."""
    if cuda_in_use():
        torch.cuda.synchronize()


def peak_memory(
    prepare: Callable[..., Callable[[], object]], *arguments: object
) -> int | None:
    """Return the peak memory in bytes of one call of what ``prepare`` returns.

    Where CUDA is in use, that is the most that tensors take on the device, less what
    they take before. Otherwise it is the largest resident size of a fresh process, less
    its resident size once everything is imported. What was prepared counts, such as a
    network; what was needed to prepare it does not.

    ``prepare``: at the top level of a module: the process imports it by name.
    Returns: None where the system does not report it (it must be Linux), or if it ended
        the process for taking too much.
    Raises RuntimeError if the work itself fails in the fresh process.
    """
    if cuda_in_use():
        return _peak_on_device(prepare, arguments)
    context = fresh_processes()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_peak, args=(sender, prepare, arguments))
    process.start()
    sender.close()
    try:
        answer: int | str | None = receiver.recv()
    except EOFError:
        answer = None
    process.join()
    if isinstance(answer, str):
        raise RuntimeError(f"{prepare.__name__}{arguments}: {answer}")
    if process.exitcode:
        told = f"{prepare.__name__}{arguments}: ended with {process.exitcode}"
        print(told, file=sys.stderr)
    return answer


def peak_while(work: Callable[[], object], device: torch.device) -> int | None:
    """Return the most memory in bytes that this process has while some work is done.

    On a CUDA device, the most that tensors take there. What was in memory before counts
    too. None where the peak cannot be measured: of a process, only Linux reports it.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device)
    measurable = _reset_peak()
    work()
    return peak_resident_bytes() if measurable else None


def resident_bytes() -> int:
    """Return the memory that this process has now."""
    resident: int = psutil.Process().memory_info().rss
    return resident


def peak_resident_bytes() -> int | None:
    """Return the most memory that this process has had; None where not on Linux.

    Unlike ``ru_maxrss`` it does not include the process that this one was started by.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return None if found is None else int(found[1]) * 1024


def describe_machine(device: torch.device) -> dict[str, str]:
    """Return processor, cores, memory, and the CUDA device if one is used."""
    machine = {
        "processor": _processor(),
        "cores": f"{os.cpu_count()}, {torch.get_num_threads()} threads used",
        "system": f"{platform.system()} {platform.machine()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        machine["card"] = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
    else:
        machine["instructions"] = torch.backends.cpu.get_cpu_capability()
    return machine


def _processor() -> str:
    """Return the name of the processor, in full where Linux tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _peak_on_device(
    prepare: Callable[..., Callable[[], object]], arguments: tuple[object, ...]
) -> int:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    run = prepare(*arguments)
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() - before


def _send_peak(
    sender: Connection,
    prepare: Callable[..., Callable[[], object]],
    arguments: tuple[object, ...],
) -> None:
    end_with_parent()
    try:
        _load_libraries()
        before = resident_bytes()
        run = prepare(*arguments)
        told = _forget_peak()
        run()
        after = peak_resident_bytes()
        if after is None or not told:
            sender.send(None)
        else:
            sender.send(after - before)
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")


def _load_libraries() -> None:
    """Train something tiny: much is imported, or set up, when it is first used."""
    net = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.BatchNorm3d(2))
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    for _ in range(2):
        torch.autograd.backward(net(torch.ones(1, 1, 4, 4, 4)).square().mean())
        optimizer.step()


def _forget_peak() -> bool:
    """Give freed memory back, and let the kernel restart the peak if it can."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    return _reset_peak()


def _reset_peak() -> bool:
    """Reset the peak to the present memory; return whether the kernel allows it."""
    try:
        Path("/proc/self/clear_refs").write_bytes(b"5")
    except OSError:
        return False
    return True

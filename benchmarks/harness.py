"""How things are measured: in turn within one run, memory in a fresh process each."""

import ctypes
import gc
import platform
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from tqdm import tqdm

from benchmarks.records import Comparison, Spread

Name = TypeVar("Name")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Settings:
    """What the command line chose.

    Attributes
    ----------
    device : torch.device
    rounds : int or None
        None leaves it to each section.
    quick : bool
        Sizes that only show that everything runs.
    gigabytes : float
        Of prepared volumes to read patches from.
    folder : Path
        Where these volumes are kept from run to run.
    """

    device: torch.device
    rounds: int | None
    quick: bool
    gigabytes: float
    folder: Path

    def rounds_or(self, usual: int) -> int:
        """Return how often each case is measured, ``usual`` unless chosen."""
        return self.rounds or (1 if self.quick else usual)

    @property
    def on_cpu(self) -> bool:
        return self.device.type == "cpu"


@dataclass
class Timed(Generic[Result]):
    """Seconds of each round of one case, and what it returned."""

    seconds: list[float] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)

    @property
    def spread(self) -> Spread:
        return Spread.of(self.seconds)

    def over(
        self, other: "Timed[Any]", name: str, at_most: float | None = None
    ) -> Comparison:
        """Compare the time with that of another case of the same run."""
        ratio = Spread.ratio(self.seconds, other.seconds)
        return Comparison(f"time over {name}", ratio, at_most=at_most)


def alternate(
    cases: Mapping[Name, Callable[[], Result]],
    rounds: int,
    doing: str,
    *,
    warm_up: int = 1,
    repeats: int = 1,
    once: Collection[Name] = (),
) -> dict[Name, Timed[Result]]:
    """Time cases in turn, every second round backwards.

    Parameters
    ----------
    cases : mapping of name to callable
    rounds : int
        Times each case is measured.
    doing : str
        Stands beside the progress bar.
    warm_up : int
        Untimed rounds before.
    repeats : int
        Calls per measurement, which is their mean.
    once : collection of name
        Cases so slow that they are measured in the first round only, cold.
    """
    timed: dict[Name, Timed[Result]] = {name: Timed() for name in cases}
    runs = [
        (index, name)
        for index in range(-warm_up, rounds)
        for name in list(cases)[:: -1 if index % 2 else 1]
        if index == 0 or name not in once
    ]
    with tqdm(runs, desc=doing, unit="run") as bar:
        for index, name in bar:
            bar.set_postfix_str(str(name))
            seconds, result = _measure(cases[name], repeats)
            if index >= 0:
                timed[name].seconds.append(seconds)
                timed[name].results.append(result)
    return timed


def _measure(run: Callable[[], Result], repeats: int) -> tuple[float, Result]:
    synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        result = run()
    synchronize()
    return (time.perf_counter() - began) / repeats, result


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

    Parameters
    ----------
    prepare : callable
        At the top level of a module: the process imports it by name.
    *arguments : object

    Returns
    -------
    int or None
        None where the system does not tell (it must be Linux), or if it ended the
        process for taking too much.
    """
    if cuda_in_use():
        return _peak_on_device(prepare, arguments)
    context = get_context("spawn")
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
        tqdm.write(f"{prepare.__name__}{arguments}: ended with {process.exitcode}")
    return answer


def memory_over(
    above: int | None, below: int | None, name: str, at_most: float | None = None
) -> list[Comparison]:
    """Compare two peaks, if both are known."""
    if not above or not below:
        return []
    ratio = Spread.of([above / below])
    return [Comparison(f"memory over {name}", ratio, at_most=at_most)]


def resident_bytes(entry: str) -> int | None:
    """Return an entry of what Linux says of this process, ``VmRSS`` or ``VmHWM``.

    The latter is the peak; unlike ``ru_maxrss`` it does not include the process that
    this one was started by.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    for line in status.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == entry:
            return int(value.split()[0]) * 1024
    return None


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
    try:
        _load_libraries()
        before = resident_bytes("VmRSS")
        run = prepare(*arguments)
        told = _forget_peak()
        run()
        after = resident_bytes("VmHWM")
        if before is None or after is None or not told:
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
    """Give freed memory back, and let the kernel start the peak anew if it can."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True

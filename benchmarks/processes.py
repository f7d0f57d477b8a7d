"""A training step that several processes share, against the same step in one."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.harness import Settings, Timed
from benchmarks.records import Comparison, Measurement, Spread
from benchmarks.steps import BATCH_SIZE, Case
from benchmarks.training import choose_case
from continual_repmode import distributed
from continual_repmode.models import shared_norm, task_groups
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.tasks import TASKS

NUMBER = 2
_STEPS = 3
_TALKING = {
    distributed: ("sum_gradients",),
    shared_norm: ("gather_rows", "sum_over_processes"),
    task_groups: ("labels_everywhere",),
}
"""Where processes wait for each other."""


def measure(settings: Settings) -> list[Measurement]:
    """Measure RepMode with one thread per process, at the same batch of all."""
    rows = []
    for width in (8,) if settings.quick else (8, 16):
        case = choose_case(width, settings)
        seconds: dict[int, Timed[float]] = {1: Timed(), NUMBER: Timed()}
        for _ in range(settings.rounds_or(3)):
            for number, timed in seconds.items():
                step_s, talking_s = _step(number, case, settings)
                timed.seconds.append(step_s)
                timed.results.append(talking_s / step_s)
        together = seconds[NUMBER]
        target = 0.65 if settings.on_cpu and not settings.quick else None
        for number, timed in seconds.items():
            compared: tuple[Comparison, ...] = ()
            if number == NUMBER:
                talking = Spread.of(together.results)
                compared = (
                    timed.over(seconds[1], "one process", target),
                    Comparison("share of exchange and waiting", talking),
                )
            rows.append(
                Measurement(
                    f"{case}, batch {BATCH_SIZE} of all, one thread per process",
                    f"{number} process" + "es" * (number > 1),
                    timed.spread,
                    "s",
                    comparisons=compared,
                )
            )
    return rows


def _step(number: int, case: Case, settings: Settings) -> tuple[float, float]:
    """Return the seconds of a step of so many processes, and those of exchange."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A task may have one patch in the batch, and 16 voxels at the depth of the paper.
    depth = 2 if settings.quick else case.depth
    words = [case.width, depth, *case.patch, settings.device.type]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.processes", *map(str, words)],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "WORLD_SIZE": str(number),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(number)
    ]
    told = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError("a process that should share a step has failed")
    step_s, talking_s = json.loads(told[0])
    return step_s, talking_s


def take_steps(width: int, depth: int, *patch: int, device: str) -> tuple[float, float]:
    """Take steps on this process' share of a batch; return as :func:`_step`."""
    talking = _watch_talking()
    torch.manual_seed(0)
    with distributed.joined():
        net = RepModeUNet(TASKS, width, depth, private_bn=True).to(device).train()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)
        batch = torch.randn(2, BATCH_SIZE, 1, *patch).to(device)
        labels = torch.randint(len(TASKS), (BATCH_SIZE,))
        rows = list(distributed.share(range(BATCH_SIZE)))
        signal, target = batch[:, rows]
        seconds = []
        for _ in range(1 + _STEPS):
            began = time.perf_counter()
            loss = F.mse_loss(net(signal, labels[rows]), target)
            torch.autograd.backward(loss * (len(rows) / BATCH_SIZE))
            distributed.sum_gradients(net.parameters())
            optimizer.step()
            optimizer.zero_grad()
            seconds.append(time.perf_counter() - began)
            if len(seconds) == 1:
                talking.clear()
    return sum(seconds[1:]) / _STEPS, sum(talking) / _STEPS


def _watch_talking() -> list[float]:
    """Time all calls in which processes wait for each other."""
    talking: list[float] = []

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            result = function(*arguments)
            talking.append(time.perf_counter() - began)
            return result

        return call

    for module, names in _TALKING.items():
        for name in names:
            setattr(module, name, timed(getattr(module, name)))
    return talking


if __name__ == "__main__":
    width, depth, *sides, where = sys.argv[1:]
    steps = take_steps(int(width), int(depth), *map(int, sides), device=where)
    print(json.dumps(steps))

"""Twelve structures from one image against one."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor

from benchmarks.harness import Settings, alternate, memory_over
from benchmarks.networks import (
    VolumeCase,
    build_calibrated,
    light_volume,
    with_autocast,
)
from benchmarks.prediction import SMALL, choose_case
from benchmarks.records import Measurement
from continual_repmode.inference.tiled import predict_volume
from continual_repmode.measuring import peak_memory
from continual_repmode.models.reparameterize import MergedTasks
from continual_repmode.tasks import TASKS

ONE, ALL = "one structure", "twelve structures"
_TASKS = {ONE: TASKS[:1], ALL: TASKS}


def measure(settings: Settings) -> list[Measurement]:
    """Measure a volume of two windows on a CPU, a whole one on a card."""
    usual = choose_case(settings)
    large = settings.on_cpu and not settings.quick
    case = replace(usual, shape=(32, 128, 192)) if large else usual
    for what in _TASKS:
        build_prediction(what, replace(case, shape=SMALL))()
    timed = alternate(
        {what: build_prediction(what, case) for what in _TASKS},
        settings.rounds_or(2),
        f"structures, {case}",
        warm_up=0 if settings.on_cpu else 1,
    )
    memory = {what: peak_memory(build_prediction, what, case) for what in _TASKS}
    target = None if settings.quick else float(len(TASKS))
    return [
        Measurement(
            str(case),
            what,
            timed[what].spread,
            "s",
            memory[what],
            (
                timed[ALL].over(timed[ONE], ONE, target),
                *memory_over(memory[ALL], memory[ONE], ONE),
            )
            if what == ALL
            else (),
        )
        for what in _TASKS
    ]


def build_prediction(what: str, case: VolumeCase) -> Callable[[], Tensor]:
    """Build the networks; return what predicts the structures, shape (K, Z, Y, X)."""
    net = build_calibrated(case.width, case.device)
    volume = light_volume(case.shape).to(case.device)
    merged = MergedTasks(net, _TASKS[what])
    return partial(predict_volume, with_autocast(merged, case.device), volume)

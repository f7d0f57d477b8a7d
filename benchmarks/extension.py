"""A step on a new task: only what it adds is trained, or everything."""

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.harness import Settings, alternate, memory_over
from benchmarks.records import Comparison, Measurement, Spread
from benchmarks.steps import BATCH_SIZE, Case, TrainingStep, autocast_of
from benchmarks.training import choose_case
from continual_repmode.measuring import peak_memory
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.tasks import TASKS

NEW = "new parameters only"
FULL = "full fine-tuning"


def measure(settings: Settings) -> list[Measurement]:
    """Measure a network of eleven tasks that learns the twelfth."""
    return [
        row
        for width in ((8,) if settings.quick else (8, 16))
        for row in _measure(choose_case(width, settings), settings)
    ]


def _measure(case: Case, settings: Settings) -> list[Measurement]:
    device = settings.device
    steps = {what: build_step(what, case, device) for what in (NEW, FULL)}
    labels = _labels(device)
    timed = alternate(
        {what: partial(step, labels) for what, step in steps.items()},
        settings.rounds_or(3),
        f"extension, {case}",
        warm_up=1 if settings.on_cpu else 3,
        repeats=1 if settings.on_cpu else 5,
    )
    memory = {what: peak_memory(prepare_step, what, case, device) for what in steps}
    state = {what: step.optimizer_bytes() for what, step in steps.items()}
    target = 0.75 if settings.on_cpu and not settings.quick else None
    compared = (
        timed[NEW].over(timed[FULL], FULL, target),
        *memory_over(memory[NEW], memory[FULL], FULL),
        Comparison(
            f"optimizer state over {FULL}", Spread.of([state[NEW] / state[FULL]])
        ),
    )
    return [
        Measurement(
            f"{case}, one new task after eleven",
            what,
            timed[what].spread,
            "s",
            memory[what],
            compared if what == NEW else (),
            f"optimizer state {state[what] / 1e6:.3g} MB",
        )
        for what in steps
    ]


def build_step(what: str, case: Case, device: torch.device) -> TrainingStep:
    """Build a network of eleven tasks, extended by a twelfth, and what trains it."""
    torch.manual_seed(0)
    net = RepModeUNet(TASKS[:-1], case.width, case.depth)
    net.add_task(TASKS[-1], freeze=what == NEW)
    net.to(device).train()
    trained = [p for p in net.parameters() if p.requires_grad]
    return TrainingStep(net, trained, case.patch, device, autocast_of(device))


def prepare_step(what: str, case: Case, device: torch.device) -> Callable[[], None]:
    """Return a step as if in the middle of training."""
    step = build_step(what, case, device)
    step.fill_optimizer_state()
    return partial(step, _labels(device))


def _labels(device: torch.device) -> torch.Tensor:
    return torch.full((BATCH_SIZE,), len(TASKS) - 1, device=device)

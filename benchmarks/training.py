"""Training steps: ours, the published way, a plain mixture of experts, the limit."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.harness import Settings, Timed, alternate, memory_over
from benchmarks.peers import (
    Branches,
    PeerNet,
    SampleBySample,
    run_unet,
    set_memory_format,
)
from benchmarks.records import Comparison, Measurement
from benchmarks.steps import Case, TrainingStep, autocast_of
from continual_repmode.measuring import peak_memory
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.models.unet3d import UNet3d
from continual_repmode.tasks import TASKS

OURS = "RepMode here"
SAMPLES = "merged sample by sample"
BRANCHES = "experts as branches"
PLAIN = "plain 5x5x5 U-Net"
CONTIGUOUS = "plain 5x5x5 U-Net, contiguous"
PEERS = (OURS, SAMPLES, BRANCHES, PLAIN, CONTIGUOUS)

_FORMATS = {PLAIN: torch.channels_last_3d, CONTIGUOUS: torch.contiguous_format}

EIGHT, ANY = "eight tasks", "any tasks"
BATCHES = {
    EIGHT: (3, 0, 7, 1, 6, 2, 5, 4),
    "three tasks": (0, 1, 2, 0, 1, 2, 0, 1),
    "one task": (0,) * 8,
}
"""Task labels of a batch."""


@dataclass(frozen=True)
class Run:
    """A peer and the batch that it trains on."""

    peer: str
    batch: str

    def __str__(self) -> str:
        return f"{self.peer}, {self.batch}"


def measure(width: int, settings: Settings) -> list[Measurement]:
    """Measure all peers at one width."""
    case = choose_case(width, settings)
    device = settings.device
    steps = {peer: build_step(peer, case, device) for peer in PEERS}
    runs = list(_runs(case, settings))
    timed = alternate(
        {run: partial(steps[run.peer], labels_of(run.batch, device)) for run in runs},
        settings.rounds_or(2 if width == 32 and settings.on_cpu else 3),
        f"training, {case}",
        warm_up=1 if settings.on_cpu else 3,
        repeats=1 if settings.on_cpu else 5,
        once=[
            run
            for run in runs
            if run.peer == CONTIGUOUS or _is_very_slow(run.peer, case, settings)
        ],
    )
    del steps
    memory = {run: peak_memory(prepare_step, run, case, device) for run in runs}
    limit = min(
        (run for run in runs if run.peer in (PLAIN, CONTIGUOUS)),
        key=lambda run: timed[run].spread.median,
    )
    return [
        Measurement(
            f"{case}, {run.batch}",
            run.peer,
            timed[run].spread,
            "s",
            memory[run],
            tuple(_compare(run, limit, case, settings, timed, memory)),
            _note(run, limit, settings),
        )
        for run in runs
    ]


def choose_case(width: int, settings: Settings) -> Case:
    """Return the patches for a width: what two cores, or a card, can train on."""
    if settings.quick:
        return Case(2, (16, 16, 16))
    if width == 32:
        return Case(32, (16, 16, 16) if settings.on_cpu else (32, 128, 128))
    return Case(width, {8: (16, 64, 64), 16: (16, 32, 32)}[width])


def build_step(peer: str, case: Case, device: torch.device) -> TrainingStep:
    """Build the network of a peer on the device, and what trains it."""
    torch.manual_seed(0)
    autocast = autocast_of(device)
    if peer in (PLAIN, CONTIGUOUS):
        unet = UNet3d(case.width, case.depth).to(device)
        memory_format = _FORMATS[peer]
        set_memory_format(unet, memory_format)
        forward = partial(_run_plain, unet, memory_format)
        return TrainingStep(forward, unet.parameters(), case.patch, device, autocast)
    net = RepModeUNet(TASKS, case.width, case.depth).to(device)
    if peer == OURS:
        return TrainingStep(net, net.parameters(), case.patch, device, autocast)
    other = PeerNet(net, SampleBySample if peer == SAMPLES else Branches)
    if peer == SAMPLES and device.type == "cuda":
        autocast = torch.float16  # as published
    return TrainingStep(other, other.parameters(), case.patch, device, autocast)


def prepare_step(run: Run, case: Case, device: torch.device) -> Callable[[], None]:
    """Return a step as if in the middle of training."""
    step = build_step(run.peer, case, device)
    step.fill_optimizer_state()
    return partial(step, labels_of(run.batch, device))


def labels_of(batch: str, device: torch.device) -> Tensor:
    """Return the task labels of a batch, shape (8,)."""
    return torch.tensor(BATCHES.get(batch, BATCHES[EIGHT]), device=device)


def _run_plain(
    unet: UNet3d, memory_format: torch.memory_format, signal: Tensor, labels: Tensor
) -> Tensor:
    del labels
    return run_unet(unet, signal, memory_format)


def _runs(case: Case, settings: Settings) -> Iterator[Run]:
    """Go through what is measured; the tasks do not matter to every peer."""
    for batch in BATCHES:
        yield Run(OURS, batch)
        if batch == EIGHT or not _is_very_slow(SAMPLES, case, settings):
            yield Run(SAMPLES, batch)
    yield from (Run(peer, ANY) for peer in (BRANCHES, PLAIN, CONTIGUOUS))


def _is_very_slow(peer: str, case: Case, settings: Settings) -> bool:
    """Tell whether a step takes a minute or more on two cores."""
    return peer == SAMPLES and case.width == 32 and settings.on_cpu


def _compare(
    run: Run,
    limit: Run,
    case: Case,
    settings: Settings,
    timed: Mapping[Run, Timed[None]],
    memory: Mapping[Run, int | None],
) -> Iterator[Comparison]:
    """Compare ours with everything, and everything with the limit."""
    targets = _targets(run, case, settings)
    peers = (PLAIN, SAMPLES, BRANCHES) if run.peer == OURS else (PLAIN,)
    for peer in peers:
        other = limit if peer == PLAIN else Run(peer, run.batch)
        if other not in timed:
            other = Run(peer, EIGHT if peer == SAMPLES else ANY)
        if other != run:
            at_most = targets.get(peer, {})
            yield timed[run].over(timed[other], peer, at_most.get("time"))
            yield from memory_over(
                memory[run], memory[other], peer, at_most.get("memory")
            )


def _targets(run: Run, case: Case, settings: Settings) -> dict[str, dict[str, float]]:
    """Return the most that ours should take, in times of a peer's time and memory."""
    if run.peer != OURS or settings.quick:
        return {}
    if not settings.on_cpu:
        return {SAMPLES: {"time": 1 / 2}}
    targets = {SAMPLES: {"time": 1 / 2.5 if case.width == 16 else 1.0}}
    time = {"one task": 1.10, EIGHT: 1.25}.get(run.batch)
    if time is not None and case.width in (8, 16):
        targets[PLAIN] = {"time": time, "memory": 1.2}
    return targets


def _note(run: Run, limit: Run, settings: Settings) -> str:
    notes = ["the limit"] if run == limit else []
    if not settings.on_cpu:
        half = "fp16 and loss scaling" if run.peer == SAMPLES else "bf16"
        notes.append(f"autocast {half}")
    return "; ".join(notes)

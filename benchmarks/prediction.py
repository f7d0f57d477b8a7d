"""Prediction of a volume: ours, the paper's scheme, MONAI's."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor

from benchmarks.harness import Settings, Timed, alternate, memory_over
from benchmarks.networks import (
    TASK,
    VolumeCase,
    build_calibrated,
    compare_results,
    light_volume,
    with_autocast,
)
from benchmarks.peers import PeerNet, SampleBySample
from benchmarks.records import Comparison, Measurement
from continual_repmode.inference.tiled import predict_volume
from continual_repmode.inference.windows import DEFAULT_OVERLAP, FAST_OVERLAP
from continual_repmode.measuring import peak_memory
from continual_repmode.models.reparameterize import reparameterize
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.volumes.volume import DEFAULT_WINDOW

SMALL = (16, 32, 32)

OURS = "predictor here, with the fast overlap"
PAPER = "the paper's scheme"
MONAI = "MONAI sliding_window_inference"

Prepare = Callable[[VolumeCase], Callable[[], Tensor]]
"""Builds a network and returns what predicts the volume, shape (Z, Y, X)."""


def measure(settings: Settings) -> list[Measurement]:
    """Measure one structure of a volume, in all ways that are installed."""
    case, ways = choose_case(settings), find_ways()
    for prepare in ways.values():
        prepare(replace(case, shape=SMALL))()  # whatever happens on first use
    timed = alternate(
        {way: prepare(case) for way, prepare in ways.items()},
        settings.rounds_or(2 if settings.on_cpu else 3),
        f"prediction, {case}",
        warm_up=0 if settings.on_cpu else 1,
    )
    memory = {way: peak_memory(prepare, case) for way, prepare in ways.items()}
    rows = [
        Measurement(
            f"{case}, one task",
            way,
            timed[way].spread,
            "s",
            memory[way],
            tuple(_compare(way, timed, memory, settings)),
            _note(way, settings),
        )
        for way in ways
    ]
    if MONAI not in ways:
        note = "not installed: pip install monai"
        rows.append(Measurement(f"{case}, one task", MONAI, None, "s", note=note))
    return rows


def choose_case(settings: Settings) -> VolumeCase:
    """Return the network and the volume for a device."""
    if settings.quick:
        return VolumeCase(2, (16, 16, 144), settings.device)
    return VolumeCase(8 if settings.on_cpu else 32, (65, 232, 344), settings.device)


def find_ways() -> dict[str, Prepare]:
    """Return what can be measured here."""
    ways: dict[str, Prepare] = {OURS: prepare_ours, PAPER: prepare_paper}
    try:
        from benchmarks.monai_windows import prepare_monai
    except ImportError:
        return ways
    return ways | {MONAI: prepare_monai}


def prepare_ours(case: VolumeCase) -> Callable[[], Tensor]:
    """Prepare our way."""
    net = build_calibrated(case.width, case.device)
    return partial(predict_ours, net, light_volume(case.shape).to(case.device))


def predict_ours(net: RepModeUNet, volume: Tensor) -> Tensor:
    """Merge the experts of a task, then predict windows that overlap less."""
    plain = reparameterize(net, TASK)
    return predict_volume(
        with_autocast(plain, volume.device), volume, overlap=FAST_OVERLAP
    )


def prepare_paper(case: VolumeCase) -> Callable[[], Tensor]:
    """Prepare the paper's way: nothing is merged before, or kept."""
    net = build_calibrated(case.width, case.device)
    peer = PeerNet(net, SampleBySample).eval()
    return partial(
        predict_volume,
        lambda windows: peer(windows, TASK),
        light_volume(case.shape).to(case.device),
        window=DEFAULT_WINDOW,
        overlap=DEFAULT_OVERLAP,
    )


def _compare(
    way: str,
    timed: Mapping[str, Timed[Tensor]],
    memory: Mapping[str, int | None],
    settings: Settings,
) -> Iterator[Comparison]:
    """Compare ours with all, and every result with that of the paper's scheme."""
    targets = {PAPER: 1 / 4 if settings.on_cpu else 1 / 5, MONAI: 1.0}
    for other in timed if way == OURS else ():
        if other != OURS:
            target = None if settings.quick else targets[other]
            yield timed[OURS].over(timed[other], other, target)
            limit = 1.0 if other == MONAI and not settings.quick else None
            yield from memory_over(memory[OURS], memory[other], other, limit)
    if way != PAPER:
        result, reference = timed[way].results[-1], timed[PAPER].results[-1]
        yield from compare_results(result, reference, PAPER)


def _note(way: str, settings: Settings) -> str:
    if way == PAPER:
        tf32 = "" if settings.on_cpu else " (TF32 where PyTorch allows it)"
        return f"float32{tf32}, overlap 0.5, kernels merged again for every window"
    window = "x".join(map(str, DEFAULT_WINDOW))
    precision = "float32" if settings.on_cpu else "bf16"
    return f"{precision}, window {window}, overlap {FAST_OVERLAP}"

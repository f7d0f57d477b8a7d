"""Counted multiplications and additions a second, against plain matrix products.

Counted are convolutions and matrix products, in both passes: what a step or a window
asks for. Merging kernels, normalization and the optimizer take time and count nothing.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import windows
from benchmarks.harness import Settings, alternate
from benchmarks.networks import VolumeCase
from benchmarks.records import Comparison, Measurement, Spread
from benchmarks.training import (
    EIGHT,
    OURS,
    PLAIN,
    SAMPLES,
    Run,
    build_step,
    choose_case,
    labels_of,
)

MATRIX = "matrix product"
STEPS = (
    Run(OURS, EIGHT),
    Run(OURS, "one task"),
    Run(SAMPLES, EIGHT),
    Run(PLAIN, EIGHT),
)


def measure(settings: Settings) -> list[Measurement]:
    """Measure training steps and windows at a width that the device is busy with."""
    width = 16 if settings.on_cpu else 32
    return _measure_steps(width, settings) + _measure_windows(width, settings)


def _measure_steps(width: int, settings: Settings) -> list[Measurement]:
    case, device = choose_case(width, settings), settings.device
    calls = {
        f"{run.peer}, {run.batch}": partial(
            build_step(run.peer, case, device), labels_of(run.batch, device)
        )
        for run in STEPS
    }
    return _measure(f"training step, {case}", calls, settings)


def _measure_windows(width: int, settings: Settings) -> list[Measurement]:
    width, shape = (2, (16, 16, 16)) if settings.quick else (width, (32, 128, 128))
    case = VolumeCase(width, shape, settings.device)
    calls = {
        form: windows.build_form(form, case) for form in (windows.MERGED, windows.PLAIN)
    }
    return _measure(f"prediction of a window, {case}", calls, settings)


def _measure(
    case: str, calls: Mapping[str, Callable[[], object]], settings: Settings
) -> list[Measurement]:
    calls = {**calls, MATRIX: _matrix_products(settings)}
    gflop = {what: count_gflop(call) for what, call in calls.items()}
    timed = alternate(
        calls,
        settings.rounds_or(3),
        f"arithmetic, {case}",
        warm_up=1 if settings.on_cpu else 2,
        repeats=1 if settings.on_cpu else 5,
    )
    rates = {
        what: [gflop[what] / seconds for seconds in timed[what].seconds]
        for what in calls
    }
    return [
        Measurement(
            case,
            what,
            Spread.of(rates[what]),
            "GFLOP/s",
            comparisons=()
            if what == MATRIX
            else (_fraction(rates[what], rates[MATRIX]),),
            note=f"{gflop[what]:.4g} GFLOP in {timed[what].spread.median:.3g} s",
        )
        for what in calls
    ]


def count_gflop(call: Callable[[], object]) -> float:
    """Run once and count; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter:
        call()
    flops: int = counter.get_total_flops()
    return flops / 1e9


def _matrix_products(settings: Settings) -> Callable[[], Tensor]:
    """Return what multiplies square matrices, in the precision the device trains in."""
    on_cpu = settings.on_cpu
    side = 64 if settings.quick else 2048 if on_cpu else 8192
    dtype = torch.float32 if on_cpu else torch.bfloat16
    left, right = torch.randn(2, side, side, dtype=dtype, device=settings.device)
    return partial(_multiply, left, right, 8)


def _multiply(left: Tensor, right: Tensor, times: int) -> Tensor:
    for _ in range(times):
        product = left @ right
    return product


def _fraction(rates: list[float], matrix_rates: list[float]) -> Comparison:
    percent = [100 * own / best for own, best in zip(rates, matrix_rates, strict=True)]
    return Comparison("of the matrix-product rate", Spread.of(percent), "%")

"""One window through networks in evaluation mode, in one piece or as it was trained."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
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
from benchmarks.peers import PeerNet, SampleBySample, set_memory_format
from benchmarks.records import Comparison, Measurement
from continual_repmode.measuring import peak_memory
from continual_repmode.models.reparameterize import reparameterize
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.models.unet3d import UNet3d
from continual_repmode.runtime import computes_bf16

MERGED = "merged network (reparameterize)"
PLAIN = "plain 5x5x5 U-Net with batch normalization"
CACHED = "RepMode here, unmerged (keeps its kernels)"
SAMPLES = "merged sample by sample"
HALF = "merged network, stored and run in bf16"
FORMS = (MERGED, PLAIN, CACHED, SAMPLES, HALF)


def measure(settings: Settings) -> list[Measurement]:
    """Measure at one width after the other."""
    widths = (8, 16) if settings.on_cpu else (8, 16, 32)
    return [
        row
        for width in ((2,) if settings.quick else widths)
        for row in _measure(width, settings)
    ]


def _measure(width: int, settings: Settings) -> list[Measurement]:
    shape = (16, 16, 16) if settings.quick else (32, 128, 128)
    case = VolumeCase(width, shape, settings.device)
    forms = [form for form in FORMS if form != HALF or computes_bf16(settings.device)]
    timed = alternate(
        {form: build_form(form, case) for form in forms},
        settings.rounds_or(3),
        f"window, {case}",
        repeats=1 if settings.on_cpu else 10,
    )
    memory = {form: peak_memory(build_form, form, case) for form in forms}
    rows = [
        Measurement(
            str(case),
            form,
            timed[form].spread,
            "s",
            memory[form],
            tuple(_compare(form, timed, memory, settings)),
        )
        for form in forms
    ]
    if HALF not in forms:
        note = "this CPU has no bf16 instructions; emulated, it takes minutes"
        rows.append(Measurement(str(case), HALF, None, "s", note=note))
    return rows


def build_form(form: str, case: VolumeCase) -> Callable[[], Tensor]:
    """Build a network and return what predicts one window, shape (1, 1, z, y, x)."""
    net = build_calibrated(case.width, case.device)
    window = light_volume(case.shape)[None, None].to(case.device)
    return torch.no_grad()(partial(_network(form, net), window))


def _network(form: str, net: RepModeUNet) -> Callable[[Tensor], Tensor]:
    (device, *_) = {parameter.device for parameter in net.parameters()}
    if form == PLAIN:
        plain = UNet3d(net.unet.width, net.unet.depth).to(device).eval()
        set_memory_format(plain, torch.channels_last_3d)
        return with_autocast(plain, device)
    if form == SAMPLES:
        peer = PeerNet(net, SampleBySample).eval()
        return lambda window: peer(window, TASK)
    if form == CACHED:
        return with_autocast(lambda window: net(window, TASK), device)
    merged = reparameterize(net, TASK)
    if form == MERGED:
        return with_autocast(merged, device)
    half = merged.bfloat16()
    return lambda window: half(window.bfloat16()).float()


def _compare(
    form: str,
    timed: Mapping[str, Timed[Tensor]],
    memory: Mapping[str, int | None],
    settings: Settings,
) -> Iterator[Comparison]:
    """Compare times with the merged network's, or its own with the plain one's."""
    other = PLAIN if form == MERGED else MERGED
    target = 1.0 if form == MERGED and not settings.quick else None
    yield timed[form].over(timed[other], other, target)
    yield from memory_over(memory[form], memory[other], other)
    if form not in (SAMPLES, PLAIN):
        result, reference = timed[form].results[-1], timed[SAMPLES].results[-1]
        yield from compare_results(result, reference, SAMPLES)

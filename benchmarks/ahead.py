"""A folder of fields, resized: time beyond the network's own, with and without overlap.

Overlapped, a thread reads, prepares and writes files while the network predicts. That
thread needs a core: so it is measured with one thread for the network, and with as many
as PyTorch takes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.harness import Settings, alternate
from benchmarks.networks import build_calibrated, light_volume
from benchmarks.records import Comparison, Measurement, Spread
from continual_repmode.models import ModelCard, save_model
from continual_repmode.prediction import job as job_module
from continual_repmode.prediction.ahead import predict_all, with_room
from continual_repmode.prediction.estimate import Estimator
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.planning import Plan, plan_predictions
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.formats.writing import save_volume

_FIELD_UM, _MODEL_UM = (0.29, 0.108, 0.108), (0.29, 0.29, 0.29)
_AT_MOST = 1.1
_ALONE, _OVERLAPPED = "one after the other", "overlapped"


def measure(settings: Settings) -> list[Measurement]:
    """Measure both ways, with one thread and with all."""
    number = 3 if settings.quick else 20
    usual = torch.get_num_threads()
    rows: list[Measurement] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        fields = _write(folder, number, settings)
        try:
            for threads in sorted({1, usual}):
                torch.set_num_threads(threads)
                case = f"{fields}, {threads} thread{'s' if threads > 1 else ''}"
                rows += _both(folder, case, settings)
        finally:
            torch.set_num_threads(usual)
    return rows


def _write(folder: Path, number: int, settings: Settings) -> str:
    """Write a model and fields of light; return what one is."""
    shape = (16, 80, 80) if settings.quick else (32, 512, 512)
    net = build_calibrated(2 if settings.quick else 8, torch.device("cpu"))
    window = (16, 32, 32) if settings.quick else (32, 128, 128)
    card = ModelCard(voxel_size_um=_MODEL_UM, window=window)
    save_model(net, folder / "model.safetensors", card)
    light = np.asarray(light_volume(shape))
    counts = (1000 + 200 * light).clip(0, 65535).astype(np.uint16)
    for index in range(number):
        path = folder / "fields" / f"{index:02}.ome.tif"
        path.parent.mkdir(exist_ok=True)
        rolled = np.roll(counts, 8 * index, 2)
        save_volume(path, rolled, axes="ZYX", voxel_size_um=_FIELD_UM)
    size = " x ".join(f"{um:g}" for um in _FIELD_UM)
    return f"{number} fields of {'x'.join(map(str, shape))}, {size} µm"


def _both(folder: Path, case: str, settings: Settings) -> Iterator[Measurement]:
    ways = {
        _ALONE: partial(_predict, folder, settings, overlapped=False),
        _OVERLAPPED: partial(_predict, folder, settings, overlapped=True),
    }
    timed = alternate(ways, settings.rounds_or(1), case, warm_up=0)
    alone = timed[_ALONE]
    for name, found in timed.items():
        walls = [wall for wall, _ in found.results]
        own = Comparison(
            "time over the network's own",
            Spread.ratio(walls, [network for _, network in alone.results]),
            at_most=_AT_MOST if name == _OVERLAPPED and not settings.quick else None,
        )
        yield Measurement(case, name, Spread.of(walls), "s", None, (own,))


def _predict(
    folder: Path, settings: Settings, *, overlapped: bool
) -> tuple[float, float]:
    """Predict all fields; return the seconds of it, and those of the network."""
    with TemporaryDirectory(dir=folder) as out:
        plan = _plan(folder, Path(out), settings)
        jobs = plan.jobs
        if overlapped:
            estimator = Estimator(plan.setup)
            jobs = with_room(jobs, [job.estimate(estimator) for job in jobs])
        with _network_timed() as seconds:
            began = time.perf_counter()
            failed = [error for _, error in predict_all([(j, "") for j in jobs])]
            wall_s = time.perf_counter() - began
    if any(failed):
        raise RuntimeError(f"not predicted: {failed}")
    return wall_s, sum(seconds)


def _plan(folder: Path, out: Path, settings: Settings) -> Plan:
    options = PredictOptions(tasks="dna", device=settings.device.type, channel=0)
    model = TrainedModel.load(folder / "model.safetensors")
    return plan_predictions(model, [folder / "fields"], out, options)


@contextmanager
def _network_timed() -> Iterator[list[float]]:
    """Give the seconds of each call of the network."""
    spent: list[float] = []
    original: Callable[..., None] = vars(job_module)["predict_into"]

    @wraps(original)
    def timed(*arguments: Any, **named: Any) -> None:
        began = time.perf_counter()
        original(*arguments, **named)
        spent.append(time.perf_counter() - began)

    with patch.object(job_module, "predict_into", timed):
        yield spent

"""What a step of training and the prediction of a volume cost, in a finished run."""

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from continual_repmode.build import build_collection, build_run
from continual_repmode.config.run import RunConfig, dump_run_config, load_run_config
from continual_repmode.inference.tiled import predict_volume
from continual_repmode.measuring import peak_memory, synchronize
from continual_repmode.models import deploy, load_model
from continual_repmode.results import RunFolder, read_json, write_json
from continual_repmode.runtime import PRECISIONS, resolve_device
from continual_repmode.training.plugins.step_clock import EnoughStepsError, StepClock

NUM_STEPS = 6
"""Steps that are timed; the first only warms up."""

NEVER = 1_000_000
"""Epochs until the next validation or saving, where there is to be none."""

NUM_VOLUMES = 3
"""Predictions that are timed, after one that warms up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Medians of a few steps and predictions."""

    #: Seconds of a training step, of a new task where tasks arrive later, with
    #: everything that the strategy adds to it, without loading the batch.
    step_s: float
    #: Peak memory of such steps: of a fresh process beyond its imports, or on the CUDA
    #: device. None where the system does not report it.
    step_bytes: int | None
    #: Seconds to predict one test volume.
    volume_s: float


def measure_costs(config: RunConfig, folder: RunFolder) -> Costs:
    """Measure what a finished run costs, by doing a little of it again.

    ``folder``: complete; it is not changed.
    Raises RuntimeError if the training cannot be taken up again.
    """
    with tempfile.TemporaryDirectory() as place:
        seconds = Path(place) / "seconds.json"
        step_bytes = peak_memory(
            prepare_steps, dump_run_config(config), place, str(seconds)
        )
        step_s = read_json(seconds)["seconds"] if seconds.is_file() else []
    if not step_s:
        raise RuntimeError("no training step could be measured: not enough memory?")
    return Costs(
        step_s=statistics.median(step_s[1:] or step_s),
        step_bytes=step_bytes,
        volume_s=_volume_seconds(config, folder),
    )


def prepare_steps(settings: str, folder: str, seconds_file: str) -> Callable[[], None]:
    """Return what takes some steps of a run and writes their seconds.

    The steps are those of the second experience if there is one, after the network of
    the first was taken from the base model, or trained for an epoch.

    ``settings``: as written by :func:`continual_repmode.config.run.dump_run_config`.
    ``seconds_file``: receives a JSON object with the list ``seconds``.
    """
    config = load_run_config(settings)
    train = config.train
    config.loggers = []  # nobody opens them, and their time is not the step's
    train.save_every, train.validate_every = NEVER, NEVER
    if len(config.stream().stream) > 1:
        train.extension_epochs = train.extension_epochs or train.epochs
        train.epochs = 1
    run = build_run(config, RunFolder(folder))
    first, *later = run.benchmark.train_stream
    if config.base_model is not None:
        run.strategy.adopt(first)
    elif later:
        run.strategy.train(first)
    clock = StepClock(NUM_STEPS)
    clock.watch(run.strategy)

    def steps() -> None:
        with contextlib.suppress(EnoughStepsError):
            run.strategy.train(later[0] if later else first)
        write_json(Path(seconds_file), {"seconds": clock.seconds})

    return steps


def _volume_seconds(config: RunConfig, folder: RunFolder) -> float:
    """Return the seconds of predicting one test volume of the last task."""
    net = load_model(folder.checkpoint(folder.records()[-1].experience))
    task = net.task_names[-1]
    device = resolve_device(config.device)
    pair = build_collection(config, (task,)).pairs(task, "test")[0]
    signal = torch.from_numpy(pair.load().signal[None].astype("float32")).to(device)
    network = deploy(net, task).to(device).eval()
    dtype = PRECISIONS[config.train.precision]
    reduced = dtype != torch.float32
    seconds = []
    for _ in range(1 + NUM_VOLUMES):
        synchronize()
        began = time.perf_counter()
        with torch.autocast(device.type, dtype if reduced else None, enabled=reduced):
            predict_volume(
                network,
                signal,
                window=config.data.window_size(),
                overlap=config.train.overlap,
            )
        synchronize()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])

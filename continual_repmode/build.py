"""The one place that turns settings into objects."""

import logging
import os
from dataclasses import dataclass
from typing import Any

import torch

from continual_repmode.config import (
    ManifestConfig,
    NaiveConfig,
    RepModeConfig,
    RunConfig,
    SyntheticConfig,
)
from continual_repmode.data.check import sound_collection
from continual_repmode.data.collection import Collection
from continual_repmode.data.synthetic import SyntheticCells
from continual_repmode.errors import UserError
from continual_repmode.inference.memory import parse_bytes
from continual_repmode.models import RepModeUNet, load_model
from continual_repmode.results import RunFolder
from continual_repmode.runtime import resolve_device, seed_everything, versions
from continual_repmode.training._avalanche import (
    CLScenario,
    EvaluationPlugin,
    SupervisedPlugin,
    TensorboardLogger,
)
from continual_repmode.training.metric_plugins import RegressionMetrics
from continual_repmode.training.plugins.learning_rate import OneCyclePlugin
from continual_repmode.training.plugins.progress import ProgressPlugin
from continual_repmode.training.plugins.samples import SamplesPlugin
from continual_repmode.training.plugins.seeding import SeedingPlugin
from continual_repmode.training.plugins.training_state import TrainingStatePlugin
from continual_repmode.training.strategy import Naive, RepMode
from continual_repmode.training.streams import build_benchmark

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What :func:`continual_repmode.training.loop.run_stream` works with."""

    benchmark: CLScenario
    strategy: RepMode | Naive
    state: TrainingStatePlugin
    metadata: dict[str, Any]


def build_run(config: RunConfig, folder: RunFolder) -> Run:
    """Build everything a run needs, as it was after the last recorded experience.

    Raises
    ------
    UserError
        If the data, the scenario or the device do not allow the run.
    """
    device = resolve_device(config.device)
    net = build_network(config, folder)
    _check_patch(config, net)
    collection = build_collection(config, config.stream().task_names)
    benchmark = build_benchmark(
        config.stream(),
        data=collection,
        patch_size=_triple(config.data.patch_size),
        flip_axes=config.data.flip_axes,
        pad_small=config.data.pad_small,
    )
    state = TrainingStatePlugin(folder.state, every=config.train.save_every)
    return Run(
        benchmark=benchmark,
        strategy=build_strategy(config, net, device, folder, state),
        state=state,
        metadata={
            "scenario": config.scenario.name,
            "seed": config.seed,
            "normalization": "z-score of each channel of each image",
            "voxel_size_um": list(collection.voxel_size_um),
            "versions": versions(),
        },
    )


def build_collection(config: RunConfig, tasks: tuple[str, ...]) -> Collection:
    """Open the data; volumes that are not generated or prepared yet are now."""
    match config.data:
        case SyntheticConfig() as data:
            cells = SyntheticCells(
                num_train=data.num_train,
                num_valid=data.num_valid,
                num_test=data.num_test,
                shape=_triple(data.shape),
                seed=data.seed,
                tasks=tasks,
                cache_dir=data.cache_dir,
            )
            cells.prepare(num_processes=os.cpu_count() or 1)
            return cells
        case ManifestConfig() as data:
            check = sound_collection(
                data.manifest,
                tasks=tasks,
                patch_size=_triple(data.patch_size),
                pad_small=data.pad_small,
                num_processes=os.cpu_count() or 1,
                root=data.root,
                voxel_size_um=data.voxel_size_um,
                source_voxel_size_um=data.source_voxel_size_um,
                seed=data.seed,
                resize=data.resize,
                order=data.order,
                storage=data.storage,
                cache_dir=data.cache_dir,
            )
            for finding in check.findings:
                _log.warning("%s: %s", finding.severity, finding.line())
            return check.collection
    raise TypeError(f"no data source for {type(config.data).__name__}")


def build_network(config: RunConfig, folder: RunFolder) -> RepModeUNet:
    """Make the network, or load it as the last recorded experience left it."""
    done = folder.records()
    if done:
        return load_model(folder.checkpoint(done[-1].experience))
    seed_everything(config.seed)
    return RepModeUNet(
        task_names=config.stream().base_tasks,
        width=config.model.width,
        depth=config.model.depth,
        experts=config.model.experts,
        axes=config.model.axes,  # type: ignore[arg-type] # checked by ModelConfig
    )


def build_strategy(
    config: RunConfig,
    net: RepModeUNet,
    device: torch.device,
    folder: RunFolder,
    state: TrainingStatePlugin,
) -> RepMode | Naive:
    """Make the strategy with the plugins of a run."""
    train = config.train
    plugins: list[SupervisedPlugin] = [SeedingPlugin(config.seed)]
    if train.schedule == "one_cycle":
        plugins.append(OneCyclePlugin())
    plugins += [state, SamplesPlugin(folder.samples), ProgressPlugin()]
    loop = {
        "optimizer": torch.optim.Adam(
            net.parameters(), lr=train.learning_rate, fused=True
        ),
        "train_mb_size": train.batch_size,
        "train_epochs": train.epochs,
        "extension_epochs": train.extension_epochs,
        "device": device,
        "plugins": plugins,
        "evaluator": EvaluationPlugin(
            RegressionMetrics(), loggers=[TensorboardLogger(folder.tensorboard)]
        ),
        "validate_every": train.validate_every,
        "window": config.data.window_size(),
        "overlap": train.overlap,
        "memory": None if train.memory is None else parse_bytes(train.memory),
        "precision": train.precision,
        "num_workers": train.num_workers,
    }
    match config.strategy:
        case RepModeConfig() as strategy:
            return RepMode(
                model=net,
                expert=strategy.expert,
                private_bn=strategy.private_bn,
                use_extensions=strategy.use_extensions,
                gate_init=strategy.gate_init,
                **loop,
            )
        case NaiveConfig() as strategy:
            return Naive(model=net, expert=strategy.expert, **loop)
    raise TypeError(f"no strategy for {type(config.strategy).__name__}")


def _check_patch(config: RunConfig, net: RepModeUNet) -> None:
    """Refuse patches that the network would refuse, before any work starts."""
    for axis, side, divisor in zip(
        "ZYX", config.data.patch_size, net.divisor, strict=True
    ):
        if side % divisor:
            raise UserError(
                f"data.patch_size={config.data.patch_size}: the {axis} side {side} is "
                f"not a multiple of {divisor}, as model.depth={config.model.depth} "
                "needs it"
            )


def _triple(values: list[int]) -> tuple[int, int, int]:
    z, y, x = values
    return z, y, x

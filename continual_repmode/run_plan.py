"""``plan=auto``: settings that depend on the volumes and the machine, proposed."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from continual_repmode import distributed
from continual_repmode.config.data import ManifestConfig, SyntheticConfig
from continual_repmode.config.run import RunConfig
from continual_repmode.errors import UserError
from continual_repmode.manifests.check import check_manifest
from continual_repmode.runtime import resolve_device
from continual_repmode.training.plan import (
    Learning,
    TrainingPlan,
    depth_of_projections,
    plan_training,
)
from continual_repmode.volumes.volume import Size3

PLANNED = {
    "data": ("patch_size", "window"),
    "train": ("epochs", "extension_epochs"),
}
"""What is proposed, unless the user says it."""


def with_plan(
    config: RunConfig, overrides: Sequence[str]
) -> tuple[RunConfig, TrainingPlan]:
    """Return the settings with what is proposed in place of defaults.

    ``overrides``: as the user gave them; ``train.epochs=9`` stays, presets such as
        ``train=mini`` give way.
    Raises UserError if the data cannot be read, or no patch fits.
    """
    said = {word.lstrip("+").partition("=")[0] for word in overrides}
    data, train = config.data, config.train
    net = config.model.build(config.stream().base_tasks)
    shapes, stream, deepest = _volumes(config, net.divisor)
    smallest = _smallest(shapes)
    first = train.epochs if "train.epochs" in said else None
    later = train.extension_epochs if "train.extension_epochs" in said else None
    patch = tuple(data.patch_size) if "data.patch_size" in said else None
    plan = distributed.of_first(
        plan_training(
            net,
            smallest,
            stream,
            batch_size=train.batch_size,
            device=resolve_device(config.device),
            epochs=[first, *[later] * (len(stream) - 1)],
            patch_size=_size3(patch) if patch else None,
            depth=depth_of_projections(
                deepest, smallest[0], net.divisor[0], data.pad_small
            ),
            overlap=train.overlap,
        )
    )
    sides = list(plan.patch_size)
    window = data.window if "data.window" in said else sides
    more = max(plan.epochs[1:], default=None)
    return (
        replace(
            config,
            data=replace(data, patch_size=sides, window=window),
            train=replace(
                train,
                epochs=plan.epochs[0],
                extension_epochs=train.extension_epochs if more is None else more,
            ),
        ),
        plan,
    )


def taken_from(config: RunConfig, written: RunConfig) -> RunConfig:
    """Return the settings with the plan that another run of them was begun with."""
    found = {
        group: replace(
            getattr(config, group),
            **{name: getattr(getattr(written, group), name) for name in names},
        )
        for group, names in PLANNED.items()
    }
    return replace(config, **found)


def _volumes(
    config: RunConfig, divisor: Size3
) -> tuple[Collection[Size3], list[Learning], int]:
    """Return the shapes of training volumes, and what each experience learns from.

    The last is how many planes the deepest stack has whose target is a projection of
    it; 0 if there is none.
    """
    deepest = 0
    scenario, few = config.stream(), config.data.num_new
    shapes: list[Size3] = []
    counts: dict[str, int] = {}
    tests: dict[str, int] = {}
    match config.data:
        case SyntheticConfig() as data:
            shapes = [_size3(data.shape)]
            for task in scenario.task_names:
                counts[task] = data.num_train
                tests[task] = data.num_test * math.prod(data.shape)
        case ManifestConfig() as data:
            check = check_manifest(
                data.manifest,
                tasks=scenario.task_names,
                patch_size=divisor,
                pad_small=True,
                yes=data.yes,
                voxels="none",
                root=data.root,
                voxel_size_um=data.voxel_size_um,
                source_voxel_size_um=data.source_voxel_size_um,
                seed=data.seed,
            )
            for pair in check.pairs:
                if pair.split == "train":
                    shapes.append(pair.grid_shape)
                    if pair.task in check.collection.projections:
                        deepest = max(deepest, pair.grid_shape[0])
                    counts[pair.task] = counts.get(pair.task, 0) + 1
                elif pair.split == "test":
                    voxels = math.prod(pair.grid_shape)
                    tests[pair.task] = tests.get(pair.task, 0) + voxels
        case other:
            raise TypeError(f"no plan for {type(other).__name__}")
    lacking = [task for task in scenario.task_names if not counts.get(task)]
    if lacking:
        raise UserError(f"plan=auto: there are no training images of {lacking[0]}")
    stream, known = [], []
    for index, tasks in enumerate(scenario.stream):
        known += tasks
        most = [min(counts[t], few) if index and few else counts[t] for t in tasks]
        tested = sum(tests.get(task, 0) for task in known)
        stream.append(Learning(len(tasks), sum(most), tested))
    return shapes, stream, deepest


def _smallest(shapes: Collection[Size3]) -> Size3:
    return _size3([min(sides) for sides in zip(*shapes, strict=True)])


def _size3(sides: Sequence[int]) -> Size3:
    z, y, x = sides
    return z, y, x

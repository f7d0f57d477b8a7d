"""Turns a scenario and a collection of volumes into an Avalanche benchmark."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

from torch.utils.data import Dataset

from continual_repmode.data.collection import Collection, Pair, Split
from continual_repmode.data.dataset import PatchDataset, VolumeDataset
from continual_repmode.data.variation import UNVARIED, Variation
from continual_repmode.errors import UserError
from continual_repmode.scenario import Scenario, load_scenario
from continual_repmode.training.avalanche_api import (
    AvalancheDataset,
    CLScenario,
    ConstantSequence,
    TaskLabels,
    TaskSet,
    benchmark_from_datasets,
    with_task_labels,
)
from continual_repmode.training.context import ExperienceContext
from continual_repmode.volumes.volume import DEFAULT_WINDOW


class TaskDataset(AvalancheDataset):  # type: ignore[misc] # Avalanche is untyped
    """An Avalanche dataset that knows its tasks, as task-balanced replay needs."""

    @property
    def task_set(self) -> Any:
        """The samples grouped by task label."""
        return TaskSet(self)

    def __hash__(self) -> int:
        return id(self)


def build_benchmark(
    scenario: str | Path | Scenario,
    *,
    data: Collection,
    patch_size: tuple[int, int, int] = DEFAULT_WINDOW,
    flip_axes: str = "ZYX",
    pad_small: bool = False,
    sampling: str = "uniform",
    variation: Variation = UNVARIED,
    num_new: int | None = None,
    known_tasks: Sequence[str] = (),
) -> CLScenario:
    """Build an Avalanche benchmark with train, valid and test streams.

    Nothing is loaded until a sample is asked for. Each stream has one experience per
    entry of the scenario. Train samples are random patches ``(signal, target, task
    label)`` with signal and target of shape (1, Z, Y, X); valid and test samples are
    whole volumes.

    Parameters
    ----------
    scenario : str, Path or Scenario
        The name of a scenario of the package, the path of a YAML file, or a definition.
    data : Collection
        Where the volumes come from, for example
        :class:`continual_repmode.synthetic.SyntheticCells`.
    patch_size : tuple of int
        Training patch (Z, Y, X) in voxels.
    flip_axes : str
        Flip training patches along each of these axes with probability 0.5.
    pad_small : bool
        Pad volumes smaller than the patch instead of refusing them.
    sampling : {"uniform", "foreground"}
        Whether training patches come from everywhere, or more often from where
        the target is bright; see :class:`~continual_repmode.data.dataset.PatchDataset`.
    variation : Variation
        How training patches are changed besides flips; not at all unless given.
    num_new : int, optional
        Training images of each task that arrives after the first experience: the first
        ones of the collection. They take turns, so that an epoch has as many patches as
        with all images.
    known_tasks : sequence of str
        What the network has learned elsewhere: these tasks have the first labels, in
        this order, but no data here. Then every task of the scenario arrives later.

    Returns
    -------
    CLScenario
        With the additional attributes ``scenario``, ``base_tasks`` and ``task_names``
        (position = task label) and ``pairs`` (stream name -> one list per experience,
        in the order of the experience's dataset).

    Raises
    ------
    UserError
        If the collection lacks a task of the scenario, a task is known already, a
        split is empty, or a task has fewer images than ``num_new``.
    """
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(scenario)
    _check_tasks(scenario, data, known_tasks)
    task_names = (*known_tasks, *scenario.task_names)
    pairs = {split: _pairs(scenario, data, split) for split in get_args(Split)}
    if num_new is not None:
        later = slice(0 if known_tasks else 1, None)
        pairs["train"][later] = [
            _first_in_turn(p, num_new) for p in pairs["train"][later]
        ]
    kinds = getattr(data, "projections", {})
    projections = {task_names.index(t): k for t, k in kinds.items() if t in task_names}
    _check_depth([p for e in pairs["train"] for p in e if p.task in kinds], patch_size)
    patches: dict[str, Any] = {
        "patch_size": patch_size,
        "flip_axes": flip_axes,
        "pad_small": pad_small,
        "sampling": sampling,
        "variation": variation,
    }
    benchmark = with_task_labels(
        benchmark_from_datasets(
            train=[
                _experience(task_names, exp, partial(PatchDataset, **patches))
                for exp in pairs["train"]
            ],
            valid=[
                _experience(task_names, exp, VolumeDataset) for exp in pairs["valid"]
            ],
            test=[_experience(task_names, exp, VolumeDataset) for exp in pairs["test"]],
        )
    )
    for stream in benchmark.streams.values():
        for experience in stream:
            index = experience.current_experience
            experience.context = ExperienceContext(
                stream_tasks=task_names,
                num_experiences=len(scenario.stream),
                num_train=tuple(map(len, pairs["train"])),
                num_test=tuple(map(len, pairs["test"])),
                pairs=pairs[stream.name][index],
                patch_size=patch_size,
                validation=benchmark.valid_stream[index].dataset,
                validation_pairs=pairs["valid"][index],
                projections=projections,
            )
    benchmark.scenario = scenario
    benchmark.base_tasks = tuple(known_tasks) or scenario.base_tasks
    benchmark.task_names = task_names
    benchmark.pairs = pairs
    benchmark.projections = {task_names[label]: k for label, k in projections.items()}
    return benchmark


def _check_tasks(
    scenario: Scenario, data: Collection, known_tasks: Sequence[str]
) -> None:
    known = [task for task in scenario.task_names if task in known_tasks]
    if known:
        raise UserError(
            f"scenario {scenario.name!r}: the network knows {', '.join(known)} "
            "already; a task is learned once"
        )
    missing = [task for task in scenario.task_names if task not in data.tasks]
    if missing:
        raise UserError(
            f"scenario {scenario.name!r} asks for {', '.join(missing)}, but the data "
            f"has only {', '.join(data.tasks)}: add volumes of that task, or choose "
            "another scenario"
        )


def _check_depth(pairs: Sequence[Pair], patch_size: Sequence[int]) -> None:
    """Refuse patches that do not hold all planes that a target was projected from."""
    for pair in pairs:
        num_z = pair.load().signal.shape[0]
        if num_z > patch_size[0]:
            raise UserError(
                f"patch {' x '.join(map(str, patch_size))}: the targets of "
                f"{pair.task} are projections, so a patch must hold all planes of an "
                f"image, and {pair.name} has {num_z} on the model grid; use at least "
                "as many (data.patch_size, --patch-size), and data.pad_small=true "
                "(--pad-small) where the network needs more"
            )


def _pairs(scenario: Scenario, data: Collection, split: Split) -> list[list[Pair]]:
    """Collect the pairs of every experience; tasks follow each other."""
    experiences = []
    for tasks in scenario.stream:
        by_task = [data.pairs(task, split) for task in tasks]
        for task, found in zip(tasks, by_task, strict=True):
            if not found:
                raise UserError(
                    f"task {task!r} has no {split} volumes: every task needs at least "
                    "one for training, one for validation and one for testing"
                )
        experiences.append([pair for found in by_task for pair in found])
    return experiences


def _first_in_turn(pairs: list[Pair], num_new: int) -> list[Pair]:
    """Replace each task's pairs by its first ``num_new``, in turn; keep the length."""
    chosen: list[Pair] = []
    for task, group in groupby(pairs, key=lambda pair: pair.task):
        found = list(group)
        if num_new > len(found):
            raise UserError(
                f"data.num_new={num_new}: task {task!r} has only {len(found)} training "
                "images: give at most that many, or null for all"
            )
        chosen += [found[index % num_new] for index in range(len(found))]
    return chosen


def _experience(
    task_names: Sequence[str], pairs: Sequence[Pair], make: Any
) -> TaskDataset:
    """Join one labelled dataset per task."""
    tasks = sorted({pair.task for pair in pairs}, key=task_names.index)
    parts = [
        _labelled(make([p for p in pairs if p.task == t]), task_names.index(t))
        for t in tasks
    ]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.concat(part)
    return joined


def _labelled(dataset: Dataset[Any], label: int) -> TaskDataset:
    labels = TaskLabels(ConstantSequence(label, len(dataset)))  # type: ignore[arg-type] # our datasets have a length
    return TaskDataset([dataset], data_attributes=[labels])

"""Learns one structure, beside the known ones or alone, resumable at saved epochs."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from continual_repmode.extending.lab_volumes import LabVolumes
from continual_repmode.extending.settings import NUM_SAVINGS
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.models.model_card import ModelCard
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.results import ExperienceRecord, RunFolder
from continual_repmode.runtime import resolve_device, seed_everything, versions
from continual_repmode.scenario import Scenario
from continual_repmode.trained_model import TrainedModel
from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.dense_strategy import DenseStrategy
from continual_repmode.training.loop import run_stream
from continual_repmode.training.plugins.learning_rate import OneCyclePlugin
from continual_repmode.training.plugins.progress import ProgressPlugin
from continual_repmode.training.plugins.samples import SamplesPlugin
from continual_repmode.training.plugins.seeding import SeedingPlugin
from continual_repmode.training.plugins.training_state import TrainingStatePlugin
from continual_repmode.training.strategy import Individual, RepMode
from continual_repmode.training.streams import build_benchmark

FLIP_AXES = "YX"
"""A flip along Z would turn the contrast of transmitted light around."""
SCRATCH_KERNEL = 3
"""Extent of the kernels of a network from scratch: 3x3x3 kernels learned faster than
5x5x5 at the small sizes that were measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Learner:
    """A network that a structure is to be taught to, and how.

    Attributes
    ----------
    net : TaskNetwork
        Is changed by learning.
    strategy : callable
        Makes the strategy of ``model`` and the arguments of
        :class:`~continual_repmode.training.dense_strategy.DenseStrategy`.
    known_tasks : tuple of str
        What the network has learned elsewhere.
    card : ModelCard
        As yet without the structure.
    """

    net: TaskNetwork
    strategy: Callable[..., DenseStrategy]
    known_tasks: tuple[str, ...]
    card: ModelCard


def extension(
    base: TrainedModel, volumes: LabVolumes, provenance: dict[str, Any]
) -> Learner:
    """Return a copy of the trained network that gains experts and gates."""
    net = copy.deepcopy(base.net)
    strategy = partial(
        RepMode,
        expert=provenance["expert"],
        expert_mix=provenance["expert_mix"],
        expert_init="zero" if provenance["expert_mix"] == "additive" else "random",
        gate_init=provenance["gate_init"],
        gate_rate=provenance["gate_rate"],
        outer_rate=provenance["outer_rate"],
        private_bn=provenance["private_bn"],
        use_extensions=provenance["use_extensions"],
    )
    origin = {"path": str(base.path), "sha256": base.sha256}
    card = _card(base, volumes, provenance, strategy="repmode", base_model=origin)
    return Learner(net=net, strategy=strategy, known_tasks=net.task_names, card=card)


def from_scratch(
    base: TrainedModel, volumes: LabVolumes, provenance: dict[str, Any]
) -> Learner:
    """Return a plain U-Net of the trained network's extent that has learned nothing."""
    shape = base.net
    seed_everything(provenance["seed"])
    net = MultiNet(
        (provenance["task"],),
        kernel_size=SCRATCH_KERNEL,
        width=shape.width,
        depth=shape.depth,
        in_channels=shape.in_channels,
        out_channels=shape.out_channels,
        axes=shape.axes,
    )
    card = replace(_card(base, volumes, provenance, strategy="individual"), tasks={})
    return Learner(net=net, strategy=Individual, known_tasks=(), card=card)


def learn(
    learner: Learner,
    volumes: LabVolumes,
    provenance: dict[str, Any],
    folder: RunFolder,
    *,
    device: str,
    num_images: int | None = None,
) -> ExperienceRecord:
    """Learn a structure, or resume learning it, and test it.

    Parameters
    ----------
    learner : Learner
    volumes : LabVolumes
    provenance : dict
        Made by :func:`continual_repmode.extending.provenance.provenance_of`.
    folder : RunFolder
        Receives the model, the record and samples; where the record is there already,
        nothing is learned.
    device : str
    num_images : int, optional
        Learn from the first ones of the training images, in as many steps.

    Raises
    ------
    NonFiniteError
        If training diverged.
    ForgettingError
        If an earlier task changed.
    """
    task = provenance["task"]
    benchmark = build_benchmark(
        Scenario(name=scenario_name(task), experiences=[[task]]),
        data=volumes.collection,
        patch_size=volumes.patch_size,
        flip_axes=FLIP_AXES,
        num_new=num_images,
        known_tasks=learner.known_tasks,
    )
    every = max(1, provenance["epochs"] // NUM_SAVINGS)
    state = TrainingStatePlugin(folder.state, every=every)
    strategy = _strategy(learner, provenance, folder, state, device)
    with warnings.catch_warnings():  # Avalanche changes the filters
        run_stream(
            strategy,
            benchmark,
            folder,
            state=state,
            card=learner.card,
            after_experience=_nothing,
        )
    return folder.records()[0]


def scenario_name(task: str) -> str:
    """Return what the stream of one new task is called in files."""
    return f"extension_{task}"


def _card(
    base: TrainedModel, volumes: LabVolumes, provenance: dict[str, Any], **run: Any
) -> ModelCard:
    """Return the card of a network, as yet without the structure."""
    return replace(
        base.card,
        voxel_size_um=volumes.collection.voxel_size_um,
        resize=volumes.resize,
        order=volumes.order,
        versions=versions(),
        run={
            "scenario": scenario_name(provenance["task"]),
            "seed": provenance["seed"],
            **run,
        },
    )


def _strategy(
    learner: Learner,
    provenance: dict[str, Any],
    folder: RunFolder,
    state: TrainingStatePlugin,
    device: str,
) -> DenseStrategy:
    plugins: list[SupervisedPlugin] = [SeedingPlugin(provenance["seed"])]
    if provenance["schedule"] == "one_cycle":
        plugins.append(OneCyclePlugin())
    plugins += [state, SamplesPlugin(folder.samples), ProgressPlugin()]
    z, y, x = provenance["window"]
    return learner.strategy(
        model=learner.net,
        plugins=plugins,
        optimizer=torch.optim.Adam(
            learner.net.parameters(), lr=provenance["learning_rate"], fused=True
        ),
        train_mb_size=provenance["batch_size"],
        train_epochs=provenance["epochs"],
        device=resolve_device(device),
        validate_every=None,
        window=(z, y, x),
        overlap=tuple(provenance["overlap"]),
        precision=provenance["precision"],
    )


def _nothing() -> None:
    """Leave the tables to the end."""

"""Learns one structure beside the known ones, resumable at every saved epoch."""

import copy
import warnings
from dataclasses import replace
from typing import Any

import torch

from continual_repmode.extending.base_network import BaseNetwork
from continual_repmode.extending.lab_volumes import LabVolumes
from continual_repmode.extending.settings import NUM_VALIDATIONS
from continual_repmode.models.model_card import ModelCard
from continual_repmode.results import ExperienceRecord, RunFolder
from continual_repmode.runtime import resolve_device, versions
from continual_repmode.scenario import Scenario
from continual_repmode.training._avalanche import SupervisedPlugin
from continual_repmode.training.loop import run_stream
from continual_repmode.training.plugins.learning_rate import OneCyclePlugin
from continual_repmode.training.plugins.progress import ProgressPlugin
from continual_repmode.training.plugins.samples import SamplesPlugin
from continual_repmode.training.plugins.seeding import SeedingPlugin
from continual_repmode.training.plugins.training_state import TrainingStatePlugin
from continual_repmode.training.strategy import RepMode
from continual_repmode.training.streams import build_benchmark

FLIP_AXES = "YX"
"""A flip along Z would turn the contrast of transmitted light around."""


def learn(
    base: BaseNetwork,
    volumes: LabVolumes,
    recipe: dict[str, Any],
    folder: RunFolder,
    *,
    device: str,
    num_images: int | None = None,
) -> ExperienceRecord:
    """Learn the structure of a recipe, or go on with it, and test it.

    Parameters
    ----------
    base : BaseNetwork
        Left as it is.
    volumes : LabVolumes
    recipe : dict
        Made by :func:`continual_repmode.extending.recipe.make_recipe`.
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
    benchmark = build_benchmark(
        Scenario(name=scenario_name(recipe["task"]), experiences=[[recipe["task"]]]),
        data=volumes.collection,
        patch_size=volumes.patch_size,
        flip_axes=FLIP_AXES,
        num_new=num_images,
        known_tasks=base.net.task_names,
    )
    every = max(1, recipe["epochs"] // NUM_VALIDATIONS)
    state = TrainingStatePlugin(folder.state, every=every)
    strategy = _strategy(base, recipe, folder, state, device)
    with warnings.catch_warnings():  # Avalanche changes the filters
        run_stream(
            strategy,
            benchmark,
            folder,
            state=state,
            card=card_of(base, volumes, recipe),
            after_experience=_nothing,
        )
    return folder.records()[0]


def scenario_name(task: str) -> str:
    """Return what the stream of one new task is called in files."""
    return f"extension_{task}"


def card_of(
    base: BaseNetwork, volumes: LabVolumes, recipe: dict[str, Any]
) -> ModelCard:
    """Return the card of the extended network, as yet without the new task."""
    z, y, x = recipe["window"]
    return replace(
        base.card,
        voxel_size_um=volumes.collection.voxel_size_um,
        resize=volumes.resize,
        order=volumes.order,
        window=(z, y, x),
        versions=versions(),
        run={
            "scenario": scenario_name(recipe["task"]),
            "strategy": "repmode",
            "seed": recipe["seed"],
            "base_model": base_of(base),
        },
    )


def base_of(base: BaseNetwork) -> dict[str, str]:
    """Return path and digest of the model file that was extended."""
    return {"path": str(base.path), "sha256": base.sha256}


def _strategy(
    base: BaseNetwork,
    recipe: dict[str, Any],
    folder: RunFolder,
    state: TrainingStatePlugin,
    device: str,
) -> RepMode:
    plugins: list[SupervisedPlugin] = [SeedingPlugin(recipe["seed"])]
    if recipe["schedule"] == "one_cycle":
        plugins.append(OneCyclePlugin())
    plugins += [state, SamplesPlugin(folder.samples), ProgressPlugin()]
    net, (z, y, x) = copy.deepcopy(base.net), recipe["window"]
    return RepMode(
        model=net,
        expert=recipe["expert"],
        private_bn=recipe["private_bn"],
        use_extensions=recipe["use_extensions"],
        plugins=plugins,
        optimizer=torch.optim.Adam(
            net.parameters(), lr=recipe["learning_rate"], fused=True
        ),
        train_mb_size=recipe["batch_size"],
        train_epochs=recipe["epochs"],
        device=resolve_device(device),
        validate_every=max(1, recipe["epochs"] // NUM_VALIDATIONS),
        window=(z, y, x),
        precision=recipe["precision"],
    )


def _nothing() -> None:
    """Leave the tables to the end."""

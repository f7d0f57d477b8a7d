"""Records and small finished runs to analyse."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from continual_repmode.analysis.continual import publish
from continual_repmode.models import RepModeUNet, save_model
from continual_repmode.results import ExperienceRecord, RunFolder, write_json

STREAM = (("dna", "nucleolus", "my_structure"), ("mitochondria",), ("cell_membrane",))


def image_row(task: str, image: str, score: float | None) -> dict[str, Any]:
    error = None if score is None else 1 - score
    metrics = {"mse": error, "mae": error, "r2": score, "pearson_r": score}
    return {"task": task, "image": image, **metrics, "num_voxels": 8}


def record_of(
    experience: int,
    tasks: Sequence[str],
    scores: Mapping[str, Sequence[float | None]],
    unchanged: bool = True,
) -> ExperienceRecord:
    return ExperienceRecord(
        experience=experience,
        tasks=list(tasks),
        curve=[
            {"epoch": 1, "train_loss": 1.2, "valid_mse": None},
            {"epoch": 2, "train_loss": 0.8, "valid_mse": 0.9},
            {"epoch": 3, "train_loss": 0.7, "valid_mse": 0.95},
        ],
        best_epoch=2,
        best_valid_mse=0.9,
        num_trained_parameters=10,
        train_iterations=3 * (experience + 1),
        proofs=[
            {"task": task, "before": {}, "after": {}, "unchanged": unchanged}
            for task in scores
            if task not in tasks
        ],
        rows=[
            image_row(task, f"{task}/{number}", score)
            for task, found in scores.items()
            for number, score in enumerate(found)
        ],
        wall_time_s={"train": 2.0, "eval": 1.0},
    )


@pytest.fixture
def make_record():
    """Build a record from the R2 (and Pearson r, and 1 - MSE) of each test image."""
    return record_of


@pytest.fixture(scope="session")
def net():
    """Three base tasks and two added ones, with gates that differ everywhere."""
    torch.manual_seed(0)
    net = RepModeUNet(STREAM[0], width=2, depth=1)
    for block in net.blocks().values():
        assert block.conv.gate.linear is not None
        torch.nn.init.normal_(block.conv.gate.linear.weight)
    for index, (task,) in enumerate(STREAM[1:]):
        net.add_task(task, use_extensions=index > 0)
    net.freeze()
    return net


@pytest.fixture(scope="session")
def folder(net, tmp_path_factory):
    """A finished run over ``STREAM`` with everything that figures are made of."""
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    header = {"schema": "continual_repmode.results", "schema_version": 1}
    header |= {"strategy": "repmode", "voxel_size_um": [0.6, 0.3, 0.3]}
    write_json(folder.header, header)
    learned: list[str] = []
    for index, tasks in enumerate(STREAM):
        learned += tasks
        scores = {task: [0.5, 0.7 - 0.1 * index] for task in learned}
        folder.write_record(record_of(index, tasks, scores))
        save_model(net, folder.checkpoint(index))
    publish(folder)
    folder.samples.mkdir()
    random = np.random.default_rng(0)
    for task in learned:
        signal, target, noise = random.normal(size=(3, 8, 24, 20)).astype(np.float16)
        np.savez_compressed(
            folder.samples / f"{task}.npz",
            signal=signal,
            target=target,
            prediction=target + noise,
            image=f"{task}/0",
        )
    return folder

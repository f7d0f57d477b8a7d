"""Trains and tests a strategy on a whole stream, and records what it did."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from continual_repmode.data.collection import Pair
from continual_repmode.models import save_model
from continual_repmode.results import ExperienceRecord, RunFolder
from continual_repmode.training._avalanche import CLExperience, CLScenario
from continual_repmode.training.dense_strategy import DenseStrategy
from continual_repmode.training.metric_plugins import ImageRow, regression_metrics
from continual_repmode.training.plugins.finite_guard import NonFiniteError
from continual_repmode.training.plugins.training_state import TrainingStatePlugin
from continual_repmode.training.streams import task_names_of


def run_stream(
    strategy: DenseStrategy,
    benchmark: CLScenario,
    folder: RunFolder,
    *,
    state: TrainingStatePlugin,
    metadata: dict[str, Any],
    after_experience: Callable[[], None],
    adopt_first: bool = False,
) -> None:
    """Learn the experiences that have no record yet, testing after each.

    Parameters
    ----------
    strategy : DenseStrategy
        Holds the network as it was after the last recorded experience, and ``state``
        among its plugins.
    benchmark : CLScenario
        Made by :func:`continual_repmode.training.streams.build_benchmark`.
    folder : RunFolder
        Receives a checkpoint and a record per experience.
    state : TrainingStatePlugin
        Cleared when an experience has its record.
    metadata : dict
        Goes into the header of every checkpoint.
    after_experience : callable
        Called when an experience has its record.
    adopt_first : bool
        The network has learned the tasks of the first experience elsewhere: test it on
        them, but do not train.

    Raises
    ------
    NonFiniteError
        If training diverged; the message names the last good checkpoint.
    ForgettingError
        If a strategy that promises unchanged old tasks broke its promise.
    """
    done = len(folder.records())
    experiences = benchmark.train_stream[done:]
    if done and experiences:
        strategy.clock.train_iterations = folder.records()[-1].train_iterations
        strategy.clock.train_exp_counter = done
        state.recall_memory(strategy, done - 1)
    for experience in experiences:
        index = experience.current_experience
        try:
            if adopt_first and index == 0:
                strategy.adopt(experience)
            else:
                strategy.train(experience)
        except NonFiniteError as error:
            raise NonFiniteError(
                f"{error}; last good model: {_last_checkpoint(folder)}; lower the "
                "learning rate (train.learning_rate) or look at that image"
            ) from error
        record = _test(strategy, benchmark, experience, folder, state, metadata)
        state.keep_memory(strategy, index)
        folder.write_record(record)
        state.clear(keep_memory_of=index)
        after_experience()
    state.clear()


def _test(
    strategy: DenseStrategy,
    benchmark: CLScenario,
    experience: CLExperience,
    folder: RunFolder,
    state: TrainingStatePlugin,
    metadata: dict[str, Any],
) -> ExperienceRecord:
    """Test all tasks so far, save the network, and put down what was done."""
    index = experience.current_experience
    started = time.perf_counter()
    strategy.eval(benchmark.test_stream[: index + 1])
    eval_time_s = time.perf_counter() - started
    rows = [_flat(row) for row in regression_metrics(strategy.evaluator).rows]
    intensities = {
        name: intensity(benchmark.pairs["train"], name)
        for name in strategy.net.task_names
    }
    save_model(
        strategy.net,
        folder.checkpoint(index),
        metadata={**metadata, "experience": index, "target_intensity": intensities},
    )
    validation, adopted = strategy.validation, not strategy.validation.curve
    moved = [p for group in strategy.optimizer.param_groups for p in group["params"]]
    return ExperienceRecord(
        experience=index,
        tasks=list(task_names_of(experience)),
        adopted=adopted,
        curve=[asdict(point) for point in validation.curve],
        best_epoch=validation.best_epoch,
        best_valid_mse=validation.best_mse,
        num_trained_parameters=0 if adopted else sum(p.numel() for p in moved),
        train_iterations=strategy.clock.train_iterations,
        proofs=[
            {**asdict(proof), "unchanged": proof.unchanged}
            for proof in strategy.proof.proofs
        ],
        rows=rows,
        wall_time_s={"train": state.train_time_s, "eval": eval_time_s},
    )


def intensity(pairs: list[list[Pair]], task: str) -> dict[str, float]:
    """Return the mean of the raw target's mean and standard deviation over images.

    Undoes the z-score of a prediction on average: ``value * std + mean`` (camera
    counts).
    """
    of_task = [
        p.load().target_intensity for exp in pairs for p in exp if p.task == task
    ]
    return {
        "mean": float(np.mean([i.mean for i in of_task])),
        "std": float(np.mean([i.std for i in of_task])),
    }


def _flat(row: ImageRow) -> dict[str, Any]:
    return {"task": row.task, "image": row.image, **asdict(row.metrics)}


def _last_checkpoint(folder: RunFolder) -> Path | str:
    done = folder.records()
    return folder.checkpoint(done[-1].experience) if done else "none yet"

"""Trains and tests a strategy on a whole stream, and records what it did."""

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from continual_repmode import distributed
from continual_repmode.data.collection import Pair, Split
from continual_repmode.data.signals import MAX_IMAGES, look_of, signal_statistics
from continual_repmode.files import sha256_of
from continual_repmode.inference.windows import overlap_per_axis
from continual_repmode.metrics.regression import METRICS
from continual_repmode.models import ModelCard, TaskCard, read_card, save_model
from continual_repmode.results import ExperienceRecord, RunFolder, finite
from continual_repmode.training.avalanche_api import CLExperience, CLScenario
from continual_repmode.training.context import task_names_of
from continual_repmode.training.data_hash import hash_of_pairs
from continual_repmode.training.dense_strategy import DenseStrategy
from continual_repmode.training.metric_plugins import ImageRow, regression_metrics
from continual_repmode.training.plugins.finite_guard import NonFiniteError
from continual_repmode.training.plugins.training_state import TrainingStatePlugin


def run_stream(
    strategy: DenseStrategy,
    benchmark: CLScenario,
    folder: RunFolder,
    *,
    state: TrainingStatePlugin,
    card: ModelCard,
    after_experience: Callable[[], None],
    adopt_first: bool = False,
) -> None:
    """Learn the experiences that have no record yet, testing after each.

    ``strategy``: holds the network as it was after the last recorded experience, and
        ``state`` among its plugins.
    ``benchmark``: made by :func:`continual_repmode.training.streams.build_benchmark`.
    ``folder``: receives a checkpoint and a record per experience.
    ``state``: cleared when an experience has its record.
    ``card``: goes into every checkpoint, with the window and overlap of the strategy
        and what is known about the tasks by then. Tasks in it that the run does not
        test stay as they are.
    ``after_experience``: called when an experience has its record.
    ``adopt_first``: the network has learned the tasks of the first experience
        elsewhere: test it on them, but do not train.
    Raises NonFiniteError if training diverged; the message names the last good
        checkpoint.
    Raises ForgettingError if a strategy that promises unchanged old tasks broke its
        promise.
    """
    card = replace(
        card, window=strategy.window, overlap=overlap_per_axis(strategy.overlap)
    )
    done = len(folder.records())
    experiences = benchmark.train_stream[done:]
    if done and experiences:
        card = replace(card, tasks=read_card(folder.checkpoint(done - 1)).tasks)
        strategy.clock.train_iterations = folder.records()[-1].train_iterations
        strategy.clock.train_exp_counter = done
        state.recall_memory(strategy, done - 1)
        strategy.proof.recall(strategy.net, folder.records()[-1].task_sha256)
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
        record = _test(strategy, benchmark, experience, state)
        learned = () if record.adopted else record.tasks
        card = _with_tasks(card, benchmark, index, learned, record.rows)
        strategy.proof.verify(strategy.net)  # evaluation has plugins, too
        if distributed.is_first():
            save_model(strategy.net, folder.checkpoint(index), card)
            folder.write_record(
                replace(
                    record,
                    checkpoint_sha256=sha256_of(folder.checkpoint(index)),
                    memory_sha256=state.keep_memory(strategy, index),
                )
            )
            state.clear(keep_memory_of=(index - 1, index))  # should it have to go back
            after_experience()
    if distributed.is_first():
        state.clear()


def _test(
    strategy: DenseStrategy,
    benchmark: CLScenario,
    experience: CLExperience,
    state: TrainingStatePlugin,
) -> ExperienceRecord:
    """Test all tasks so far and put down what was done."""
    index = experience.current_experience
    started = time.perf_counter()
    strategy.eval(benchmark.test_stream[: index + 1])
    eval_time_s = time.perf_counter() - started
    rows = [_flat(row) for row in regression_metrics(strategy.evaluator).rows]
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
        task_sha256={
            task: left.state_sha256 for task, left in strategy.proof.left.items()
        },
        rows=rows,
        wall_time_s={"train": state.train_time_s, "eval": eval_time_s},
        validation={
            task: score.as_record() for task, score in validation.best_scores.items()
        },
    )


def _with_tasks(
    card: ModelCard,
    benchmark: CLScenario,
    index: int,
    learned: Collection[str],
    rows: list[dict[str, Any]],
) -> ModelCard:
    """Return the card of the network as experience ``index`` has left it.

    ``card``: of the network as the experience found it.
    ``learned``: tasks that the network has learned in this experience.
    ``rows``: metrics of the test images of all tasks so far.
    """
    tasks = dict(card.tasks)
    for task in dict.fromkeys(row["task"] for row in rows):
        known = card.task(task)
        if task in learned:
            known = _training_card(benchmark, task, card.voxel_size_um)
        elif known.target_mean is None:
            known = _with_intensity(known, _images_of(task, benchmark.pairs["train"]))
        own_rows = [row for row in rows if row["task"] == task]
        tasks[task] = replace(
            known,
            num_images={**(known.num_images or {}), "test": len(own_rows)},
            metrics=_mean_metrics(own_rows),
        )
    return replace(card, tasks=tasks, run={**card.run, "experience": index})


def _training_card(
    benchmark: CLScenario, task: str, voxel_size_um: tuple[float, float, float] | None
) -> TaskCard:
    """Describe the images that a task was learned from."""
    images = {s: _images_of(task, benchmark.pairs[s]) for s in get_args(Split)}
    card = TaskCard(
        num_images={split: len(pairs) for split, pairs in images.items()},
        data_sha256=hash_of_pairs(images["train"]),
        target_kind=benchmark.projections.get(task),
        signals=None
        if voxel_size_um is None
        else _looks(images["train"], voxel_size_um),
    )
    return _with_intensity(card, images["train"])


def _looks(
    train: list[Pair], voxel_size_um: tuple[float, float, float]
) -> dict[str, list[float | None]] | None:
    """Measure what the signals look like, of some images if there are many."""
    some = train[:: -(-len(train) // MAX_IMAGES)]
    return signal_statistics(
        look_of(pair.load().signal, voxel_size_um) for pair in some
    )


def _with_intensity(card: TaskCard, train: list[Pair]) -> TaskCard:
    """Return the card with what undoes the z-score of a prediction on average."""
    intensities = [pair.load().target_intensity for pair in train]
    return replace(
        card,
        target_mean=fmean(intensity.mean for intensity in intensities),
        target_std=fmean(intensity.std for intensity in intensities),
    )


def _images_of(task: str, pairs: list[list[Pair]]) -> list[Pair]:
    """Return the pairs of a task in all experiences, each once."""
    own = {p.name: p for experience in pairs for p in experience if p.task == task}
    return list(own.values())


def _mean_metrics(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return the mean of each metric over images, None where it is not a number."""
    means = {metric: fmean(row[metric] for row in rows) for metric in METRICS}
    found: dict[str, float | None] = finite(means)
    return found


def _flat(row: ImageRow) -> dict[str, Any]:
    return {"task": row.task, "image": row.image, **row.values()}


def _last_checkpoint(folder: RunFolder) -> Path | str:
    done = folder.records()
    return folder.checkpoint(done[-1].experience) if done else "none yet"

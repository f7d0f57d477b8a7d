"""When a task counts as learned, and how it is said."""

import math

import pytest

from continual_repmode.metrics.learned import (
    LEARNED_FROM,
    ValidationScore,
    not_learned,
)


def test_the_error_counts_against_the_variance_of_the_own_targets():
    assert ValidationScore(0.4, 0.8).r2 == pytest.approx(0.5)
    assert not ValidationScore(0.9, 0.88).is_learned  # an error below 1 proves nothing
    assert ValidationScore(0.9, 1.0).is_learned


def test_a_little_better_than_the_mean_is_not_yet_learned():
    for r2, is_learned in [
        (-0.3, False),
        (0.0, False),
        (LEARNED_FROM - 0.001, False),
        (LEARNED_FROM + 0.001, True),
    ]:
        assert ValidationScore(1 - r2, 1.0).is_learned is is_learned


def test_targets_that_are_constant_cannot_be_learned():
    score = ValidationScore(0.1, 0.0)
    assert math.isnan(score.r2)
    assert not score.is_learned


def test_a_record_says_it_all_and_comes_back():
    score = ValidationScore(0.6, 0.8)
    record = score.as_record()
    assert record == {
        "mse": 0.6,
        "target_variance": 0.8,
        "r2": pytest.approx(0.25),
        "learned": True,
    }
    assert ValidationScore.from_record(record) == score
    diverged = {"mse": None, "target_variance": 0.8, "r2": None, "learned": False}
    assert not ValidationScore.from_record(diverged).is_learned


def test_only_tasks_that_were_not_learned_are_named():
    scores = {"dna": ValidationScore(0.4, 0.8), "golgi": ValidationScore(0.91, 0.91)}
    records = {task: score.as_record() for task, score in scores.items()}
    assert not_learned(records) == {
        "golgi": "not learned: validation R² 0.00, no better than each image's mean"
    }

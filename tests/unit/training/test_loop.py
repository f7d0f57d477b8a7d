"""What a run writes into its model files about the tasks."""

from dataclasses import replace

import pytest

from continual_repmode.models import ModelCard, TaskCard, read_card
from continual_repmode.results import RunFolder
from continual_repmode.scenario import Scenario
from continual_repmode.training.data_hash import hash_of_pairs
from continual_repmode.training.loop import run_stream
from continual_repmode.training.plugins.training_state import TrainingStatePlugin
from continual_repmode.training.strategy import RepMode
from continual_repmode.training.streams import build_benchmark

pytestmark = pytest.mark.filterwarnings("default")  # Avalanche's deprecated calls

STREAM = Scenario(name="two", experiences=[["dna", "nuclear_envelope"], ["nucleolus"]])
ELSEWHERE = TaskCard(target_mean=7.0, target_std=3.0, data_sha256="a" * 64)


@pytest.fixture
def carry_out(make_strategy, tiny_collection, tmp_path):
    """Carry out a run; return the cards of its checkpoints and the benchmark."""

    def carry_out(card, num_new=None, adopt_first=False):
        benchmark = build_benchmark(
            STREAM, data=tiny_collection, patch_size=(4, 8, 8), num_new=num_new
        )
        folder = RunFolder(tmp_path / "run")
        state = TrainingStatePlugin(folder.state)
        run_stream(
            make_strategy(RepMode, plugins=[state], train_epochs=1),
            benchmark,
            folder,
            state=state,
            card=card,
            after_experience=lambda: None,
            adopt_first=adopt_first,
        )
        return [read_card(folder.checkpoint(i)) for i in (0, 1)], folder, benchmark

    return carry_out


def test_each_learned_task_has_its_images_their_hash_and_its_metrics(
    carry_out, tiny_collection
):
    (first, second), folder, _ = carry_out(ModelCard(run={"seed": 0}, order="x"))
    assert (second.order, second.run) == ("x", {"seed": 0, "experience": 1})
    assert list(first.tasks) == ["dna", "nuclear_envelope"]
    assert list(second.tasks) == ["dna", "nuclear_envelope", "nucleolus"]
    rows = folder.records()[1].rows
    for task, known in second.tasks.items():
        train = tiny_collection.pairs(task, "train")
        assert known.data_sha256 == hash_of_pairs(train)
        assert known.num_images == {"train": 4, "valid": 1, "test": 2}
        assert (known.target_mean, known.target_std) == (20.0, 2.0)
        one, other = (row for row in rows if row["task"] == task)
        if known.signals is not None:
            assert known.signals["num_images"] == [4]
        assert set(known.metrics) == {"mse", "mae", "r2", "pearson_r"}
        for metric, value in known.metrics.items():
            assert value == pytest.approx((one[metric] + other[metric]) / 2)


def test_images_that_take_turns_count_once(carry_out, tiny_collection):
    (_, second), _, benchmark = carry_out(ModelCard(), num_new=2)
    assert len(benchmark.pairs["train"][1]) == 4
    assert second.task("nucleolus").num_images["train"] == 2
    few = tiny_collection.pairs("nucleolus", "train")[:2]
    assert second.task("nucleolus").data_sha256 == hash_of_pairs(few)
    assert second.task("dna").num_images["train"] == 4


def test_tasks_learned_elsewhere_keep_what_is_known_and_get_metrics(carry_out):
    partly = TaskCard(data_sha256="b" * 64)
    card = ModelCard(
        tasks={"golgi": ELSEWHERE, "dna": ELSEWHERE, "nuclear_envelope": partly}
    )
    (_, second), _, _ = carry_out(card, adopt_first=True)
    assert second.task("golgi") == ELSEWHERE  # not tested here
    dna, envelope = second.task("dna"), second.task("nuclear_envelope")
    assert replace(dna, metrics=None, num_images=None) == ELSEWHERE
    assert dna.num_images == {"test": 2}
    assert dna.metrics["mse"] > 0
    assert (envelope.target_mean, envelope.data_sha256) == (20.0, "b" * 64)
    assert len(second.task("nucleolus").data_sha256) == 64


def test_the_window_and_overlap_of_the_test_are_put_down(carry_out):
    (first, second), _, _ = carry_out(ModelCard())
    for card in (first, second):
        assert (card.window, card.overlap) == ((8, 16, 16), (0.5, 0.5, 0.5))

"""What validation tells of each task, and how often it is made."""

import math
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from continual_repmode.inference.windows import window_starts
from continual_repmode.results import RunFolder, read_json
from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.context import context_of
from continual_repmode.training.plugins.progress import (
    ProgressPlugin,
    RunTimeLeft,
    TimeLeft,
)
from continual_repmode.training.plugins.seeding import SeedingPlugin
from continual_repmode.training.plugins.training_state import TrainingStatePlugin
from continual_repmode.training.plugins.validation import (
    LARGEST_SHARE,
    MOST_VALIDATIONS,
    validation_interval,
)
from continual_repmode.training.strategies.cumulative import CumulativePlugin
from continual_repmode.training.strategy import Naive, RepMode


def test_the_kept_epoch_tells_error_and_variance_of_each_task(make_strategy, benchmark):
    strategy = make_strategy(RepMode, train_epochs=4, lr=0.1)
    strategy.train(benchmark.train_stream[0])
    scores = strategy.validation.best_scores
    assert list(scores) == ["dna", "nuclear_envelope"]
    for index, score in enumerate(scores.values()):
        signal, target, label = benchmark.valid_stream[0].dataset[index]
        predicted = strategy.predict(signal[None], int(label))[0].double().numpy()
        truth = target.double().numpy()
        assert score.mse == pytest.approx(np.mean((predicted - truth) ** 2), rel=1e-6)
        of_mean = np.mean((truth - truth.mean()) ** 2)
        assert score.target_variance == pytest.approx(of_mean, rel=1e-12)
    mean = np.mean([score.mse for score in scores.values()])
    assert strategy.validation.best_mse == pytest.approx(mean, rel=1e-12)


def test_cumulative_training_validates_the_earlier_tasks_too(make_strategy, benchmark):
    strategy = make_strategy(Naive, plugins=[CumulativePlugin()], train_epochs=1)
    for experience in benchmark.train_stream[:2]:
        strategy.train(experience)
    assert set(strategy.validation.best_scores) == {
        *("dna", "nuclear_envelope", "nucleolus"),
    }
    assert len(strategy.validation_pairs) == len(strategy.validation_volumes) == 3


def test_the_work_is_that_of_all_windows_against_three_passes_of_the_patches(
    make_strategy, benchmark
):
    strategy = make_strategy(RepMode, window=(4, 8, 8), overlap=0.5)
    strategy.train(benchmark.train_stream[0])
    windows = 1
    for side, extent in zip((4, 8, 8), (8, 16, 16), strict=True):
        windows *= len(window_starts(extent, side, 0.5))
    predicted = 2 * windows * 4 * 8 * 8  # two validation images
    trained = 8 * 4 * 8 * 8  # eight training images, a patch of each
    assert strategy.validation.cost_epochs == pytest.approx(predicted / (3 * trained))


def test_validations_take_at_most_their_share_unless_only_the_last_remains():
    for epochs in (1, 2, 7, 18, 150, 600, 601):
        for cost in (1e-6, 0.01, 0.2, 1.0, 3.7, 40.0, 1e6):
            every = validation_interval(epochs, cost)
            at = {e for e in range(1, epochs + 1) if e % every == 0} | {epochs}
            assert 1 <= every <= epochs
            assert len(at) <= MOST_VALIDATIONS
            assert len(at) == 1 or len(at) * cost <= LARGEST_SHARE * epochs
            if MOST_VALIDATIONS * cost <= LARGEST_SHARE * epochs:
                assert len(at) >= min(epochs, 3)


def test_validation_by_share_is_that_of_the_undisturbed_run(
    make_strategy, benchmark, tmp_path
):
    class Stop(Exception):
        pass

    class Kill(SupervisedPlugin):
        def after_training_iteration(self, strategy, **_):
            if strategy.clock.train_exp_epochs == 13:
                raise Stop

    def make(name, *more):
        plugins = [SeedingPlugin(0), TrainingStatePlugin(tmp_path / name), *more]
        options = {"train_epochs": 16, "validate_every": None}
        return make_strategy(RepMode, plugins=plugins, **options)

    undisturbed = make("a")
    undisturbed.train(benchmark.train_stream[0])
    with pytest.raises(Stop):
        make("b", Kill()).train(benchmark.train_stream[0])
    resumed = make("b")
    resumed.train(benchmark.train_stream[0])
    curve = undisturbed.validation.curve
    assert resumed.validation.curve == curve
    assert resumed.validation.best_scores == undisturbed.validation.best_scores
    expected, found = undisturbed.net.state_dict(), resumed.net.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    # Volumes of 2048 voxels, one window each, and eight patches of 256 in an epoch:
    cost = 2 * 2048 / (3 * 8 * 256)
    assert validation_interval(16, cost) == 3
    validated = [point.epoch for point in curve if point.valid_mse is not None]
    assert validated == [3, 6, 9, 12, 15, 16]


def test_a_record_keeps_the_validation_and_older_ones_lack_it(tmp_path):
    from continual_repmode.results import ExperienceRecord, write_json

    fields = {
        "experience": 0,
        "tasks": ["dna"],
        "curve": [],
        "best_epoch": 1,
        "best_valid_mse": 0.5,
        "num_trained_parameters": 3,
        "train_iterations": 7,
        "proofs": [],
        "rows": [],
        "wall_time_s": {},
    }
    folder = RunFolder(tmp_path)
    scores = {"dna": {"mse": 0.5, "r2": 0.5, "target_variance": 1.0}}
    folder.write_record(ExperienceRecord(**fields, validation=scores))
    assert folder.records()[0].validation == scores
    path = tmp_path / "experiences" / "experience_0.json"
    write_json(path, {k: v for k, v in read_json(path).items() if k != "validation"})
    assert folder.records()[0].validation == {}


class TestTimeLeft:
    def test_epochs_and_validations_to_come_count_each_at_their_own_time(self):
        left = TimeLeft(cost_epochs=5.0)
        left.add(2.0, None)
        left.add(4.0, None)
        assert left.seconds(10, 2) == 10 * 3.0 + 2 * 5 * 3.0  # by work, as yet
        left.add(3.0, 40.0)
        assert left.seconds(10, 2) == 10 * 3.0 + 2 * 40.0
        assert left.seconds(0, 0) == 0

    def test_validations_to_come_are_those_that_are_made(
        self, make_strategy, benchmark
    ):
        for every, epochs in ((1, 3), (2, 5), (3, 6), (9, 4)):
            strategy = make_strategy(RepMode, train_epochs=epochs, validate_every=every)
            strategy.train(benchmark.train_stream[0])
            made = [p.valid_mse is not None for p in strategy.validation.curve]
            for done in range(1, epochs + 1):
                left = strategy.validation.num_left(done, epochs)
                assert left == sum(made[done:])

    def test_lines_of_a_log_tell_it_until_the_last_epoch(
        self, make_strategy, benchmark, capsys
    ):
        make = partial(make_strategy, RepMode, train_epochs=3, validate_every=2)
        make(plugins=[ProgressPlugin()]).train(benchmark.train_stream[0])
        first, second, last = capsys.readouterr().err.strip().splitlines()
        assert "epoch 1/3, loss" in first
        assert first.endswith(" left")
        assert "best validation MSE" in second
        assert ", about 00:0" in second
        assert "left" not in last
        assert not math.isnan(float(last.rpartition(" ")[2]))


def test_the_time_of_a_run_is_that_of_its_experiences_and_tests(
    make_strategy, benchmark, tmp_path
):
    """Foretold after the first experience, and known when the last one is learned."""
    context = context_of(benchmark.train_stream[0])
    context = replace(
        context, num_experiences=3, num_train=(9, 4, 2), num_test=(5, 1, 2)
    )
    run = RunTimeLeft(context, index=0, later_epochs=10)
    assert run.seconds() is None
    run.image_s, run.test_s = 2.0, 3.0
    assert run.seconds() == 2.0 * 10 * (4 + 2) + 3.0 * (5 + 6 + 8)
    run.index = 2
    assert run.seconds() == 3.0 * 8

    progress = ProgressPlugin(tmp_path / "progress.json")
    strategy = make_strategy(RepMode, train_epochs=2, plugins=[progress])
    told = []
    for index, experience in enumerate(benchmark.train_stream):
        strategy.train(experience)
        progress.close()
        told.append(read_json(tmp_path / "progress.json")["run_seconds_left"])
        strategy.eval(benchmark.test_stream[: index + 1])
    assert all(seconds > 0 for seconds in told)
    assert progress._run.seconds() == pytest.approx(
        progress._run.test_s * sum(context_of(experience).num_test)
    )


def test_ctrl_c_takes_the_bars_off_the_terminal(make_strategy, benchmark, capsys):
    class PressesCtrlC(SupervisedPlugin):
        def after_training_iteration(self, strategy, **_):
            if strategy.clock.train_exp_epochs == 1:
                raise KeyboardInterrupt

    progress = ProgressPlugin()
    progress._terminal = True
    strategy = make_strategy(
        RepMode, train_epochs=3, plugins=[progress, PressesCtrlC()]
    )
    with pytest.raises(KeyboardInterrupt):
        strategy.train(benchmark.train_stream[0])
    shown = capsys.readouterr().err
    assert "steps" in shown
    progress.close()
    lines = [line for line in on_screen(shown + capsys.readouterr().err) if line]
    assert lines == []


def on_screen(text):
    """Return the lines of a terminal that got a text, without spaces at their ends."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[A|\r|\n|[^\x1b\r\n]+", text):
        if part == "\x1b[A":
            row -= 1
        elif part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row == len(lines))
        else:
            kept = lines[row].ljust(column)
            lines[row] = kept[:column] + part + kept[column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines]

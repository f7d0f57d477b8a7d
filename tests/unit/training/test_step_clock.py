"""A step is timed with everything that a strategy does in it."""

import pytest

from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.plugins import step_clock
from continual_repmode.training.plugins.step_clock import EnoughStepsError, StepClock
from continual_repmode.training.strategy import Naive


@pytest.fixture
def now(monkeypatch):
    """Time that passes only where a test lets it."""
    now = [0.0]
    monkeypatch.setattr(step_clock.time, "perf_counter", lambda: now[0])
    return now


class SlowPlugin(SupervisedPlugin):
    """Takes 1 s before the step, 2 s within and 4 s after; 100 s beside it."""

    def __init__(self, now):
        super().__init__()
        self.now = now

    def _pass(self, seconds):
        self.now[0] += seconds

    def before_training_epoch(self, strategy, **_):
        self._pass(100.0)

    def before_training_iteration(self, strategy, **_):
        self._pass(1.0)

    def before_backward(self, strategy, **_):
        self._pass(2.0)

    def after_training_iteration(self, strategy, **_):
        self._pass(4.0)


def test_it_ends_the_training_after_the_steps_it_timed(make_strategy, benchmark, now):
    strategy = make_strategy(Naive, train_epochs=3, plugins=[SlowPlugin(now)])
    clock = StepClock(5)
    clock.watch(strategy)
    with pytest.raises(EnoughStepsError):
        strategy.train(benchmark.train_stream[0])
    assert clock.seconds == [7.0] * 5


def test_a_training_with_fewer_steps_ends_by_itself(make_strategy, benchmark):
    strategy = make_strategy(Naive, train_epochs=1)
    clock = StepClock(50)
    clock.watch(strategy)
    strategy.train(benchmark.train_stream[0])
    assert len(clock.seconds) == 2  # 8 images, 4 in a batch
    assert all(seconds > 0 for seconds in clock.seconds)

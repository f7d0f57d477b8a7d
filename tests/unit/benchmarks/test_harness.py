"""Cases take turns, and ratios are taken within rounds."""

from functools import partial

import pytest

from benchmarks import harness
from benchmarks.harness import alternate, memory_over
from benchmarks.records import Spread


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when a case lets it."""
    now = [0.0]
    monkeypatch.setattr(harness.time, "perf_counter", lambda: now[0])
    return now


def test_cases_take_turns_and_every_second_round_goes_backwards(clock):
    calls = []
    cases = {name: partial(calls.append, name) for name in "abc"}
    alternate(cases, 2, "test", warm_up=1)
    assert "".join(calls) == "cba" + "abc" + "cba"


def test_seconds_are_those_of_the_counted_rounds(clock):
    durations = iter([100.0, 3.0, 5.0, 4.0])

    def run() -> float:
        clock[0] += next(durations)
        return clock[0]

    timed = alternate({"case": run}, 3, "test")["case"]
    assert timed.seconds == [3.0, 5.0, 4.0]
    assert timed.results == [103.0, 108.0, 112.0]
    assert timed.spread == Spread(4.0, 3.0, 5.0)


def test_repeated_calls_are_averaged(clock):
    durations = iter([1.0, 2.0, 6.0])

    def run() -> None:
        clock[0] += next(durations)

    assert alternate({"case": run}, 1, "t", warm_up=0, repeats=3)["case"].seconds == [3]


def test_a_slow_case_runs_in_the_first_round_only(clock):
    calls = []
    cases = {name: partial(calls.append, name) for name in "ab"}
    timed = alternate(cases, 3, "test", warm_up=1, once=["b"])
    assert "".join(calls) == "a" + "ab" + "a" + "a"
    assert len(timed["b"].seconds) == 1


def test_a_round_that_is_slow_as_a_whole_does_not_move_the_ratio():
    ratio = Spread.ratio([1.0, 10.0, 2.0], [2.0, 20.0, 4.0])
    assert ratio == Spread(0.5, 0.5, 0.5)


def test_a_ratio_counts_the_rounds_of_both():
    assert Spread.ratio([3.0, 8.0, 8.0], [2.0]) == Spread(1.5, 1.5, 1.5)


def test_the_median_of_ratios_is_not_the_ratio_of_medians():
    above, below = [1.0, 2.0, 9.0], [1.0, 4.0, 3.0]
    assert Spread.ratio(above, below) == Spread(1.0, 0.5, 3.0)


def test_memory_is_compared_where_both_are_known():
    (comparison,) = memory_over(300, 200, "plain", at_most=1.2)
    assert comparison.name == "memory over plain"
    assert comparison.value.median == 1.5
    assert memory_over(None, 200, "plain") == []

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continual_repmode.errors import UserError
from continual_repmode.metrics.continual import (
    backward_transfer,
    forgetting,
    forward_transfer,
    learned_values,
    overall,
)
from continual_repmode.tasks import TASKS

NAN = float("nan")
ERRORS = [  # MSE after each of three experiences
    {"actin": 0.5, "dna": NAN, "golgi": None},
    {"actin": 0.4, "dna": 0.3},
    {"actin": 0.7, "dna": 0.2, "golgi": 0.6},
]


def test_forgetting_is_the_distance_from_the_best_earlier_score():
    found = forgetting(ERRORS, higher_is_better=False)

    assert found.per_task == pytest.approx({"actin": 0.7 - 0.4, "dna": 0.2 - 0.3})
    assert found.mean == pytest.approx((0.3 - 0.1) / 2)


def test_backward_transfer_is_the_gain_since_learning():
    found = backward_transfer(ERRORS, higher_is_better=False)

    assert found.per_task == pytest.approx({"actin": 0.5 - 0.7, "dna": 0.3 - 0.2})
    assert found.mean == pytest.approx(-0.05)


def test_scores_right_after_learning():
    assert learned_values(ERRORS) == {"actin": 0.5, "dna": 0.3, "golgi": 0.6}


def test_forward_transfer_is_the_gain_over_a_reference_run():
    found = forward_transfer(
        learned_values(ERRORS), {"golgi": 0.8, "dna": 0.25}, higher_is_better=False
    )

    assert found.per_task == pytest.approx({"golgi": 0.2, "dna": -0.05})
    assert found.mean == pytest.approx(0.075)


@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), min_size=2))
def test_scores_turned_upside_down_give_the_same(values):
    errors = [{"a": a, "b": b} for a, b in values]
    gains = [{"a": -a, "b": -b} for a, b in values]

    for function in (forgetting, backward_transfer):
        low = function(errors, higher_is_better=False)
        assert function(gains, higher_is_better=True) == low


@given(st.floats(-10, 10), st.booleans(), st.integers(1, 5))
def test_equal_scores_are_exactly_plain_zero(value, higher_is_better, num_experiences):
    results = [{"a": value, "b": value}] * (num_experiences + 1)

    scores = [
        forgetting(results, higher_is_better=higher_is_better),
        backward_transfer(results, higher_is_better=higher_is_better),
        forward_transfer(results[0], results[-1], higher_is_better=higher_is_better),
    ]

    for found in scores:
        for number in (*found.per_task.values(), found.mean):
            assert str(number) == "0.0"  # and not -0.0


def test_one_experience_leaves_nothing_to_forget():
    for function in (forgetting, backward_transfer):
        found = function([{"a": 0.5}], higher_is_better=True)
        assert found.per_task == {}
        assert math.isnan(found.mean)


def test_a_learned_task_must_have_a_last_score():
    results = [{"a": 0.5}, {"b": 0.5, "a": NAN}]
    for function in (forgetting, backward_transfer):
        with pytest.raises(UserError, match="'a' was learned but has no score"):
            function(results, higher_is_better=True)


def test_a_reference_task_must_have_been_learned():
    with pytest.raises(UserError, match="'b', which was not learned"):
        forward_transfer({"a": 0.5}, {"b": 0.5}, higher_is_better=True)


TABLE_1 = {  # the row "RepMode" of the paper, tasks in alphabetical order
    "mse": [
        0.3936, 0.6572, 0.5443, 0.8358, 0.4852, 0.4046,
        0.7792, 0.3389, 0.4459, 0.2631, 0.1995, 0.6168,
    ],
    "mae": [
        0.4558, 0.4103, 0.4136, 0.5619, 0.4598, 0.4445,
        0.5694, 0.4171, 0.3885, 0.2820, 0.1682, 0.3245,
    ],
    "r2": [
        0.6004, 0.3295, 0.4437, 0.0199, 0.4831, 0.5865,
        0.1064, 0.6590, 0.5404, 0.7340, 0.7997, 0.3685,
    ],
}  # fmt: skip


def test_the_column_all_of_table_1_is_the_mean_over_images():
    num_images = {task: 13 if task == "cell_membrane" else 20 for task in TASKS}
    for metric, over_images, over_tasks in (
        *(("mse", 0.4956, 0.4970), ("mae", 0.4078, 0.4080)),
        ("r2", 0.4735, 0.4726),
    ):
        found = overall(dict(zip(TASKS, TABLE_1[metric], strict=True)), num_images)
        assert round(found.over_images, 4) == over_images
        assert round(found.over_tasks, 4) == over_tasks


def test_an_average_over_nothing_is_refused():
    with pytest.raises(UserError, match="no tasks"):
        overall({}, {})
    with pytest.raises(UserError, match="'dna': it has no test images"):
        overall({"dna": 0.5}, {"actin": 3})

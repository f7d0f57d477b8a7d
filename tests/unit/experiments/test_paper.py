"""The numbers of the paper agree with each other under our own aggregation."""

import pytest

from continual_repmode.experiments.paper import METRICS, TABLE_1, TABLE_3
from continual_repmode.metrics.continual import overall
from continual_repmode.metrics.regression import METRICS as KNOWN
from continual_repmode.tasks import TASKS

NUM_TEST_IMAGES = {task: 13 if task == "cell_membrane" else 20 for task in TASKS}


@pytest.mark.parametrize("metric", METRICS)
def test_the_column_all_is_the_mean_over_test_images(metric):
    for method, row in TABLE_1.items():
        assert tuple(row.per_task[metric]) == TASKS
        found = overall(row.per_task[metric], NUM_TEST_IMAGES).over_images
        assert found == pytest.approx(row.overall[metric], abs=1e-4), method


def test_a_mean_over_tasks_is_not_what_the_paper_reports():
    row = TABLE_1["repmode"]
    found = overall(row.per_task["mse"], NUM_TEST_IMAGES)
    assert found.over_tasks != pytest.approx(row.overall["mse"], abs=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_the_gain_is_relative_to_multi_net(metric):
    better = 1 if KNOWN[metric].higher_is_better else -1
    reference = TABLE_1["multinet"].overall[metric]
    for method, row in TABLE_1.items():
        gain = 100 * better * (row.overall[metric] - reference) / reference
        rounded = pytest.approx(gain, abs=0.03)
        assert row.gain_percent[metric] == rounded, method


def test_individual_training_is_the_same_in_both_tables():
    joint = TABLE_1["multinet"].per_task
    for metric, values in TABLE_3["multinet"].per_task.items():
        assert values == {task: joint[metric][task] for task in values}

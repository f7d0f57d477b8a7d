"""Metrics by name."""

import pytest

from continual_repmode import extras
from continual_repmode.errors import UserError
from continual_repmode.metrics.further import PRESETS, choose_metrics
from continual_repmode.metrics.regression import METRICS, Metric
from continual_repmode.offers import offers
from continual_repmode.training.metric_plugins import RegressionMetrics


def names(chosen):
    return [metric.name for metric in chosen]


def test_names_and_sets_are_chosen_each_once_and_the_four_are_there_anyway():
    assert names(choose_metrics("dice, objects,mse", "x=")) == [
        "dice",
        "count_error",
        "average_precision",
    ]
    assert choose_metrics([], "x=") == choose_metrics("", "x=") == ()
    assert names(choose_metrics(PRESETS, "x=")) == [*offers("metrics")]
    for name, offer in offers("metrics").items():
        metric = offer.load(Metric)
        assert metric.name == name
        assert name not in METRICS


def test_unknown_names_and_missing_packages_are_told(monkeypatch):
    with pytest.raises(UserError, match=r"^--metrics ssmi: .*did you mean ssim"):
        choose_metrics("ssmi", "--metrics ")
    monkeypatch.setattr(extras, "_is_installed", lambda name: name != "cubic")
    with pytest.raises(
        UserError, match=r'^metrics=field: lacks cubic; .* "\.\[metrics\]"'
    ):
        choose_metrics(["field"], "metrics=")


def test_metrics_of_objects_need_a_voxel_size():
    with pytest.raises(UserError, match="metrics=ssim: give voxel_size_um"):
        RegressionMetrics(choose_metrics("ssim", ""))

"""Feeds the dense-regression metrics from Avalanche's evaluation loop."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from continual_repmode.metrics.continual import overall
from continual_repmode.metrics.further import known_metrics, measure_further
from continual_repmode.metrics.regression import ImageMetrics, RegressionSums
from continual_repmode.training.avalanche_api import (
    EvaluationPlugin,
    MetricValue,
    PluginMetric,
)
from continual_repmode.training.context import context_of


@dataclass(frozen=True, slots=True)
class ImageRow:
    """The metrics of one test image.

    Attributes
    ----------
    task : str
        Name of the predicted structure.
    image : str
        Name of the image within its collection.
    metrics : ImageMetrics
        MSE, MAE, R2 and Pearson's r over the whole volume.
    further : mapping of str to float
        Metrics of other packages.
    """

    task: str
    image: str
    metrics: ImageMetrics
    further: Mapping[str, float]

    def values(self) -> dict[str, float]:
        """Return all metrics, and the number of voxels, by name."""
        return {**asdict(self.metrics), **self.further}


class RegressionMetrics(PluginMetric):  # type: ignore[misc] # Avalanche is untyped
    """MSE, MAE, R2 and Pearson's r of every image, task and stream.

    Emits one value per metric and task, named ``mse/test_stream/dna``, and the overall
    value in both weightings, ``mse/test_stream/all_images`` (the paper's "All") and
    ``mse/test_stream/all_tasks``. ``rows`` keeps the images of the last evaluation.
    """

    def __init__(self) -> None:
        super().__init__()
        known_metrics()  # a metric that cannot be used is told before the start
        self.rows: list[ImageRow] = []
        self._position = 0

    def reset(self) -> None:
        """Forget the rows of the last evaluation."""
        self.rows = []

    def result(self) -> dict[str, dict[str, list[float]]]:
        """Return the values of every image: metric -> task -> values."""
        values: dict[str, dict[str, list[float]]] = {}
        for metric in known_metrics():
            by_task = values.setdefault(metric, {})
            for row in self.rows:
                by_task.setdefault(row.task, []).append(row.values()[metric])
        return values

    def before_eval(self, strategy: Any) -> None:
        """Start a new evaluation."""
        self.reset()

    def before_eval_exp(self, strategy: Any) -> None:
        """Start at the first image of the experience."""
        self._position = 0

    def after_eval_iteration(self, strategy: Any) -> None:
        """Measure the volume that was just predicted."""
        pair = context_of(strategy.experience).pairs[self._position]
        self._position += 1
        sums = RegressionSums()
        sums.update(strategy.mb_output, strategy.mb_y)
        predicted, true = (
            volume[0, 0].detach().float().cpu().numpy()
            for volume in (strategy.mb_output, strategy.mb_y)
        )
        further = measure_further(predicted, true)
        self.rows.append(ImageRow(pair.task, pair.name, sums.result(), further))

    def after_eval(self, strategy: Any) -> Sequence[MetricValue]:
        """Emit the values of the stream."""
        stream = f"{next(iter(strategy.current_eval_stream)).origin_stream.name}_stream"
        step = strategy.clock.train_iterations
        emitted: dict[str, float] = {}
        for metric, by_task in self.result().items():
            name = f"{metric}/{stream}"
            means = {task: sum(found) / len(found) for task, found in by_task.items()}
            counts = {task: len(found) for task, found in by_task.items()}
            emitted |= {f"{name}/{task}": mean for task, mean in means.items()}
            both = overall(means, counts)
            emitted[f"{name}/all_images"] = both.over_images
            emitted[f"{name}/all_tasks"] = both.over_tasks
        return [MetricValue(self, name, v, step) for name, v in emitted.items()]

    def __str__(self) -> str:
        return "RegressionMetrics"


def silent_evaluator() -> EvaluationPlugin:
    """Return an evaluator that measures and keeps the values but logs nowhere."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        return EvaluationPlugin(RegressionMetrics(), loggers=[])


def regression_metrics(evaluator: EvaluationPlugin) -> RegressionMetrics:
    """Return the :class:`RegressionMetrics` of an evaluator."""
    found: RegressionMetrics = next(
        m for m in evaluator.metrics if isinstance(m, RegressionMetrics)
    )
    return found

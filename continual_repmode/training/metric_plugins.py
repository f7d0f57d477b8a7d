"""Feeds the dense-regression metrics from Avalanche's evaluation loop."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from continual_repmode import distributed
from continual_repmode.data.collection import Pair
from continual_repmode.errors import UserError
from continual_repmode.metrics.continual import overall
from continual_repmode.metrics.further import measure_further
from continual_repmode.metrics.image_pair import ImagePair
from continual_repmode.metrics.regression import (
    METRICS,
    ImageMetrics,
    Metric,
    RegressionSums,
)
from continual_repmode.training.avalanche_api import (
    EvaluationPlugin,
    MetricValue,
    PluginMetric,
)
from continual_repmode.training.context import context_of


@dataclass(frozen=True, slots=True)
class ImageRow:
    """The metrics of one test image."""

    #: Name of the predicted structure.
    task: str
    #: Name of the image within its collection.
    image: str
    #: MSE, MAE, R2 and Pearson's r over the whole volume.
    metrics: ImageMetrics
    #: The metrics chosen in addition, where they are defined for the image.
    further: Mapping[str, float]

    def values(self) -> dict[str, float]:
        """Return all metrics, and the number of voxels, by name."""
        return {**asdict(self.metrics), **self.further}


class RegressionMetrics(PluginMetric):  # type: ignore[misc] # Avalanche is untyped
    """MSE, MAE, R2, Pearson's r and chosen metrics of every image, task and stream.

    Emits one value per metric and task, named ``mse/test_stream/dna``, and the overall
    value in both weightings, ``mse/test_stream/all_images`` (the paper's "All") and
    ``mse/test_stream/all_tasks``. ``rows`` keeps the images of the last evaluation.

    ``metrics``: in addition to the four; see
        :func:`~continual_repmode.metrics.further.choose_metrics`.
    ``voxel_size_um``: edges (z, y, x) of a voxel; needed for ``metrics``.
    Raises UserError if there are metrics and no voxel size.
    """

    def __init__(
        self,
        metrics: Sequence[Metric] = (),
        voxel_size_um: tuple[float, float, float] | None = None,
    ) -> None:
        super().__init__()
        if metrics and voxel_size_um is None:
            raise UserError(
                f"metrics={metrics[0].name}: give voxel_size_um, too; sizes of objects "
                "and of details follow from it"
            )
        self._metrics, self._voxel_size_um = tuple(metrics), voxel_size_um
        self.rows: list[ImageRow] = []
        self._pairs: Sequence[Pair] = ()
        self._measured: list[ImageRow] = []

    def reset(self) -> None:
        """Forget the rows of the last evaluation."""
        self.rows = []

    def result(self) -> dict[str, dict[str, list[float]]]:
        """Return the values of every image: metric -> task -> values."""
        values: dict[str, dict[str, list[float]]] = {}
        for row in self.rows:
            for metric, value in row.values().items():
                if metric in METRICS or metric in row.further:
                    by_task = values.setdefault(metric, {})
                    by_task.setdefault(row.task, []).append(value)
        return values

    def before_eval(self, strategy: Any) -> None:
        """Start a new evaluation."""
        self.reset()

    def before_eval_exp(self, strategy: Any) -> None:
        """Start at the first image of the experience."""
        self._pairs = distributed.share(context_of(strategy.experience).pairs)
        self._measured = []

    def after_eval_iteration(self, strategy: Any) -> None:
        """Measure the volume that was just predicted."""
        pair = self._pairs[len(self._measured)]
        sums = RegressionSums()
        sums.update(strategy.mb_output, strategy.mb_y)
        further: dict[str, float] = {}
        if self._voxel_size_um is not None and self._metrics:
            predicted, true = (
                volume[0, 0].detach().float().cpu().numpy()
                for volume in (strategy.mb_output, strategy.mb_y)
            )
            measured = ImagePair(predicted, true, pair.task, self._voxel_size_um)
            further = measure_further(self._metrics, measured)
        self._measured.append(ImageRow(pair.task, pair.name, sums.result(), further))

    def after_eval_exp(self, strategy: Any) -> None:
        """Take the images of the experience, those of other processes too."""
        self.rows += distributed.in_turn(self._measured)

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


def evaluator_with(
    metrics: RegressionMetrics | None = None, loggers: Sequence[Any] = ()
) -> EvaluationPlugin:
    """Return an evaluator that measures, keeps the values and tells the loggers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        return EvaluationPlugin(metrics or RegressionMetrics(), loggers=list(loggers))


def regression_metrics(evaluator: EvaluationPlugin) -> RegressionMetrics:
    """Return the :class:`RegressionMetrics` of an evaluator."""
    found: RegressionMetrics = next(
        m for m in evaluator.metrics if isinstance(m, RegressionMetrics)
    )
    return found

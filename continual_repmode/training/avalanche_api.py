"""Imports Avalanche without its import-time warnings reaching the user.

Importing Avalanche 0.6 warns of a missing quadratic-programming solver (only GEM needs
one) and of deprecations inside its own dependencies. Every module of
:mod:`continual_repmode.training` takes Avalanche's names from here.
"""

import logging
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _root_level = logging.getLogger().level
    from avalanche.benchmarks import benchmark_from_datasets, with_task_labels
    from avalanche.benchmarks.scenarios import CLExperience, CLScenario
    from avalanche.benchmarks.utils import (
        AvalancheDataset,
        ConstantSequence,
        TaskLabels,
    )
    from avalanche.benchmarks.utils.utils import TaskSet
    from avalanche.core import SupervisedPlugin
    from avalanche.evaluation import PluginMetric
    from avalanche.evaluation.metric_results import MetricValue
    from avalanche.logging import BaseLogger
    from avalanche.models import MultiTaskModule
    from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, GEMPlugin
    from avalanche.training.templates import SupervisedTemplate
    from avalanche.training.utils import ParamData

    logging.getLogger().setLevel(_root_level)

__all__ = [
    "AvalancheDataset",
    "BaseLogger",
    "CLExperience",
    "CLScenario",
    "ConstantSequence",
    "EWCPlugin",
    "EvaluationPlugin",
    "GEMPlugin",
    "MetricValue",
    "MultiTaskModule",
    "ParamData",
    "PluginMetric",
    "SupervisedPlugin",
    "SupervisedTemplate",
    "TaskLabels",
    "TaskSet",
    "benchmark_from_datasets",
    "with_task_labels",
]

"""Structures predicted from image files and volumes by a trained model.

:func:`predict_file` reads and writes files of any size, :func:`predict_array` takes a
volume in memory, and the command ``continual-repmode predict`` many files at once.
"""

from continual_repmode.prediction.arrays import predict_array
from continual_repmode.prediction.files import predict_file
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.planning import Plan, plan_predictions

__all__ = [
    "Plan",
    "PredictOptions",
    "plan_predictions",
    "predict_array",
    "predict_file",
]

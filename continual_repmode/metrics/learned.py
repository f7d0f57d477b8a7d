"""Whether a task was learned at all: its error against the spread of its targets.

Z-scored images that were resized have less variance than 1, so an error below 1 proves
nothing. What counts is the error of predicting the mean of each image everywhere, which
is the variance of that image.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

LEARNED_FROM = 0.02
"""Validation R2 from which on a task counts as learned: a correlation of 0.14 or more.

Right after learning, in the runs of ``results/``, the two structures that hardly show
in transmitted light were below it on the test images (Golgi in all of 209 runs,
desmosomes in 97 %, with 0.00 and 0.01 in the median); each of the ten others was above
it in 98 to 100 %, with 0.17 to 0.49 in the median.
"""


@dataclass(frozen=True, slots=True)
class ValidationScore:
    """How well one task is predicted on its validation images."""

    #: Mean over the images.
    mse: float
    #: Mean over the images of the variance of the target, in the unit of ``mse``: the
    #: error of predicting each image's mean.
    target_variance: float

    @property
    def r2(self) -> float:
        """One minus the ratio of the two; NaN if all targets are constant."""
        if not self.target_variance:
            return math.nan
        return 1 - self.mse / self.target_variance

    @property
    def is_learned(self) -> bool:
        """Whether it is better than predicting each image's mean."""
        return self.r2 >= LEARNED_FROM

    def as_record(self) -> dict[str, float | bool]:
        """Return the fields, the R2 and whether it is learned, as records keep them."""
        return {**asdict(self), "r2": self.r2, "learned": self.is_learned}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "ValidationScore":
        """Read what :meth:`as_record` returned, also where JSON made NaN null."""
        mse, variance = record["mse"], record["target_variance"]
        return cls(math.nan if mse is None else mse, variance)

    def judgement(self) -> str:
        """Say whether the task was learned.

        >>> ValidationScore(0.9, 0.9).judgement()
        "not learned: validation R² 0.00, no better than each image's mean"
        """
        if self.is_learned:
            return f"learned: validation R² {self.r2:.2f}"
        return (
            f"not learned: validation R² {self.r2:.2f}, no better than each image's "
            "mean"
        )


def not_learned(validation: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Say of every task that was not learned how far it is from that.

    ``validation``: task -> what :meth:`ValidationScore.as_record` returned. Tasks about
        which nothing is known are absent.
    Returns: task -> :meth:`ValidationScore.judgement`.
    """
    scores = {task: ValidationScore.from_record(r) for task, r in validation.items()}
    return {t: score.judgement() for t, score in scores.items() if not score.is_learned}

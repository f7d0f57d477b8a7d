"""The extension against a network from scratch that learned from the same images."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from continual_repmode.metrics.learned import ValidationScore
from continual_repmode.results import ExperienceRecord

_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two networks."""

    #: That were trained, and that exist for this structure only.
    num_parameters: int
    #: Of the kept epoch, mean over the validation images.
    valid_mse: float
    #: The same against the variance of the validation targets.
    valid_r2: float
    #: See :attr:`continual_repmode.metrics.learned.ValidationScore.is_learned`.
    is_learned: bool
    #: Test image -> error.
    test_mse: dict[str, float]

    @classmethod
    def of(cls, record: ExperienceRecord, target_variance: float) -> "Side":
        """Take from a record what is compared.

        ``target_variance``: mean over the validation images of the variance of their
            targets.
        """
        score = ValidationScore(record.best_valid_mse, target_variance)
        return cls(
            num_parameters=record.num_trained_parameters,
            valid_mse=score.mse,
            valid_r2=score.r2,
            is_learned=score.is_learned,
            test_mse={
                row["image"]: math.nan if row["mse"] is None else row["mse"]
                for row in record.rows
            },
        )

    @property
    def mean_test_mse(self) -> float:
        """Mean over the test images."""
        return float(np.mean(list(self.test_mse.values())))


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The extension and the network from scratch, on the same images."""

    extension: Side
    scratch: Side

    @property
    def differences(self) -> list[float]:
        """MSE of the extension less that from scratch, of every test image."""
        errors, others = self.extension.test_mse, self.scratch.test_mse
        return [error - others[image] for image, error in errors.items()]

    @property
    def mean_difference(self) -> float:
        """Mean of the differences; negative: the extension is better."""
        return float(np.mean(self.differences))

    @property
    def spread(self) -> float | None:
        """Standard deviation of the differences; None for one image."""
        found = self.differences
        return float(np.std(found, ddof=1)) if len(found) > 1 else None

    @property
    def exceeds_chance(self) -> bool:
        """Whether the 95 % confidence interval of the mean excludes 0 (Student's t)."""
        if self.spread is None:
            return False
        number = len(self.differences)
        quantile = float(student_t.ppf((1 + _CONFIDENCE) / 2, number - 1))
        return abs(self.mean_difference) > quantile * self.spread / math.sqrt(number)

    def verdict(self) -> str:
        """Say in one sentence which was better, by how much, and at what cost."""
        cost = self.extension.num_parameters / self.scratch.num_parameters
        parts = [self._on_validation(), self._on_test()]
        if not (self.extension.is_learned or self.scratch.is_learned):
            parts = ["neither network has learned the structure"]
        own, other = self.extension.num_parameters, self.scratch.num_parameters
        parts.append(
            f"the extension has {own:,} parameters for it, {_percent(cost)} of the "
            f"{other:,} of a network of its own"
        )
        return "; ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            **asdict(self),
            "mean_difference": self.mean_difference,
            "spread": self.spread,
            "exceeds_chance": self.exceeds_chance,
            "verdict": self.verdict(),
        }

    def _on_validation(self) -> str:
        low, high = sorted((self.extension.valid_mse, self.scratch.valid_mse))
        better = _name(self.extension.valid_mse == low)
        return f"on validation images {better} was better (MSE {low:.4f} to {high:.4f})"

    def _on_test(self) -> str:
        mean, found = self.mean_difference, self.differences
        fewer = sum(difference * mean > 0 for difference in found)
        lower = f"on {fewer} of {len(found)}, MSE lower by {abs(mean):.4f}"
        if self.spread is None:
            return (
                f"on the one test image {_name(mean < 0)} was better, too few to judge"
            )
        lower += f" ± {self.spread:.4f} from image to image"
        if self.exceeds_chance:
            return f"on test images {_name(mean < 0)} was better ({lower})"
        return (
            f"on test images neither was clearly better ({_name(mean < 0)} {lower}, "
            "which may be chance)"
        )


def _name(is_extension: bool) -> str:
    return "the extension" if is_extension else "the network from scratch"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"

"""Trains each experience on the data of all experiences so far."""

from dataclasses import dataclass
from typing import Any, ClassVar

from continual_repmode.training.context import context_of
from continual_repmode.training.strategies.naive import NaiveConfig
from continual_repmode.training.strategies.strategy_config import Tuning


@dataclass(kw_only=True, slots=True)
class CumulativeConfig(NaiveConfig):
    """Fine-tune on the data of all experiences so far: another upper bound."""

    label: ClassVar[str] = "cumulative (sees all earlier data)"
    tuning: ClassVar[Tuning | None] = None

    def plugins(self) -> list[object]:
        """Make the plugin."""
        return [CumulativePlugin()]


class CumulativePlugin:
    """Add the data of all earlier experiences of the stream to that of each new one.

    An upper bound for methods that may keep nothing. Every epoch passes over all images
    so far, and the weights to keep are chosen by the validation volumes of all tasks so
    far. The network continues from where it was. Avalanche's ``Cumulative`` also joins
    the datasets of the experiences but balances the batches by task.
    """

    def after_train_dataset_adaptation(self, strategy: Any, **_: Any) -> None:
        """Join the datasets; the new one comes first."""
        experience = strategy.experience
        for earlier in experience.origin_stream[: experience.current_experience]:
            context = context_of(earlier)
            strategy.adapted_dataset = strategy.adapted_dataset.concat(earlier.dataset)
            strategy.train_pairs += context.pairs
            strategy.validation_pairs += context.validation_pairs
            strategy.validation_volumes = strategy.validation_volumes.concat(
                context.validation
            )

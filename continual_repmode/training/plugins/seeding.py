"""Makes every epoch's random numbers a function of the seed alone."""

from typing import Any

from continual_repmode.runtime import seed_everything
from continual_repmode.training.avalanche_api import SupervisedPlugin


class SeedingPlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """Seed all generators at the start of each experience and epoch, and at its end.

    New experts, batch order, patches and flips then depend on ``(seed, experience,
    epoch)`` only: a resumed run draws what the undisturbed one would have drawn. Give
    it before plugins that draw random numbers.

    Parameters
    ----------
    seed : int
        The seed of the run, at least 0.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def before_train_dataset_adaptation(self, strategy: Any, **_: Any) -> None:
        """Seed what happens before the first epoch: the growth of the network."""
        seed_everything(self._seed, strategy.experience.current_experience)

    def before_training_epoch(self, strategy: Any, **_: Any) -> None:
        """Seed the epoch."""
        epoch = strategy.clock.train_exp_epochs
        seed_everything(self._seed, strategy.experience.current_experience, epoch + 1)

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Seed what later plugins draw from the data: memories, importances."""
        done = strategy.clock.train_exp_epochs
        seed_everything(self._seed, strategy.experience.current_experience, done + 1)

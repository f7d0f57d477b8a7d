"""Stores gating weights when an experience has been learned."""

from typing import Any

from continual_repmode.training.avalanche_api import SupervisedPlugin


class StoredGatesPlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """Freeze the network after each experience, its gating weights in buffers.

    From then on every known task uses its stored weights, so that nothing learned later
    can change them (paper, Sec. 4.4).
    """

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Freeze what has been learned."""
        strategy.net.freeze()

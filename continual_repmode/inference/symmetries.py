"""Predictions of several networks, and of turned and flipped windows: mean and spread.

A network of convolutions does not know up from down in the plane, but it has not
learned exactly the same for all directions. How far its eight answers are apart says
where it is unsure; how far those of several networks are apart says more, at the price
of training them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NUM_SYMMETRIES = 8
"""Quarter turns of the plane, each as it is and mirrored."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Predicts windows by all members, as :data:`..tiled.Predict` does."""

    #: Each maps windows (B, 1, z, y, x) to predictions (B, 1, z, y, x).
    networks: Sequence[Callable[[Tensor], Tensor]]
    #: Ask each for all eight orientations of the plane (Y, X), instead of one.
    symmetric: bool = False
    #: Return the standard deviation over all answers as a second channel.
    deviation: bool = False

    def __call__(self, windows: Tensor) -> Tensor:
        """Return the mean over all answers, and their deviation if it is asked for.

        ``windows``: (B, 1, z, y, x).
        Returns: (B, 1, z, y, x); mean; and population standard deviation, in the units
            of the mean.
        """
        found = [
            _turned_back(network(_turned(windows, index)), index)
            for index in range(NUM_SYMMETRIES if self.symmetric else 1)
            for network in self.networks
        ]
        answers = torch.stack(found)
        mean = answers.mean(0)
        if not self.deviation:
            return mean
        return torch.cat([mean, answers.std(0, correction=0)], 1)


def _turned(windows: Tensor, index: int) -> Tensor:
    """Return windows in one of the eight orientations; 0 is as they are."""
    mirrored = windows.flip(-1) if index >= 4 else windows
    return torch.rot90(mirrored, index % 4, (-2, -1))


def _turned_back(predicted: Tensor, index: int) -> Tensor:
    straight = torch.rot90(predicted, -(index % 4), (-2, -1))
    return straight.flip(-1) if index >= 4 else straight

"""How often to validate, so that training keeps most of the time.

Decided by counted work, not by clocks: the same settings and images give the same
interval on any machine, and a resumed run that of the undisturbed one. The work is the
number of voxels that pass through the network. One that is trained on counts three
times: forward, and backward to the input and to the weights.

That is a rule of thumb. Where it allowed 0.20 to 0.25, validation took 0.14 to 0.30 of
the CPU time of the training steps of small RepMode networks (one thread), but 0.5 to
0.9 with 3x3x3 networks of width 4 and 8: PyTorch predicts their windows, one at a time,
by a slower algorithm than it trains batches with.
"""

import math
from typing import Any

from continual_repmode.inference.windows import WindowGrid
from continual_repmode.training.context import context_of

LARGEST_SHARE = 0.25
"""Work of all validations of an experience, at most, in that of its training."""
MOST_VALIDATIONS = 10
"""Validations of an experience; more choose the weights hardly better."""
_PASSES_OF_TRAINING = 3


def validation_interval(epochs: int, cost_epochs: float) -> int:
    """Return the epochs between validations.

    ``epochs``: of the experience, at least 0.
    ``cost_epochs``: work of a validation, in that of an epoch of training.
    Returns: at least 1. As many validations, evenly spread, as :data:`LARGEST_SHARE`
        leaves room for, but at most :data:`MOST_VALIDATIONS`; the last epoch, which is
        always validated, is one of them. It remains, at whatever cost, where there is
        room for none.

    Examples
    --------
    >>> [validation_interval(600, cost) for cost in (0.1, 30, 60, 1000)]
    [60, 120, 300, 600]
    """
    room = epochs * LARGEST_SHARE
    number = max(1, min(MOST_VALIDATIONS, math.floor(room / cost_epochs)))
    return max(1, math.ceil(epochs / number))


def validation_cost(strategy: Any) -> float:
    """Return the work of a validation, in that of an epoch of training.

    Counts the voxels of every window over every validation image, as they overlap,
    against three times those of the training patches. What a strategy adds to its
    batches is left out.

    ``strategy``: with the data of its current experience.
    """
    patch = math.prod(context_of(strategy.experience).patch_size)
    trained = _PASSES_OF_TRAINING * patch * len(strategy.adapted_dataset)
    grids = [
        WindowGrid.over(pair.load().signal.shape, strategy.window, strategy.overlap)
        for pair in strategy.validation_pairs
    ]
    return sum(grid.num_windows * math.prod(grid.sides) for grid in grids) / trained

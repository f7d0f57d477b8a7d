"""In which order training patches come."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import RandomSampler


class RecordingSampler(RandomSampler):
    """A random sampler that remembers the order it drew."""

    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset)
        self.order: list[int] = []

    def __iter__(self) -> Iterator[int]:
        self.order = self._draw()
        return iter(self.order)

    def _draw(self) -> list[int]:
        return list(super().__iter__())


class BalancedSampler(RecordingSampler):
    """Draws every image once per epoch, the tasks in turn.

    The images of a task come in random order, evenly spread over the epoch. Tasks with
    equally many images take turns, in an order that is drawn for each epoch: in no
    batch do their numbers differ by more than one. Random numbers come from PyTorch's
    global generator.

    Parameters
    ----------
    dataset : TaskDataset
        Knows the task label of each of its samples.
    """

    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset)
        self._labels = [int(label) for label in dataset.targets_task_labels]

    def _draw(self) -> list[int]:
        numbers = Counter(self._labels)
        first = {label: float(torch.rand(())) for label in sorted(numbers)}
        drawn: Counter[int] = Counter()
        place = {}
        for index in torch.randperm(len(self._labels)).tolist():
            label = self._labels[index]
            place[index] = (drawn[label] + first[label]) / numbers[label]
            drawn[label] += 1
        return sorted(place, key=place.__getitem__)


SAMPLERS = {"random": RecordingSampler, "balanced": BalancedSampler}
"""How batches mix the tasks of an experience, by the name that ``train.mixing`` has."""

"""In which order training patches come."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import RandomSampler


class RecordingSampler(RandomSampler):
    """A random sampler that remembers the order it drew."""

    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset)
        self.order: list[int] = []

    def __iter__(self) -> Iterator[int]:
        self.order = list(super().__iter__())
        return iter(self.order)

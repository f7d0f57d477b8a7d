"""In which order training patches come, and which of them a process takes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from continual_repmode import distributed
from continual_repmode.data.dataset import drawing_only


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

    ``dataset``: knows the task label of each of its samples.
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


class BatchShare(Dataset[Any]):
    """The samples that this process takes of each batch.

    Every process draws the places of all patches, so that its random numbers are those
    of one process alone, but cuts only its own out of the volumes.

    ``patch_size``: their sides (Z, Y, X) in voxels.
    """

    def __init__(self, dataset: Any, patch_size: tuple[int, int, int]) -> None:
        self._dataset = dataset
        self._patch_size = patch_size

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return the samples of a batch, ``None`` in place of those of others."""
        found = []
        for position, index in enumerate(indices):
            if position % distributed.world() == distributed.rank():
                found.append(self._dataset[index])
            else:
                with drawing_only():
                    self._dataset[index]
                found.append(None)
        return found

    def collate(self, samples: Sequence[Any]) -> Any:
        """Make a batch of the samples of this process; there may be none."""
        own = [sample for sample in samples if sample is not None]
        if own:
            return self._dataset.collate_fn(own)
        nothing = torch.zeros(0, 1, *self._patch_size)
        return [nothing, nothing, torch.zeros(0, dtype=torch.long)]


def patch_loader(
    data: Any,
    sampler: RecordingSampler,
    *,
    batch_size: int,
    patch_size: tuple[int, int, int],
    **loading: Any,
) -> DataLoader[Any]:
    """Return a loader of batches, or of what this process takes of them.

    ``patch_size``: sides (Z, Y, X) in voxels.
    ``**loading``: of :class:`torch.utils.data.DataLoader`.
    """
    if distributed.world() == 1:
        return DataLoader(
            data, batch_size, sampler=sampler, collate_fn=data.collate_fn, **loading
        )
    share = BatchShare(data, patch_size)
    batches = BatchSampler(sampler, batch_size, False)
    return DataLoader(share, batch_sampler=batches, collate_fn=share.collate, **loading)

"""Every image once per epoch, whatever the order."""

from collections import Counter

import pytest
import torch
from torch.utils.data import RandomSampler

from continual_repmode.training.sampling import BalancedSampler, RecordingSampler


class Labelled:
    def __init__(self, *numbers):
        self.targets_task_labels = [t for t, n in enumerate(numbers) for _ in range(n)]

    def __len__(self):
        return len(self.targets_task_labels)


@pytest.mark.parametrize("sampler", [RecordingSampler, BalancedSampler])
def test_an_epoch_has_every_image_once_in_the_order_that_is_remembered(sampler):
    torch.manual_seed(0)
    drawn = sampler(Labelled(5, 2, 9))
    epochs = []
    for _ in range(3):
        epochs.append(list(drawn))
        assert drawn.order == epochs[-1]
        assert sorted(epochs[-1]) == list(range(16))
    assert epochs[0] != epochs[1] != epochs[2]
    torch.manual_seed(0)
    assert [list(sampler(Labelled(5, 2, 9))) for _ in range(3)] == epochs


def batches(order, size):
    return [order[start : start + size] for start in range(0, len(order), size)]


def test_random_mixing_draws_what_pytorch_draws():
    torch.manual_seed(0)
    expected = list(RandomSampler(Labelled(7, 7)))
    torch.manual_seed(0)
    assert list(RecordingSampler(Labelled(7, 7))) == expected


def test_tasks_with_equally_many_images_differ_by_at_most_one_in_any_batch():
    torch.manual_seed(0)
    data = Labelled(*[6] * 5)
    orders = set()
    for size in (2, 3, 4, 5, 7, 12):
        order = list(BalancedSampler(data))
        orders.add(tuple(data.targets_task_labels[i] for i in order[:5]))
        for batch in batches(order, size):
            numbers = Counter(dict.fromkeys(range(5), 0))
            numbers.update(data.targets_task_labels[i] for i in batch)
            assert max(numbers.values()) - min(numbers.values()) <= 1
    assert len(orders) > 1  # the turns are drawn anew


def test_tasks_with_few_images_come_evenly_spread():
    torch.manual_seed(0)
    data = Labelled(40, 10)
    labels = [data.targets_task_labels[i] for i in BalancedSampler(data)]
    for part in batches(labels, 10):
        assert sum(part) in (1, 2, 3)

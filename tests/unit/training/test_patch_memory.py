"""The reservoir is balanced, uniform, and comes back from its state."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from continual_repmode.errors import UserError
from continual_repmode.training.patch_memory import PatchMemory


def patch(value):
    return torch.full((1, 1, 1, 1), float(value)), torch.full((1, 1, 1, 1), -value)


def offer_all(memory, labels):
    for label in labels:
        memory.offer(label, patch(1))


@settings(max_examples=50, deadline=None)
@given(
    capacity=st.integers(1, 12),
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
)
def test_every_task_holds_its_share_of_the_capacity(capacity, labels):
    num_tasks = len(set(labels))
    memory = PatchMemory(capacity)
    if capacity < num_tasks:
        with pytest.raises(UserError, match="too small"):
            offer_all(memory, labels)
        return
    offer_all(memory, labels)
    share = capacity // num_tasks
    offered = Counter(labels)
    for label, held in memory.counts().items():
        assert held <= share
        if list(dict.fromkeys(labels))[-1] == label:  # the last to come had this share
            assert held == min(share, offered[label])
    assert len(memory) <= capacity


def test_every_patch_is_kept_with_the_same_probability():
    torch.manual_seed(0)
    kept = Counter()
    for _ in range(2000):
        memory = PatchMemory(4)
        for value in range(10):
            memory.offer(7, patch(value))
        signal, _, _ = memory.draw(4, torch.device("cpu"))
        kept.update(signal.flatten().int().tolist())
    # 2000 trials at probability 0.4: mean 800, standard deviation 22
    assert all(abs(kept[value] - 800) < 110 for value in range(10))


def test_a_new_task_takes_room_from_the_others_at_random():
    torch.manual_seed(0)
    kept = Counter()
    for _ in range(1000):
        memory = PatchMemory(6)
        for value in range(6):
            memory.offer(0, patch(value))
        memory.offer(1, patch(99))
        assert memory.counts() == {0: 3, 1: 1}
        signal, _, labels = memory.draw(6, torch.device("cpu"))
        kept.update(signal.flatten()[labels == 0].int().tolist())
    assert all(abs(kept[value] - 500) < 80 for value in range(6))


def test_fill_asks_again_until_the_tasks_of_the_dataset_are_full():
    asked = Counter()

    class Dataset:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            asked[index] += 1
            return (*patch(index), index % 2)

    memory = PatchMemory(8)
    memory.fill(Dataset(), lambda signal, label: (signal * 10 + label,))
    assert memory.counts() == {0: 4, 1: 4}
    assert asked == {0: 4, 1: 4, 2: 4}
    signal, target, extra, labels = memory.draw(8, torch.device("cpu"))
    assert torch.equal(target, -signal)
    assert torch.equal(extra, signal * 10 + labels.view(-1, 1, 1, 1, 1))


def test_a_draw_takes_no_patch_twice_and_no_more_than_there_are():
    memory = PatchMemory(5)
    for value in range(5):
        memory.offer(0, patch(value))
    few, _, _ = memory.draw(3, torch.device("cpu"))
    assert len(few.unique()) == 3
    everything, _, _ = memory.draw(9, torch.device("cpu"))
    assert sorted(everything.flatten().tolist()) == [0, 1, 2, 3, 4]


def test_it_comes_back_from_its_state_and_goes_on_alike(tmp_path):
    memory = PatchMemory(4)
    for value in range(9):
        memory.offer(value % 2, patch(value))
    torch.save(memory.state_dict(), tmp_path / "memory.pt")
    again = PatchMemory(4)
    again.load_state_dict(torch.load(tmp_path / "memory.pt", weights_only=True))
    draws = []
    for found in (memory, again):
        torch.manual_seed(1)
        for value in range(20, 30):
            found.offer(1, patch(value))
        draws.append(found.draw(4, torch.device("cpu")))
    for one, other in zip(*draws, strict=True):
        assert torch.equal(one, other)


def test_a_memory_of_nothing_is_refused():
    with pytest.raises(UserError, match="patches=0"):
        PatchMemory(0)

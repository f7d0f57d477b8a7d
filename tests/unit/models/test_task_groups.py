import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from continual_repmode.errors import UserError
from continual_repmode.models.task_groups import TaskGroups, group_by_task

NAMES = ("red", "green", "blue")


@given(st.lists(st.integers(0, 2), min_size=1, max_size=9))
def test_each_task_is_one_run_of_the_sorted_batch(labels):
    groups = TaskGroups(labels, NAMES)
    batch = torch.tensor(labels)
    ordered = groups.sort(batch)
    for group in groups.groups:
        assert set(ordered[group.start : group.stop].tolist()) == {group.label}
        assert group.task == NAMES[group.label]
    assert [g.label for g in groups.groups] == sorted(set(labels))
    assert sum(g.stop - g.start for g in groups.groups) == len(labels)
    rows = torch.arange(len(labels))
    assert torch.equal(groups.unsort(groups.sort(rows)), rows)


def test_map_hands_each_task_its_rows():
    groups = TaskGroups([2, 0, 2], NAMES)
    seen = {}

    def record(task, rows):
        seen[task] = rows.tolist()
        return rows * 10

    result = groups.map(record, groups.sort(torch.tensor([1, 2, 3])))
    assert seen == {"red": [2], "blue": [1, 3]}
    assert groups.unsort(result).tolist() == [10, 20, 30]


def test_the_rows_of_one_task_are_a_batch_of_their_own():
    groups = TaskGroups([2, 0, 2], NAMES)
    (group,) = groups.alone("blue").groups
    assert (group.task, group.label, group.start, group.stop) == ("blue", 2, 0, 2)


def test_one_label_stands_for_the_whole_batch():
    for label in (1, np.int64(1)):
        (group,) = group_by_task(label, 4, NAMES).groups
        assert (group.task, group.start, group.stop) == ("green", 0, 4)


def test_wrong_labels_are_refused():
    for labels, message in (
        (3, r"label 3 is out of range.*3 tasks"),
        (-1, r"label -1 is out of range"),
        (torch.tensor([0, 3]), r"label 3 is out of range"),
        (torch.tensor([0, -1]), r"label -1 is out of range"),
        (torch.tensor([0]), r"shape \(1,\).*\(2,\)"),
        (torch.tensor(0), r"shape \(\)"),
        (torch.tensor([[0, 1]]), r"shape \(1, 2\)"),
        (torch.tensor([0.0, 1.0]), r"dtype torch.float32"),
        (torch.tensor([True, False]), r"dtype torch.bool"),
        (True, r"task_labels True"),
        (1.0, r"task_labels 1.0"),
        ("red", r"task_labels 'red'"),
    ):
        with pytest.raises(UserError, match=message):
            group_by_task(labels, 2, NAMES)

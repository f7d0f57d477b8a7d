import copy
import pickle

import pytest
import torch
from torch import nn

from continual_repmode.errors import UserError
from continual_repmode.models.methods.task_parts import TaskParts
from continual_repmode.models.task_groups import TaskGroups

TASKS = ("red", "green", "blue")


@pytest.fixture
def parts():
    torch.manual_seed(0)
    return TaskParts("part", TASKS, Affine)


class Affine(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)


def test_each_row_passes_the_part_of_its_task(parts):
    groups = TaskGroups([2, 0, 2], TASKS)
    batch = torch.randn(3, 2)
    result = groups.unsort(parts(groups.sort(batch), groups))
    for row, task in enumerate(("blue", "red", "blue")):
        torch.testing.assert_close(
            result[row], getattr(parts, f"part_{task}")(batch[row])
        )


def test_parts_of_absent_tasks_are_not_run_and_have_no_gradient(parts):
    parts.of("green").forward = None  # would raise if called
    groups = TaskGroups([0, 2], TASKS)
    parts(torch.randn(2, 2), groups).sum().backward()
    assert parts.of("green").weight.grad is None
    assert parts.of("red").weight.grad.any()
    assert parts.of("blue").weight.grad.any()


def test_a_copied_part_starts_equal_is_separate_and_can_be_trained(parts):
    parts.of("green").requires_grad_(False)
    parts.add_task("gold", "green")
    assert torch.equal(parts.of("gold").weight, parts.of("green").weight)
    assert parts.of("gold").weight.requires_grad
    with torch.no_grad():
        parts.of("gold").weight.add_(1)
    assert not torch.equal(parts.of("gold").weight, parts.of("green").weight)


def test_a_fresh_part_is_drawn_anew_as_at_construction(parts):
    torch.manual_seed(3)
    expected = Affine()
    torch.manual_seed(3)
    parts.add_task("gold")
    assert torch.equal(parts.of("gold").weight, expected.weight)
    assert parts.tasks == (*TASKS, "gold")


def test_new_parts_follow_dtype_and_mode(parts):
    parts.double().eval()
    parts.add_task("gold")
    parts.add_task("pink", "red")
    for task in ("gold", "pink"):
        assert parts.of(task).weight.dtype == torch.float64
        assert not parts.of(task).training


def test_an_unknown_start_is_refused_and_nothing_changes(parts):
    with pytest.raises(UserError, match=r"init 'pink': use 'fresh' or .*red, green"):
        parts.add_task("gold", "pink")
    assert parts.tasks == TASKS


def test_a_task_may_use_the_part_of_another_and_a_third_the_same(parts):
    before = parts.state_dict().keys()
    parts.share("gold", "green")
    parts.share("pink", "gold")
    assert parts.state_dict().keys() == before
    assert parts.of("gold") is parts.of("pink") is parts.of("green")
    assert parts.name_of("pink") == "part_green"
    assert parts.tasks == TASKS


def test_only_the_part_of_a_known_task_can_be_used(parts):
    parts.share("gold", "green")
    with pytest.raises(UserError, match=r"'cyan': .*\(red, green, blue, gold\), whose"):
        parts.share("pink", "cyan")
    with pytest.raises(UserError, match=r"init 'gold': use 'fresh' or .*blue\)"):
        parts.add_task("pink", "gold")


def test_copies_and_pickles_still_grow(parts):
    for other in (copy.deepcopy(parts), pickle.loads(pickle.dumps(parts))):
        other.add_task("gold")
        assert other.tasks == (*TASKS, "gold")
    assert parts.tasks == TASKS

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import UnitSpec
from continual_repmode.models.methods.output_head import build_output, grow_output
from continual_repmode.models.task_groups import TaskGroups

TASKS = ("red", "green")
SPEC = UnitSpec("output", "output", 3, 2, "ZYX")


@pytest.mark.parametrize(("head", "alike"), [("shared", True), ("per_task", False)])
def test_tasks_share_the_output_or_have_their_own(head, alike):
    torch.manual_seed(0)
    output = build_output(SPEC, 3, head, TASKS)
    grow_output(output, "blue", "fresh")
    features = torch.randn(1, 3, 4, 4, 4).expand(3, -1, -1, -1, -1)
    red, green, blue = output(features, TaskGroups([0, 1, 2], [*TASKS, "blue"]))
    assert red.shape == (2, 4, 4, 4)
    assert torch.allclose(red, green) == torch.allclose(red, blue) == alike


def test_head_of_a_known_task_can_be_copied_where_there_is_one():
    torch.manual_seed(0)
    output = build_output(SPEC, 3, "per_task", TASKS)
    grow_output(output, "blue", "green")
    features = torch.randn(1, 3, 4, 4, 4).expand(2, -1, -1, -1, -1)
    green, blue = output(features, TaskGroups([1, 2], [*TASKS, "blue"]))
    assert torch.equal(green, blue)
    with pytest.raises(UserError, match="init 'green': the tasks of this network"):
        grow_output(build_output(SPEC, 3, "shared", TASKS), "blue", "green")


def test_other_heads_are_refused():
    with pytest.raises(UserError, match="head 'own': use 'shared' or 'per_task'"):
        build_output(SPEC, 3, "own", TASKS)

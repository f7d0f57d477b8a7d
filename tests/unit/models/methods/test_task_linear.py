import torch
import torch.nn.functional as F

from continual_repmode.models.methods.task_linear import TaskLinear
from continual_repmode.models.task_groups import TaskGroups

TASKS = ("red", "green", "blue")


def test_layer_is_a_linear_layer_on_features_and_one_hot_task():
    torch.manual_seed(0)
    layer = TaskLinear(4, 3, TASKS).double()
    layer.add_task("pink")
    features, labels = torch.randn(5, 4, dtype=torch.float64), [0, 0, 2, 3, 3]
    columns = [layer.get_parameter(f"column_{task}") for task in (*TASKS, "pink")]
    weight = torch.cat([layer.linear.weight, torch.stack(columns, dim=1)], dim=1)
    one_hot = F.one_hot(torch.tensor(labels), 4).double()
    expected = torch.cat([features, one_hot], 1) @ weight.T + layer.linear.bias
    actual = layer(features, TaskGroups(labels, [*TASKS, "pink"]))
    torch.testing.assert_close(actual, expected)


def test_only_the_columns_of_tasks_in_the_batch_have_a_gradient():
    torch.manual_seed(0)
    layer = TaskLinear(4, 3, TASKS)
    layer(torch.randn(3, 4), TaskGroups([0, 2, 2], TASKS)).sum().backward()
    torch.testing.assert_close(layer.get_parameter("column_red").grad, torch.ones(3))
    assert layer.get_parameter("column_green").grad is None
    torch.testing.assert_close(
        layer.get_parameter("column_blue").grad, torch.full((3,), 2.0)
    )


def test_all_parts_start_as_those_of_one_linear_layer_do():
    torch.manual_seed(0)
    layer = TaskLinear(6, 4000, TASKS)
    layer.add_task("pink")
    one_layer = torch.nn.Linear(6 + len(TASKS), 4000)
    bound = one_layer.weight.abs().max()
    assert len(list(layer.parameters())) == 2 + len(TASKS) + 1
    for parameter in layer.parameters():
        torch.testing.assert_close(parameter.abs().max(), bound, rtol=1e-2, atol=0)
        std = one_layer.weight.std()
        torch.testing.assert_close(parameter.std(), std, rtol=0.05, atol=0)


def test_new_column_joins_the_layer_where_it_is_and_as_it_is():
    layer = TaskLinear(4, 3, TASKS).double()
    before = {name: p.clone() for name, p in layer.named_parameters()}
    layer.add_task("pink")
    assert layer.get_parameter("column_pink").dtype == torch.float64
    for name, parameter in before.items():
        assert torch.equal(layer.get_parameter(name), parameter)

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models.methods.condnet import ConditionedUnit, CondNet
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.unet3d import UNet3d

TASKS = ("red", "green", "blue")


def num_parameters(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def conditioned_units(net: CondNet) -> dict[str, ConditionedUnit]:
    return {n: u for n, u in net.unet.units() if isinstance(u, ConditionedUnit)}


def test_extra_and_per_task_parameters():
    for options, extra, per_task in (
        ({}, 120_000, 0),
        ({"where": "first"}, 60_000, 0),
        ({"head": "per_task"}, 120_000 + 11 * 4_000, 4_000),
    ):
        with torch.device("meta"):
            plain, net = UNet3d(), CondNet(**options)
            assert num_parameters(net) == num_parameters(plain) + extra
            costs = {net.num_task_parameters(task) for task in net.task_names}
            assert costs == {per_task}
            before = num_parameters(net)
            net.add_task("thirteenth")
            assert num_parameters(net) == before + per_task


def test_the_decoder_is_conditioned_and_nothing_else():
    for where, places in (("all", (1, 2)), ("first", (1,))):
        units = conditioned_units(CondNet(TASKS, where=where, width=1, depth=2))
        assert set(units) == {f"decoder{i}.conv{j}" for i in (1, 2) for j in places}


def test_numbers_are_evenly_spaced_and_added_tasks_continue_them():
    for tasks, scale, numbers in (
        (TASKS, 1.0, [-1, 0, 1, 2, 3]),
        (("red", "green"), 0.5, [-0.5, 0.5, 1.5, 2.5]),
        (("red",), 1.0, [0, 2, 4]),
    ):
        net = CondNet(tasks, kernel_size=1, scale=scale, width=1, depth=1)
        net.add_task("pink")
        net.add_task("gray")
        assert list(net.numbers.values()) == pytest.approx(numbers)
        rebuilt = CondNet.from_architecture(net.architecture())
        assert rebuilt.numbers == net.numbers


def test_away_from_borders_the_task_is_a_bias_in_proportion_to_its_number():
    torch.manual_seed(0)
    net = CondNet(TASKS, width=2, depth=1, kernel_size=3).double()
    for unit in conditioned_units(net).values():
        kernel = unit.unit.conv.weight
        features = torch.randn(1, kernel.shape[1] - 1, 4, 5, 6, dtype=torch.float64)
        alone = torch.nn.functional.conv3d(features, kernel[:, :-1], padding=1)
        unit.unit.norm, unit.unit.activate = None, False  # the convolution alone
        given = unit(features.expand(3, -1, -1, -1, -1), TaskGroups([0, 1, 2], TASKS))
        bias = kernel[:, -1].sum(dim=(1, 2, 3))
        for row, number in enumerate([-1, 0, 1]):
            added = (given[row] - alone[0])[:, 1:-1, 1:-1, 1:-1]
            expected = (number * bias)[:, None, None, None].expand_as(added)
            torch.testing.assert_close(added, expected)
            assert (number == 0) == torch.equal(given[row], alone[0])


def test_all_tasks_lie_on_one_line():
    """A conditioned convolution, borders included, is affine in the number."""
    torch.manual_seed(0)
    numbers = {"a": -1.0, "b": 0.3, "c": 1.0}
    net = CondNet(TASKS, width=2, depth=1, kernel_size=3).double()
    unit = conditioned_units(net)["decoder1.conv2"]
    unit.numbers = numbers
    features = torch.randn(1, 2, 4, 4, 4, dtype=torch.float64).expand(3, -1, -1, -1, -1)
    unit.unit.norm, unit.unit.activate = None, False
    a, b, c = unit(features, TaskGroups([0, 1, 2], list(numbers)))
    torch.testing.assert_close(b, 0.35 * a + 0.65 * c)
    assert not torch.allclose(a, c)


def test_training_batch_of_one_task_does_not_see_its_interior_bias():
    """The reason to mix tasks: batch normalization removes what all samples share."""
    torch.manual_seed(0)
    net = CondNet(TASKS, width=2, depth=1, kernel_size=1).double().train()
    signal = torch.randn(2, 1, 4, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(net(signal, 0), net(signal, 2))
    mixed = net(signal[:1].expand(2, -1, -1, -1, -1), torch.tensor([0, 2]))
    assert not torch.allclose(mixed[0], mixed[1])


def test_unknown_option_is_refused():
    for name, message in (
        ("where", "where 'last': use 'all' or 'first'"),
        ("head", "head 'last': use 'shared' or 'per_task'"),
    ):
        with pytest.raises(UserError, match=message):
            CondNet(TASKS, **{name: "last"}, width=1, depth=1)


def test_shared_head_cannot_be_copied():
    net = CondNet(TASKS, width=1, depth=1)
    with pytest.raises(UserError, match="init 'red': the tasks of this network share"):
        net.add_task("pink", init="red")
    assert net.task_names == TASKS
    assert set(net.numbers) == set(TASKS)

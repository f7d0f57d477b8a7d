import torch
from torch import nn

from continual_repmode.training.strategies.importance import WeightImportance


def make_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).double()


def importances(net, value):
    return {name: torch.full_like(p, value) for name, p in net.named_parameters()}


def test_the_penalty_is_the_weighted_square_of_the_way_from_the_anchor():
    net, weights = make_net(), WeightImportance()
    weights.add(net, importances(net, 1.0))
    weights.add(net, importances(net, 2.0))
    assert weights.penalty(net) == 0
    with torch.no_grad():
        net[0].weight += 0.5
    assert weights.penalty(net).item() == 3.0 * 6 * 0.25


def test_its_gradients_are_those_of_autograd():
    net, weights = make_net(), WeightImportance()
    random = {n: torch.rand_like(p) for n, p in net.named_parameters()}
    weights.add(net, random)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))
    weights.penalty(net).backward()
    found = weights.penalty_gradients(net)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


def test_weights_that_are_new_or_of_another_shape_are_not_held():
    net, weights = make_net(), WeightImportance()
    weights.add(net, importances(net, 1.0))
    grown = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 1)).double()
    held = weights.penalty_gradients(grown)
    assert set(held) == {"0.weight", "0.bias"}


def test_before_anything_is_learned_nothing_is_held():
    net = make_net()
    assert WeightImportance().penalty(net) == 0

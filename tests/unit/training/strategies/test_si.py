import pytest
import torch

from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.strategies.si import SIPlugin


class Diary(SupervisedPlugin):
    """Writes down the task gradient and the weights around every step."""

    def __init__(self):
        super().__init__()
        self.entries, self.weights = [], []

    def before_training_exp(self, strategy, **_):
        self.entries, self.weights = [], [self.now(strategy)]

    def before_backward(self, strategy, **_):
        parameters = dict(strategy.net.named_parameters())
        gradients = torch.autograd.grad(
            strategy.loss,
            list(parameters.values()),
            retain_graph=True,
            allow_unused=True,
        )
        self.entries.append(dict(zip(parameters, gradients, strict=True)))

    def after_update(self, strategy, **_):
        self.weights.append(self.now(strategy))

    def now(self, strategy):
        return {n: p.detach().clone() for n, p in strategy.net.named_parameters()}


def test_importance_is_the_share_in_lowering_the_loss_over_the_squared_way(
    fine_tuning, benchmark
):
    diary, plugin = Diary(), SIPlugin(strength=5.0, damping=0.01)
    strategy = fine_tuning(diary, plugin)  # the diary sees the loss without penalty
    expected = {}
    for experience in benchmark.train_stream[:2]:
        strategy.train(experience)
        for name in diary.weights[0]:
            share = 0
            for step, gradients in enumerate(diary.entries):
                way = diary.weights[step + 1][name] - diary.weights[step][name]
                if gradients[name] is not None:
                    share = share - gradients[name] * way
            whole = diary.weights[-1][name] - diary.weights[0][name]
            new = torch.as_tensor(share).clamp_min(0) / (whole**2 + 0.01)
            expected[name] = expected.get(name, 0) + new
    found = plugin.weights.importance
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(
            value, expected[name].expand_as(value), rtol=1e-3, atol=1e-6
        )
    assert sum(value.sum() for value in found.values()) > 0.01


def test_the_weights_that_were_kept_are_held_not_the_last_ones(fine_tuning, benchmark):
    last, plugin = Diary(), SIPlugin(strength=1.0)
    strategy = fine_tuning(last, plugin, train_epochs=9, lr=0.3)
    torch.manual_seed(1)
    strategy.train(benchmark.train_stream[0])
    assert strategy.validation.best_epoch < 9
    parameters = dict(strategy.net.named_parameters())
    anchor = plugin.weights.anchor
    assert all(torch.equal(anchor[name], p) for name, p in parameters.items())
    assert not all(torch.equal(last.weights[-1][n], p) for n, p in parameters.items())


def test_a_larger_strength_holds_the_weights_closer(fine_tuning, benchmark):
    def moved(strength):
        strategy = fine_tuning(SIPlugin(strength=strength), extension_epochs=20)
        strategy.train(benchmark.train_stream[0])
        before = [p.detach().clone() for p in strategy.net.unet.encoder1.parameters()]
        strategy.train(benchmark.train_stream[1])
        after = strategy.net.unet.encoder1.parameters()
        return sum((a - b).square().sum() for a, b in zip(after, before, strict=True))

    assert moved(1000.0) < moved(0.0) / 2


def test_nothing_is_held_in_the_first_experience(fine_tuning, benchmark):
    plain, held = fine_tuning(), fine_tuning(SIPlugin(strength=1000.0))
    for strategy in (plain, held):
        torch.manual_seed(5)
        strategy.train(benchmark.train_stream[0])
    assert held.validation.curve == pytest.approx(plain.validation.curve)

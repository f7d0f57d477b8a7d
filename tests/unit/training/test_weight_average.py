"""Averaged weights: the recursion itself, and what the strategies promise with them."""

import pytest
import torch

from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.plugins.validation import validate
from continual_repmode.training.strategy import RepMode
from continual_repmode.training.weight_average import WeightAverage


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.BatchNorm3d(2))


def test_it_is_the_recursion_with_a_decay_that_warms_up():
    net = network()
    average = WeightAverage(net, 0.5)
    slow = {n: v.double() for n, v in net.state_dict().items()}
    for step in range(30):
        with torch.no_grad():
            for value in net.parameters():
                value.add_(torch.randn_like(value))
        net(torch.randn(2, 1, 2, 2, 2))
        average.update(net)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in net.state_dict().items():
            slow[name] = decay * slow[name] + (1 - decay) * value.double()
    live = {n: v.clone() for n, v in net.state_dict().items()}
    with average.in_place_of(net):
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(
                    value.double(), slow[name], rtol=1e-6, atol=1e-6
                )
            else:
                assert torch.equal(value, live[name])  # the number of batches
    assert all(torch.equal(v, live[n]) for n, v in net.state_dict().items())


def test_what_does_not_move_keeps_its_bits_a_negative_zero_too():
    net = network()
    net[0].requires_grad_(False)
    net[1].running_mean.fill_(-0.0)
    before = {n: v.numpy().tobytes() for n, v in net.state_dict().items()}
    average = WeightAverage(net, 0.99)
    for _ in range(5):
        average.update(net)
    with average.in_place_of(net):
        after = {n: v.numpy().tobytes() for n, v in net.state_dict().items()}
    assert after == before


def test_a_saved_average_goes_on_to_the_bit():
    net, other = network(), network()
    one, restored = WeightAverage(net, 0.9), WeightAverage(other, 0.9)
    for module, average in ((net, one), (other, None)):
        with torch.no_grad():
            module[0].weight.add_(1)
        if average:
            average.update(module)
    restored.load_state_dict(one.state_dict())
    one.update(net)
    restored.update(other)
    values = [a.state_dict()["values"] for a in (one, restored)]
    assert all(torch.equal(values[1][name], v) for name, v in values[0].items())


class Follow(SupervisedPlugin):
    """Averages by itself after each step, and keeps what each epoch ended with."""

    def before_training_exp(self, strategy, **_):
        self.slow = self.moving(strategy.net)
        self.epochs, self.steps = [], 0

    def after_training_iteration(self, strategy, **_):
        decay = min(0.7, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, value in self.moving(strategy.net).items():
            self.slow[name] = decay * self.slow[name] + (1 - decay) * value

    def after_training_epoch(self, strategy, **_):
        self.epochs.append(dict(self.slow))

    @staticmethod
    def moving(net):
        state = net.state_dict()
        held = {n for n, p in net.named_parameters() if not p.requires_grad}
        return {
            n: v.double()
            for n, v in state.items()
            if v.is_floating_point() and n not in held
        }


def test_the_averaged_weights_of_the_best_epoch_are_kept(make_strategy, benchmark):
    follow = Follow()
    strategy = make_strategy(RepMode, train_epochs=4, ema=0.7, plugins=[follow])
    for experience in benchmark.train_stream[:2]:
        strategy.train(experience)
        kept = strategy.net.state_dict()
        expected = follow.epochs[strategy.validation.best_epoch - 1]
        names = [n for n in expected if "gate" not in n]  # stored when learned
        assert len(names) > 10
        for name in names:
            torch.testing.assert_close(
                kept[name].double(), expected[name], rtol=1e-4, atol=1e-6
            )
        assert validate(strategy)[0] == strategy.validation.best_mse


def test_training_itself_is_the_same_with_and_without(make_strategy, benchmark):
    losses = []
    for ema in (0.0, 0.9):
        strategy = make_strategy(RepMode, train_epochs=3, ema=ema)
        torch.manual_seed(1)
        strategy.train(benchmark.train_stream[0])
        losses.append([point.train_loss for point in strategy.validation.curve])
    assert losses[0] == losses[1]


ADDITIVE = {"expert_mix": "additive", "private_bn": True, "gate_rate": 9}


@pytest.mark.parametrize("options", [{}, ADDITIVE], ids=["paper", "additive"])
def test_old_tasks_stay_to_the_bit(make_strategy, benchmark, options):
    strategy = make_strategy(RepMode, ema=0.9, **options)
    strategy.train(benchmark.train_stream[0])
    old = {n: v.clone() for n, v in strategy.net.state_dict().items()}
    for experience in benchmark.train_stream[1:]:
        strategy.train(experience)
        assert strategy.proof.proofs
        assert all(proof.unchanged for proof in strategy.proof.proofs)
    new = strategy.net.state_dict()
    assert all(torch.equal(new[name], value) for name, value in old.items())

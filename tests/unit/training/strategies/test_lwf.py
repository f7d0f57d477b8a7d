import copy

import pytest
import torch
import torch.nn.functional as F

from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.strategies.lwf import LwFPlugin


class Losses(SupervisedPlugin):
    def __init__(self):
        super().__init__()
        self.values = []

    def before_backward(self, strategy, **_):
        self.values.append(strategy.loss.item())


def test_the_first_experience_has_nothing_to_keep(fine_tuning, benchmark):
    before, after = Losses(), Losses()
    strategy = fine_tuning(before, LwFPlugin(), after)
    strategy.train(benchmark.train_stream[0])
    assert before.values == after.values


def test_the_loss_gains_the_distance_from_the_network_before_the_experience(
    fine_tuning, benchmark
):
    """Exact where a batch statistic does not matter: in evaluation mode."""

    class Compare(SupervisedPlugin):
        def __init__(self):
            super().__init__()
            self.gained, self.expected, self.teacher = [], [], None

        def before_train_dataset_adaptation(self, strategy, **_):
            self.teacher = copy.deepcopy(strategy.net).eval()

        def before_backward(self, strategy, **_):
            strategy.net.eval()
            state = torch.get_rng_state()
            base = strategy.loss.item()
            lwf.before_backward(strategy)
            self.gained.append(strategy.loss.item() - base)
            torch.set_rng_state(state)
            labels = torch.randint(2, (len(strategy.mb_x),))  # two old tasks
            with torch.no_grad():
                found = strategy.net(strategy.mb_x, labels)
                wanted = self.teacher(strategy.mb_x, labels)
            self.expected.append(3.0 * F.mse_loss(found, wanted).item())
            strategy.net.train()

    class Teacher(SupervisedPlugin):
        """Passes on what the plugin needs besides the loss."""

        def before_train_dataset_adaptation(self, strategy, **_):
            lwf.before_train_dataset_adaptation(strategy)

    lwf, compare = LwFPlugin(strength=3.0), Compare()
    strategy = fine_tuning(Teacher(), train_epochs=8)
    strategy.train(benchmark.train_stream[0])
    strategy.plugins.insert(0, compare)
    strategy.train(benchmark.train_stream[1])
    assert compare.gained == pytest.approx(compare.expected, rel=1e-3, abs=1e-6)
    assert compare.gained[-1] > 1e-4


def test_the_old_network_is_let_go(fine_tuning, benchmark):
    plugin = LwFPlugin()
    strategy = fine_tuning(plugin)
    for experience in benchmark.train_stream[:2]:
        strategy.train(experience)
    assert plugin._teacher is None

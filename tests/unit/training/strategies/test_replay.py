import torch

from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.strategies.replay import ReplayPlugin


class Batches(SupervisedPlugin):
    def __init__(self):
        super().__init__()
        self.labels, self.sizes = [], []

    def before_forward(self, strategy, **_):
        self.labels.append(strategy.mb_task_id.tolist())
        self.sizes.append((len(strategy.mb_x), len(strategy.mb_y)))


def test_each_batch_gains_patches_of_old_tasks(fine_tuning, benchmark):
    batches = Batches()
    strategy = fine_tuning(ReplayPlugin(patches=8, patches_per_step=3), batches)
    strategy.train(benchmark.train_stream[0])
    assert set(batches.sizes) == {(4, 4)}
    strategy.train(benchmark.train_stream[1])
    later = batches.labels[-2:]
    assert set(batches.sizes[-2:]) == {(7, 7)}
    assert all(labels[:4] == [2] * 4 for labels in later)
    assert all(set(labels[4:]) <= {0, 1} for labels in later)


def test_the_memory_is_balanced_by_task_not_by_experience(fine_tuning, benchmark):
    plugin = ReplayPlugin(patches=12, patches_per_step=3)
    strategy = fine_tuning(plugin)
    strategy.train(benchmark.train_stream[0])
    assert plugin.memory.counts() == {0: 6, 1: 6}
    strategy.train(benchmark.train_stream[1])
    assert plugin.memory.counts() == {0: 4, 1: 4, 2: 4}


def test_stored_targets_belong_to_their_signals_and_tasks(fine_tuning, benchmark):
    plugin = ReplayPlugin(patches=6, patches_per_step=3)
    fine_tuning(plugin).train(benchmark.train_stream[0])
    signal, target, labels = plugin.memory.draw(6, torch.device("cpu"))
    inverted = labels == 1  # the target of the nuclear envelope is minus the signal
    torch.testing.assert_close(target[inverted], -signal[inverted])
    assert (target[~inverted] + signal[~inverted]).abs().max() > 0.1

import torch

from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.strategies.mas import MASPlugin


class Snapshot(SupervisedPlugin):
    """Copies the network just before the importances are measured."""

    def after_training_exp(self, strategy, **_):
        self.state = {k: v.clone() for k, v in strategy.net.state_dict().items()}
        self.rng = torch.get_rng_state()


def test_measuring_moves_nothing_not_even_running_statistics(fine_tuning, benchmark):
    snapshot = Snapshot()
    strategy = fine_tuning(snapshot, MASPlugin(strength=1.0))
    strategy.train(benchmark.train_stream[0])
    found = strategy.net.state_dict()
    assert all(torch.equal(found[name], v) for name, v in snapshot.state.items())


def test_importance_is_the_mean_magnitude_of_the_samples_gradients(
    fine_tuning, benchmark
):
    snapshot, plugin = Snapshot(), MASPlugin(strength=1.0)
    strategy = fine_tuning(snapshot, plugin)
    strategy.train(benchmark.train_stream[0])
    torch.set_rng_state(snapshot.rng)  # the same patches again
    dataset = benchmark.train_stream[0].dataset
    strategy.model.eval()
    total = {n: torch.zeros_like(p) for n, p in strategy.net.named_parameters()}
    for index in range(len(dataset)):
        signal, _, label = dataset[index]
        strategy.net.zero_grad()
        strategy.net(signal[None], int(label)).square().mean().backward()
        for name, parameter in strategy.net.named_parameters():
            if parameter.grad is not None:
                total[name] += parameter.grad.abs()
    for name, value in plugin.weights.importance.items():
        torch.testing.assert_close(value, total[name] / len(dataset))
    assert sum(value.sum() for value in plugin.weights.importance.values()) > 0


def test_importances_of_later_experiences_are_added(fine_tuning, benchmark):
    plugin = MASPlugin(strength=1.0)
    strategy = fine_tuning(plugin)
    strategy.train(benchmark.train_stream[0])
    first = dict(plugin.weights.importance)
    strategy.train(benchmark.train_stream[1])
    second = plugin.weights.importance
    assert all((second[name] >= first[name]).all() for name in first)
    assert any((second[name] > first[name]).any() for name in first)
    assert len(second) > len(first)  # the head of the new task
